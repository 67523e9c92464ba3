"""MediaPipe's Face Landmarker, of which the tests have no model: its module is played by one of the same interface."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from fitting.landmark_schemes import to_68
from fitting.landmarks import Picture
from fitting.mediapipe_landmarks import MediaPipeLandmarks

SHARES = np.random.default_rng(2).uniform(0.2, 0.8, (2, 478, 2))


class _Landmarker:
    """Answers as ``mediapipe.tasks.vision.FaceLandmarker`` does."""

    faces = SHARES
    options: types.SimpleNamespace
    seen: list

    @classmethod
    def create_from_options(cls, options: types.SimpleNamespace) -> "_Landmarker":
        cls.options, cls.seen = options, []
        path = options.base_options.model_asset_path
        if Path(path).read_bytes() != b"model":
            raise RuntimeError("Unable to open zip archive.")
        return cls()

    def detect(self, image: types.SimpleNamespace) -> types.SimpleNamespace:
        assert image.data.flags["C_CONTIGUOUS"]
        assert image.data.dtype == np.uint8
        self.seen.append(image)
        faces = [[types.SimpleNamespace(x=x, y=y, z=0.0) for x, y in face] for face in self.faces]
        return types.SimpleNamespace(face_landmarks=faces)


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> type[_Landmarker]:
    module = types.ModuleType("mediapipe")
    vision = types.SimpleNamespace(
        FaceLandmarker=_Landmarker,
        FaceLandmarkerOptions=lambda **values: types.SimpleNamespace(**values),
        RunningMode=types.SimpleNamespace(IMAGE="IMAGE"),
    )
    base = lambda **values: types.SimpleNamespace(**values)  # noqa: E731 - as short as the class it plays
    module.__dict__.update(
        tasks=types.SimpleNamespace(vision=vision, BaseOptions=base),
        ImageFormat=types.SimpleNamespace(SRGB=1),
        Image=lambda image_format, data: types.SimpleNamespace(image_format=image_format, data=data),
    )
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    monkeypatch.setattr(_Landmarker, "faces", SHARES)
    return _Landmarker


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"model")
    return path


def test_faces_become_68_points_in_pixels(mediapipe: type[_Landmarker], task: Path) -> None:
    source = MediaPipeLandmarks(task)
    upside_down = np.zeros((50, 80, 3), np.uint8)[::-1]
    found = source.find(Picture(path=Path("p.png"), rgb=upside_down))
    np.testing.assert_allclose(found, to_68(SHARES * (80, 50), "x"), atol=1e-9)
    assert mediapipe.options.num_faces > 1, "or several faces would never be noticed"
    assert mediapipe.options.running_mode == "IMAGE"


def test_no_face_is_no_error_yet(mediapipe: type[_Landmarker], task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe, "faces", SHARES[:0])
    source = MediaPipeLandmarks(task)
    picture = Picture(path=Path("p.png"), rgb=np.zeros((5, 5, 3), np.uint8))
    assert source.find(picture).shape == (0, 68, 2)
    assert "face_landmarker.task sees none" in source.remedy(picture)


def test_another_model_is_another_source(mediapipe: type[_Landmarker], task: Path, monkeypatch) -> None:
    monkeypatch.setattr(mediapipe, "create_from_options", classmethod(lambda cls, options: cls()))
    first = MediaPipeLandmarks(task).fingerprint
    task.write_bytes(b"other")
    assert MediaPipeLandmarks(task).fingerprint != first


def test_problems_give_one_line(mediapipe: type[_Landmarker], task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VrmmError, match=r"landmarker absent\.task does not exist"):
        MediaPipeLandmarks(Path("absent.task"))
    task.write_bytes(b"nonsense")
    with pytest.raises(VrmmError, match="not a model that the Face Landmarker can load: Unable to open zip"):
        MediaPipeLandmarks(task)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(VrmmError, match=r'pip install "vrmm\[mediapipe\]"'):
        MediaPipeLandmarks(task)
