"""Photos: linear light, upright, masked, cropped to the head, with camera and landmarks following."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from fitting.camerafile import PhotoCamera
from fitting.landmarks import write_landmarks
from fitting.photo import read_photo


def points_around(x: float, y: float, spread: float) -> np.ndarray:
    """68 points in a box around a place, which they span."""
    points = np.random.default_rng(1).uniform(-spread / 2, spread / 2, (68, 2))
    points[:2] = [[-spread / 2, -spread / 2], [spread / 2, spread / 2]]
    return points + (x, y)


def save(path: Path, rgb: np.ndarray, points: np.ndarray | None = None) -> Path:
    """Store an RGB(A) picture, and landmarks beside it."""
    order = [2, 1, 0, 3][: rgb.shape[2]] if rgb.ndim == 3 else slice(None)
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., order]) if rgb.ndim == 3 else rgb)
    write_landmarks(path, points_around(24, 26, 20) if points is None else points)
    return path


def tinted(shape: tuple[int, int]) -> np.ndarray:
    """A plain picture that is not grey."""
    return np.full((*shape, 3), (200, 160, 140), np.uint8)


def full_mask(path: Path, shape: tuple[int, int]) -> None:
    cv2.imwrite(str(path.with_suffix("").with_name(path.stem + ".mask.png")), np.full(shape, 255, np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_are_linear_radiance(tmp_path: Path, dtype: type) -> None:
    rgb = np.zeros((48, 48, 3), dtype)
    rgb[:] = (np.array([0.5, 0.2, 0.04]) * np.iinfo(dtype).max).astype(dtype)
    path = save(tmp_path / "p.png", rgb)
    full_mask(path, (48, 48))
    photo = read_photo(path, 48)
    # IEC 61966-2-1 by hand; half a step of 8 bits is 0.002 and its slope at 0.5 is below 2.
    expected = torch.tensor([((0.5 + 0.055) / 1.055) ** 2.4, ((0.2 + 0.055) / 1.055) ** 2.4, 0.04 / 12.92])
    torch.testing.assert_close(photo.image[:, 20, 20], expected, atol=5e-3, rtol=0)
    assert photo.mask_source == "file"


def test_the_mask_multiplies_the_picture(tmp_path: Path) -> None:
    rgba = np.full((48, 48, 4), 255, np.uint8)
    rgba[:, :24, 3] = 0
    rgba[0, 0] = (255, 0, 0, 0)  # a picture without any colour is refused
    photo = read_photo(save(tmp_path / "p.png", rgba), 48)
    assert photo.mask_source == "alpha"
    assert photo.image[:, :, :24].abs().max() == 0
    torch.testing.assert_close(photo.image[:, :, 24:], torch.ones(3, 48, 24))
    full_mask(tmp_path / "p.png", (48, 48))
    assert read_photo(tmp_path / "p.png", 48).mask_source == "file"


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, :30, 0] = 255  # red on the left
    path = tmp_path / "p.jpg"
    cv2.imwrite(str(path), rgb[..., ::-1])
    data = path.read_bytes()
    orientation = 6  # the camera was turned: show it rotated a quarter clockwise
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([orientation, 0, 0, 0]) + bytes(4)
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    write_landmarks(path, points_around(20, 30, 20))
    full_mask(path, (60, 40))
    photo = read_photo(path, 60)
    assert photo.valid[0].sum(dim=0)[9] == 0  # upright it is 40 wide, so the square has bars at its sides
    assert photo.image[0, 10, 30] > 0.9  # the left has become the top
    assert photo.image[0, 50, 30] < 0.1


def test_the_crop_carries_landmarks_and_lens(tmp_path: Path) -> None:
    points = points_around(300, 210, 60)
    rgb = np.zeros((400, 500, 3), np.uint8)
    rgb[..., 2] = 4  # no grey picture
    x, y = points[7].astype(int)
    rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    path = save(tmp_path / "p.png", rgb, points)
    full_mask(path, (400, 500))
    lens = np.array([[900.0, 0, 250], [0, 900, 200], [0, 0, 1]])
    camera = PhotoCamera(intrinsics=lens, width=500, height=400, world_to_camera=None)
    photo = read_photo(path, 96, camera)
    bright = torch.nonzero(photo.image[0] > 0.5 * photo.image.max()).float().mean(dim=0).flip(0) + 0.5
    # The square is 5 pixels of the photo, its centre at + 0.5; a working pixel is 1.4 of them.
    np.testing.assert_allclose(bright.numpy(), (photo.crop @ [x + 0.5, y + 0.5, 1.0])[:2], atol=0.6)
    np.testing.assert_allclose(photo.landmarks, points @ photo.crop[:2, :2].T + photo.crop[:2, 2], atol=1e-4)
    assert photo.intrinsics is not None
    point = np.array([0.1, -0.05, 2.0])
    direct = photo.intrinsics @ point
    through = photo.crop @ (lens @ point / point[2])
    np.testing.assert_allclose(direct[:2] / direct[2], through[:2], atol=1e-9)
    head = np.ptp(photo.landmarks, axis=0).max()
    assert 96 / 3 < head < 96 / 2  # the head fills the working picture


def test_beyond_the_edge_nothing_is_known(tmp_path: Path) -> None:
    path = save(tmp_path / "p.png", tinted((60, 40)), points_around(20, 30, 30))
    full_mask(path, (60, 40))
    photo = read_photo(path, 60)
    assert photo.valid[0, :, :10].max() == 0
    assert photo.valid[0, :, 10:50].min() == 1
    assert photo.image[:, :, :10].abs().max() == 0


def test_a_photo_at_the_working_size_is_not_resampled(tmp_path: Path) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    path = save(tmp_path / "p.png", rgb, points_around(24, 26, 24))
    full_mask(path, (48, 48))
    photo = read_photo(path, 48)
    np.testing.assert_array_equal(photo.crop, np.eye(3))
    back = np.rint(photo.image.permute(1, 2, 0).numpy() ** (1 / 2.4) * 1.055 * 255 - 0.055 * 255)
    bright = rgb > 20
    np.testing.assert_array_equal(back[bright], rgb[bright])


def test_a_head_before_a_plain_wall_is_cut_out(tmp_path: Path) -> None:
    y, x = np.mgrid[:120, :120]
    head = np.hypot((x - 60) / 26, (y - 56) / 34) < 1
    noise = np.random.default_rng(3).integers(-6, 7, (120, 120, 3))
    rgb = np.where(head[..., None], (190, 130, 100), (40, 70, 110)) + noise
    path = save(tmp_path / "p.png", rgb.clip(0, 255).astype(np.uint8), points_around(60, 62, 40))
    photo = read_photo(path, 96)
    assert photo.mask_source == "estimated"
    grid = np.linalg.inv(photo.crop)
    rows, columns = np.mgrid[:96, :96] + 0.5
    truth = np.hypot((columns * grid[0, 0] + grid[0, 2] - 60) / 26, (rows * grid[1, 1] + grid[1, 2] - 56) / 34) < 1
    found = photo.mask[0].numpy() > 0.5
    assert (truth & found).sum() / (truth | found).sum() > 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be read as an 8- or 16-bit picture"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: cv2.imwrite(str(path), np.full((48, 48), 99, np.uint8)), "grey"),
        (lambda path: path.with_name("p.lmk.npz").unlink(), "has no landmarks of a face: put"),
        (lambda path: write_landmarks(path, points_around(500, 26, 20)), "lie outside its 48×48"),
        (lambda path: write_landmarks(path, points_around(24, 26, 3)), "only 3 pixels large"),
        (lambda path: write_landmarks(path, points_around(43, 26, 30)), "the face is cut off"),
        (lambda path: full_mask(path, (40, 48)), "is 48×40 but its photo 48×48"),
    ],
)
def test_bad_photos_give_one_line(tmp_path: Path, make, message: str) -> None:
    path = save(tmp_path / "p.png", tinted((48, 48)))
    make(path)
    with pytest.raises(VrmmError, match=message) as caught:
        read_photo(path, 48)
    assert "\n" not in str(caught.value)
    assert "p." in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.heic").write_bytes(b"...")
    with pytest.raises(VrmmError, match="save it as one of .png"):
        read_photo(tmp_path / "p.heic", 48)


def test_a_camera_of_another_size_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "p.png", tinted((48, 48)))
    camera = PhotoCamera(intrinsics=np.eye(3), width=96, height=96, world_to_camera=None)
    with pytest.raises(VrmmError, match="is 48×48 but its camera 96×96"):
        read_photo(path, 48, camera)
