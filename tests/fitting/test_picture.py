"""Picture files: every kind of colour picture gives the same upright values, every other one clear line."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from datasets.errors import VrmmError
from fitting.picture import read_picture

RAMP = np.stack(np.broadcast_arrays(np.linspace(40, 220, 24)[:, None], np.linspace(30, 200, 32), 90.0), axis=-1)
RGB = np.rint(RAMP).astype(np.uint8)


def test_kinds_agree(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB)
    picture.save(tmp_path / "a.png")
    picture.convert("CMYK").save(tmp_path / "b.jpg", quality=98, subsampling=0)
    picture.convert("CMYK").save(tmp_path / "c.tif")
    picture.quantize(256).save(tmp_path / "d.png")
    cv2.imwrite(str(tmp_path / "e.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "f.tif"), RGB[..., ::-1].astype(np.uint16) * 257)
    for name, levels in [("a.png", 0), ("b.jpg", 6), ("c.tif", 1), ("d.png", 12), ("e.png", 0), ("f.tif", 0)]:
        found = read_picture(tmp_path / name)
        assert np.abs(found.rgb.astype(int) - RGB).max() <= levels, name
        np.testing.assert_allclose(found.linear, (RGB / 255.0) ** 2.2, atol=0.02 + levels / 100, err_msg=name)
    assert read_picture(tmp_path / "e.png").stored.dtype == np.uint16


def test_a_profile_becomes_srgb(tmp_path: Path) -> None:
    """A profile whose red and blue are exchanged: only who reads it sees the true colours."""
    sheet = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {
        bytes(sheet[start : start + 4]): start for start in range(132, 132 + 12 * int.from_bytes(sheet[128:132]), 12)
    }
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    sheet[red + 4 : red + 12], sheet[blue + 4 : blue + 12] = sheet[blue + 4 : blue + 12], sheet[red + 4 : red + 12]
    described = sheet.find("sRGB".encode("utf-16-be"))
    assert described > 0
    sheet[described : described + 8] = "xRGB".encode("utf-16-be")
    Image.fromarray(np.ascontiguousarray(RGB[..., ::-1])).save(tmp_path / "a.png", icc_profile=bytes(sheet))
    assert np.abs(read_picture(tmp_path / "a.png").rgb.astype(int) - RGB).max() <= 2
    Image.fromarray(RGB).save(tmp_path / "b.png", icc_profile=b"no profile at all")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").rgb, RGB)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(tmp_path: Path, orientation: int, deep: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=exif)
    wanted = read_picture(path).rgb
    assert (orientation == 1) == (wanted.shape == RGB.shape and bool((wanted == RGB).all()))
    if deep:
        data = path.read_bytes()
        start = data.index(b"eXIf") - 4
        chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4])]
        _, encoded = cv2.imencode(".png", RGB[..., ::-1].astype(np.uint16) * 257)
        path.write_bytes(encoded.tobytes()[:33] + chunk + encoded.tobytes()[33:])
        found = read_picture(path)
        assert found.stored.dtype == np.uint16
        np.testing.assert_array_equal(found.rgb, wanted)


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_is_apart(tmp_path: Path, depth: int) -> None:
    dtype, scale = (np.uint8, 1) if depth == 8 else (np.uint16, 257)
    alpha = np.linspace(0, 255, RGB[..., 0].size).round().reshape(RGB.shape[:2])
    stored = np.concatenate([RGB[..., ::-1], alpha[..., None]], axis=-1).astype(dtype) * dtype(scale)
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.rgb, RGB)
    assert found.alpha is not None
    np.testing.assert_allclose(found.alpha, alpha / 255.0, atol=1e-6)


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(RGB).save(data, "JPEG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.png", lambda path: Image.fromarray(RGB[..., 0]).save(path), "grey picture"),
        ("a.png", lambda path: Image.fromarray(RGB).convert("LA").save(path), "grey picture"),
        ("a.png", lambda path: Image.fromarray(RGB).convert("1").save(path), "grey picture"),
        ("a.png", lambda path: Image.fromarray(RGB).convert("L").convert("RGB").save(path), "grey picture"),
        ("a.png", lambda path: cv2.imwrite(str(path), RGB[..., 0].astype(np.uint16) * 257), "grey picture"),
        ("a.jpg", lambda path: path.write_bytes(jpeg()[: len(jpeg()) // 2]), "cannot be read as an 8- or 16-bit"),
        ("a.png", lambda path: path.write_bytes(b"no picture"), "cannot be read"),
        ("a.png", lambda path: path.write_bytes(b""), "cannot be read"),
        ("a.heic", lambda path: path.write_bytes(b"x"), "save it as one of .png"),
        ("a.png", lambda path: None, "does not exist"),
    ],
)
def test_others_give_one_line(tmp_path: Path, name: str, make, message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(VrmmError, match=message) as caught:
        read_picture(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_picture_that_declares_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.fromarray(RGB).save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = (12000).to_bytes(4, "little") * 2  # 144 megapixels
    path.write_bytes(data)
    with pytest.raises(VrmmError, match="12000×12000 pixels"):
        read_picture(path)
