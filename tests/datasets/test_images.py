"""Stored images: every encoding is undone up to its own rounding, and strangers' bytes cannot hurt."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.capture import ImageEncoding
from datasets.errors import VrmmError
from datasets.images import (
    decode_mask,
    decode_radiance,
    display,
    encode_mask,
    encode_picture,
    encode_radiance,
    to_display,
)

MATRIX = ((1.2, -0.1, -0.1), (-0.05, 1.1, -0.05), (0.0, -0.2, 1.2))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_linear_round_trip_is_within_half_a_step(bits: int) -> None:
    image = np.random.default_rng(0).random((7, 5, 3), np.float32) * 3.0
    encoding = ImageEncoding(bits=bits, white=3.0)
    back = decode_radiance(encode_radiance(image, encoding), "png", encoding)
    assert back.dtype == np.float32
    # Half a quantisation step, and float32 rounding of values up to 3.
    assert np.abs(back - image).max() <= 0.5 * 3.0 / (2**bits - 1) + 4e-7


@settings(max_examples=40, deadline=None)
@given(
    st.integers(8, 16),
    st.sampled_from(["linear", "srgb"]),
    st.floats(0.25, 8.0),
    st.tuples(*[st.floats(0.0, 0.1)] * 3),
    st.tuples(*[st.floats(0.5, 2.0)] * 3),
    st.booleans(),
)
def test_storing_again_gives_the_same_file(bits, transfer, white, black, gain, mixed) -> None:
    """Decoding then encoding must hit the same integers: the two are inverses under every encoding."""
    matrix = MATRIX if mixed else ImageEncoding().matrix
    encoding = ImageEncoding(bits=bits, transfer=transfer, white=white, black_level=black, gain=gain, matrix=matrix)
    stored = np.random.default_rng(bits).integers(0, 2**bits, (4, 6, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    data = cv2.imencode(".png", stored[..., ::-1])[1].tobytes()
    again = encode_radiance(decode_radiance(data, "front.rgb.png", encoding), encoding)
    read = cv2.imdecode(np.frombuffer(again, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    # float32 radiance holds 24 bits, so 16-bit values come back except where a transfer curve is steep at black.
    assert np.abs(read.astype(int) - stored).max() <= (1 if bits > 12 else 0)


def test_the_documented_formula() -> None:
    """radiance = matrix @ (gain * srgb⁻¹(stored / 255 − black_level) * white), worked by hand."""
    encoding = ImageEncoding(
        bits=8, transfer="srgb", white=2.0, black_level=(0.1, 0.0, 0.0), gain=(1.5, 1.0, 1.0), matrix=MATRIX
    )
    data = cv2.imencode(".png", np.full((2, 2, 3), (51, 102, 204), np.uint8))[1].tobytes()  # blue, green, red
    red, green, blue = (((value + 0.055) / 1.055) ** 2.4 for value in (0.8 - 0.1, 0.4, 0.2))
    expected = np.array(MATRIX) @ (2.0 * np.array([1.5 * red, green, blue]))
    np.testing.assert_allclose(decode_radiance(data, "png", encoding)[0, 0], expected, rtol=2e-6)


def test_srgb_near_black_is_linear() -> None:
    encoding = ImageEncoding(bits=16, transfer="srgb")
    image = np.full((1, 1, 3), 0.001, np.float32)
    assert decode_radiance(encode_radiance(image, encoding), "png", encoding)[0, 0, 0] == pytest.approx(0.001, rel=1e-3)


def test_jpeg_is_read_in_rgb_order_and_as_stored() -> None:
    """A rotation flag would turn the image away from its calibration."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[..., 2] = 200  # OpenCV writes BGR
    data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff  # orientation 6: quarter turn
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    image = decode_radiance(turned, "front.rgb.jpg", ImageEncoding(bits=8))
    assert image.shape == (16, 32, 3)
    np.testing.assert_allclose(image[4, 4], [200 / 255, 0.0, 0.0], atol=2 / 255)


def test_masks() -> None:
    mask = np.arange(256, dtype=np.float32).reshape(16, 16) / np.float32(255)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)
    assert decode_mask(encode_mask(np.full((2, 2), 7.0, np.float32))).max() == 1.0
    deep = cv2.imencode(".png", np.full((2, 3), 32768, np.uint16))[1].tobytes()
    assert decode_mask(deep)[0, 0] == pytest.approx(32768 / 65535)


def test_display_encoding() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 9.0])
    np.testing.assert_allclose(display(values), [0.0, 0.0, 0.5 ** (1 / 2.2), 1.0, 1.0])
    assert to_display(values).tolist() == [0, 0, 186, 255, 255]
    picture = cv2.imdecode(np.frombuffer(encode_picture(np.full((2, 2, 3), [1.0, 0.5, 0.0])), np.uint8), 1)
    assert picture[0, 0].tolist() == [0, 186, 255]


# A JPEG decoder shows a grey tail where the file is cut near its end: the shards' checksums find that.
@pytest.mark.parametrize(
    ("extension", "cut"),
    [(extension, cut) for extension in ("png", "jpg") for cut in (0, 1, 7, 20, 40)] + [("png", -30)],
)
def test_cut_files_are_named(extension: str, cut: int) -> None:
    whole = cv2.imencode(f".{extension}", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    with pytest.raises(VrmmError, match=r"^frame 3, front"):
        decode_radiance(whole[:cut], extension, ImageEncoding(bits=8), "frame 3, front")


def test_other_files_are_named() -> None:
    with pytest.raises(VrmmError, match=r"is a \.webp file; readable are png, jpg"):
        decode_radiance(b"RIFF", "webp", ImageEncoding())
    with pytest.raises(VrmmError, match="stores 8-bit values but its capture declares 16 bits"):
        decode_radiance(encode_picture(np.ones((2, 2, 3))), "png", ImageEncoding(bits=16), "front")
    with pytest.raises(VrmmError, match=r"NaN"):
        encode_radiance(np.full((1, 1, 3), np.nan), ImageEncoding())
    with pytest.raises(VrmmError, match="transfer 'gamma' is unknown"):
        encode_radiance(np.ones((1, 1, 3)), ImageEncoding(transfer="gamma"))
    with pytest.raises(VrmmError, match=r"encoding\.bits is 32"):
        encode_radiance(np.ones((1, 1, 3)), ImageEncoding(bits=32))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    """A file of a hundred bytes that declares 60000 × 60000 pixels must not take 20 GB."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = b"\x89PNG\r\n\x1a\n" + chunk + bytes(100)
    with pytest.raises(VrmmError, match="front declares 60000x60000 pixels"):
        decode_radiance(data, "png", ImageEncoding(bits=8), "front")
    with pytest.raises(VrmmError, match="declares 60000x60000 pixels"):
        decode_mask(data)
    small = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    start = small.index(b"\xff\xc0") + 5
    bomb = small[:start] + struct.pack(">HH", 65535, 65535) + small[start + 4 :]
    with pytest.raises(VrmmError, match="declares 65535x65535 pixels"):
        decode_radiance(bomb, "jpg", ImageEncoding(bits=8))
