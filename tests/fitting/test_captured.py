"""A capture's frames as photos: its own cameras, masks, landmarks and colours."""

from pathlib import Path

import numpy as np
import pytest

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.folder import write_capture_info, write_frame
from datasets.shards import build_shards
from fitting.captured import captured_photos, is_capture
from fitting.inputs import LANDMARKS
from fitting.landmarks import LandmarkSource, Picture
from fitting.views import stack_photos
from tests.datasets.tiny_capture import TinyCapture

FACE = np.random.default_rng(4).uniform(8.0, 24.0, (68, 2))


class Detector(LandmarkSource):
    """Sees the same face in every picture, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Picture] = []

    def find(self, picture: Picture) -> np.ndarray:
        self.shown.append(picture)
        return FACE[None]

    def remedy(self, picture: Picture) -> str:
        return "never needed"

    @property
    def fingerprint(self) -> str:
        return "detector"


@pytest.fixture
def capture() -> TinyCapture:
    return TinyCapture(size=(32, 32))


def landmarks_of(capture: TinyCapture, info: CaptureInfo) -> bytes:
    import io

    data = io.BytesIO()
    names = [camera.name for camera in info.cameras[:2]]
    np.savez(data, cameras=np.array(names), points=np.stack([FACE, FACE + 1.0]).astype(np.float32))
    return data.getvalue()


@pytest.fixture(params=["folder", "shards"])
def stored(request: pytest.FixtureRequest, capture: TinyCapture, tmp_path: Path) -> Path:
    folder = tmp_path / "capture"
    write_capture_info(folder, capture.info)
    for frame in capture.frames():
        write_frame(folder, frame, {**capture.members(frame), LANDMARKS: landmarks_of(capture, capture.info)})
    if request.param == "folder":
        return folder
    from datasets.folder import FolderCapture

    build_shards(FolderCapture(folder), tmp_path / "shards", samples_per_shard=3)
    return tmp_path / "shards"


def test_one_moment_keeps_the_rig(capture: TinyCapture, stored: Path) -> None:
    assert is_capture(stored)
    key, detector = "s1_talk_000002", Detector()
    photos = captured_photos(stored, [key], ["back", "left", "top"], 32, detector)
    assert [photo.name for photo in photos] == [f"{key}.{name}" for name in ("back", "left", "top")]
    views = stack_photos(photos)
    assert views.placed
    assert views.focal_known
    for k, name in enumerate(("back", "left", "top")):
        camera = capture.info.camera(name)
        np.testing.assert_allclose(views.cameras.world_to_camera[k], camera.world_to_camera, atol=1e-6)
        np.testing.assert_allclose(views.cameras.intrinsics[k], views.crops[k] @ camera.intrinsics, atol=1e-4)
        mask = capture.mask(key, name)
        shown = mask > 0
        # Radiance is stored premultiplied; what a photo shows is multiplied by its mask when it is read.
        np.testing.assert_allclose(photos[k].mask[0], mask, atol=1e-6)
        np.testing.assert_allclose(
            photos[k].image.permute(1, 2, 0).numpy()[shown], capture.image(key, name)[shown], atol=2e-4
        )
    np.testing.assert_allclose(photos[1].landmarks, FACE + 1.0, atol=1e-5)
    assert [picture.path.name for picture in detector.shown] == [f"{key}.top.rgb.png"], "the others are in lmk.npz"


def test_several_moments_have_a_pose_each(stored: Path) -> None:
    views = stack_photos(captured_photos(stored, ["s1_talk_000001", "s1_talk_000002"], ["back"], 32))
    assert views.focal_known
    assert not views.placed


@pytest.mark.parametrize(
    ("frames", "cameras", "message"),
    [
        ([], ["back"], r"choose what to fit with --frame, for example --frame s0_talk_000000"),
        (["s9_talk_000000"], ["back"], "s9_talk_000000"),
        (["s0_talk_000000"], ["behind"], "no camera behind"),
        (["s0_talk_000000", "s1_talk_000000"], ["back"], "several people"),
        (["s0_talk_000000", "s0_talk_000001"], [], r"14 photos, and a fit takes 8; choose cameras with --view"),
        (["s0_talk_000000"], ["top"], "has no landmarks of a face"),
    ],
)
def test_bad_choices_give_one_line(stored: Path, frames: list[str], cameras: list[str], message: str) -> None:
    with pytest.raises(VrmmError, match=message) as caught:
        captured_photos(stored, frames, cameras, 32)
    assert "\n" not in str(caught.value)
