"""What is wrong with a capture stops its import with one line that names file and key, and leaves nothing behind."""

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.import_capture import ImportRequest, import_captures
from datasets.readers.reader import Selection
from tests.datasets.readers import (
    ava256_files,
    becominglit_files,
    goliath_files,
    multiface_files,
    nersemble_files,
    renderme360_files,
    truth,
)
from tests.datasets.readers_mono import (
    imavatar_files,
    insta_files,
    mononphm_files,
    nerface_files,
    vhap_files,
    video_files,
)
from tests.datasets.readers_mono.scene import Scene, bomb

SCENE = Scene()
WRITERS: dict[str, Callable[[Path], object]] = {
    "goliath": lambda root: goliath_files.write(root, kind="png"),
    "becominglit": lambda root: becominglit_files.write(root, kind="png"),
    "multiface": multiface_files.write,
    "ava256": ava256_files.write,
    "nersemble": nersemble_files.write,
    "renderme360": renderme360_files.write,
    "imavatar": lambda root: imavatar_files.write(root, {"train": SCENE}, subject="anna"),
    "insta": lambda root: insta_files.write(root / "anna", SCENE),
    "vhap": lambda root: vhap_files.write(root / "anna", Scene()),
    "nerface": lambda root: nerface_files.write(root / "anna", Scene()),
    "mononphm": lambda root: mononphm_files.write(root / "anna", SCENE),
    "video": lambda root: video_files.write_folder(root / "anna", SCENE),
}


def _one(root: Path, pattern: str) -> Path:
    return sorted(root.rglob(pattern))[0]


def _without(pattern: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for path in root.rglob(pattern):
            path.unlink()

    return spoil


def _text(pattern: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = _one(root, pattern)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def _json(pattern: str, change: Callable) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = _one(root, pattern)
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return spoil


def _bytes(pattern: str, data: bytes) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for path in root.rglob(pattern):
            path.write_bytes(data)

    return spoil


def _zip(pattern: str, members: dict[str, bytes]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = _one(root, pattern)
        with zipfile.ZipFile(path, "a") as archive:
            for name, data in members.items():
                archive.writestr(name, data, zipfile.ZIP_DEFLATED)

    return spoil


def _smc(pattern: str, change: Callable) -> Callable[[Path], None]:
    return lambda root: renderme360_files.edit(_one(root, pattern), change)


def _declare(pattern: str, size: int) -> Callable[[Path], None]:
    """A zip whose directory says that its first member unpacks to so many bytes."""

    def spoil(root: Path) -> None:
        path = _one(root, pattern)
        data = bytearray(path.read_bytes())
        entry = data.index(b"PK\x01\x02")
        data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
        path.write_bytes(data)

    return spoil


NAN = float("nan")
SMALL = truth.picture_bytes(np.zeros((50, 40, 3), np.uint8), "png")
CASES: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("goliath", "no calibration", _without("camera_calibration.json"), "camera_calibration.json does not exist"),
    ("becominglit", "no calibration", _without("camera_calibration.json"), "camera_calibration.json does not exist"),
    ("multiface", "no calibration", _without("KRT"), "KRT does not exist"),
    ("ava256", "no calibration", _without("camera_calibration.json"), "camera_calibration.json does not exist"),
    ("nersemble", "no calibration", _without("camera_params.json"), "camera_params.json does not exist"),
    ("renderme360", "no calibration", _without("*_anno.smc"), "0297_e0_raw.smc lacks the key 'Calibration'"),
    ("vhap", "no calibration", _json("transforms.json", lambda v: v["frames"][0].pop("fl_x")), "'camera_angle_x'"),
    (
        "insta",
        "no calibration",
        _json("transforms.json", lambda v: (v.pop("fl_x"), v.pop("camera_angle_x"))),
        "transforms.json lacks the key 'camera_angle_x'",
    ),
    ("nerface", "no calibration", _json("transforms_test.json", lambda v: v.pop("intrinsics")), "'intrinsics'"),
    ("imavatar", "no calibration", _json("flame_params.json", lambda v: v.pop("intrinsics")), "'intrinsics'"),
    ("mononphm", "no calibration", _without("*_cam_params_opencv.npz"), "_cam_params_opencv.npz|holds no mononphm"),
    (
        "goliath",
        "unknown pattern",
        _json("light_pattern_per_frame.json", lambda v: v[0].__setitem__(1, 77)),
        "frame 100 of .* burns light pattern 77, but .*light_pattern_metadata.json has 3",
    ),
    (
        "becominglit",
        "unknown pattern",
        _json("light_pattern_per_frame.json", lambda v: v[0].__setitem__(1, -1)),
        "frame 5 of .* burns light pattern -1, but .*light_pattern_metadata.json has 3",
    ),
    ("goliath", "no pictures", _without("cam*.zip"), "image has no pictures"),
    ("becominglit", "no pictures", _without("*.png"), "sequences has no pictures"),
    ("multiface", "no pictures", _without("*.png"), "images has no pictures"),
    ("nersemble", "no pictures", _without("*.mp4"), "sequences has no videos"),
    (
        "goliath",
        "no light",
        _json("light_pattern_per_frame.json", lambda v: v.pop(1)),
        "no light pattern for frame 101",
    ),
    ("becominglit", "no light", _json("light_pattern_per_frame.json", lambda v: v.pop(1)), "pattern for frame 6"),
    ("goliath", "no light", _without("light_pattern_metadata.json"), "light_pattern_metadata.json does not exist"),
    (
        "goliath",
        "NaN",
        _json("camera_calibration.json", lambda v: v["KRT"][1]["T"][0].__setitem__(0, NAN)),
        r"camera_calibration.json: KRT\[1\]: T holds NaN",
    ),
    (
        "becominglit",
        "NaN",
        _json("color_calibration.json", lambda v: v["222200036"][0].__setitem__(0, NAN)),
        "color_calibration.json: 222200036 holds NaN",
    ),
    ("multiface", "NaN", _text("KRT", "-0.9 ", "nan "), "KRT: camera 400013: distortion holds NaN"),
    (
        "nersemble",
        "NaN",
        _json("camera_params.json", lambda v: v["intrinsics"][0].__setitem__(0, NAN)),
        "camera_params.json: intrinsics holds NaN",
    ),
    (
        "renderme360",
        "NaN",
        _smc("*e0_anno.smc", lambda f: f["Calibration/25/K"].__setitem__((0, 0), NAN)),
        "0297_e0_anno.smc: Calibration/25/K holds NaN",
    ),
    (
        "insta",
        "NaN",
        _json("transforms.json", lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(0, NAN)),
        r"transforms.json: frames\[0\]: transform_matrix holds NaN",
    ),
    (
        "insta",
        "size",
        _bytes("images/00000.png", SMALL),
        "00000.png is 40x50, but camera camera is calibrated for 96x80",
    ),
    ("video", "size", _bytes("IMG_0002.png", SMALL), "IMG_0002.png is 40x50"),
    ("multiface", "size", _bytes("400013/000105.png", SMALL), "000105.png is 40x50, but camera 400013"),
    (
        "goliath",
        "escape",
        _zip("image/cam400002.zip", {"../../../outside.png": SMALL}),
        "cam400002.zip has a member '../../../outside.png' that leads out of its folder",
    ),
    (
        "ava256",
        "escape",
        _zip("image/cam400013.zip", {"/etc/outside.png": SMALL}),
        "cam400013.zip has a member '/etc/outside.png' that leads out of its folder",
    ),
    (
        "insta",
        "escape",
        _json("transforms.json", lambda v: v["frames"][0].__setitem__("file_path", "../../00003.png")),
        r"transforms.json: frames\[0\]: file_path is '../../00003.png', which leads out",
    ),
    (
        "nerface",
        "escape",
        _json("transforms_test.json", lambda v: v["frames"][0].__setitem__("file_path", "/etc/f_0000")),
        r"transforms_test.json: frames\[0\]: file_path is '/etc/f_0000', which leads out",
    ),
    (
        "renderme360",
        "escape",
        _smc("*e0_raw.smc", lambda f: (f.pop("Camera/25"), f["Camera"].__setitem__("25", _outside()))),
        "0297_e0_raw.smc: Camera/25 leads out of the file",
    ),
    ("goliath", "bomb", _declare("image/cam400002.zip", 1 << 31), "unpacks to 2147483648 bytes"),
    ("becominglit", "bomb", _bytes("cam_222200036/frame_000006.png", bomb()), "000006.png declares 60000x60000 pixels"),
    ("mononphm", "bomb", _bytes("source/*.png", bomb()), "00001.png declares 60000x60000 pixels"),
]


def _outside():
    import h5py

    return h5py.ExternalLink("/etc/hostname", "/Camera/25")


@pytest.mark.parametrize(
    ("name", "kind", "spoil", "message"), CASES, ids=[f"{c[0]}-{c[1]}-{i}" for i, c in enumerate(CASES)]
)
def test_one_line_and_nothing_half_written(name: str, kind: str, spoil, message: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "source")
    spoil(tmp_path / "source")
    _refused(name, tmp_path, message)


def _refused(name: str, root: Path, message: str, **changes) -> None:
    with pytest.raises(VrmmError, match=message) as caught:
        import_captures(ImportRequest(format=name, source=root / "source", **changes), root / "out", processes=0)
    assert "\n" not in str(caught.value)
    assert not (root / "out").exists()


def test_avif_without_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    goliath_files.write(tmp_path / "source")
    monkeypatch.setattr(features, "check_module", lambda name: False)
    _refused("goliath", tmp_path, r"000100.avif is an AVIF file, which this Pillow cannot decode; run pip install")


def test_smc_without_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renderme360_files.write(tmp_path / "source")
    monkeypatch.setitem(sys.modules, "h5py", None)
    _refused("renderme360", tmp_path, "0297_e0_raw.smc is an HDF5 file, which needs h5py")


def test_a_camera_without_pictures(tmp_path: Path) -> None:
    goliath_files.write(tmp_path / "source", kind="png")
    _refused("goliath", tmp_path, "no images of camera 400999", selection=Selection(cameras=("400999",)))


class _Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["video", "mononphm"])
def test_no_pickle_is_loaded(name: str, tmp_path: Path) -> None:
    """An array of objects is a pickle, and so are the tracker's ``.frame`` files."""
    WRITERS[name](tmp_path / "source")
    trap = tmp_path / "trap"
    objects = np.empty((), object)
    objects[()] = _Touches(trap)
    for path in (tmp_path / "source").rglob("*.frame"):
        path.write_bytes(pickle.dumps(_Touches(trap)))
    if name == "video":
        for path in (tmp_path / "source").rglob("*.lmk.npz"):
            np.savez(path, landmarks=objects)
    else:
        np.save(tmp_path / "source" / "anna" / "pipnet" / "test.npy", objects, allow_pickle=True)
    _refused(name, tmp_path, "pickles are not loaded")
    assert not trap.exists()


def test_other_settings_may_follow_a_failure(tmp_path: Path) -> None:
    """The folder is not claimed by an import that wrote nothing."""
    files = goliath_files.write(tmp_path / "source", kind="png")
    goliath_files.write_camera(files.folder, files.cameras[1], {100: np.zeros((9, 9, 3), np.uint8)}, "png")
    _refused("goliath", tmp_path, "cam400013/000100.png is 9x9")
    others = tuple(camera.name for camera in files.cameras if camera.name != "400013")
    request = ImportRequest(format="goliath", source=tmp_path / "source", selection=Selection(cameras=others))
    (manifest,) = import_captures(request, tmp_path / "out", processes=0).values()
    assert len(manifest.shards) == 1
