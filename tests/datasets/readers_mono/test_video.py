"""Plain videos and picture folders: every frame is the right one, upright, in the right colours."""

import io
import json
import logging
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.errors import VrmmError
from datasets.images import decode_mask
from datasets.readers.clips import open_clip
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.video import VideoOptions, VideoReader
from tests.datasets.readers_mono import video_files
from tests.datasets.readers_mono.scene import (
    Scene,
    arrays,
    bomb,
    by_x,
    centres,
    check_picture,
    only_camera,
    spots,
    write_json,
    write_picture,
)
from tests.datasets.readers_mono.video_files import BT601, turn, write_folder, write_video

SCENE = Scene()
TWELVE = Scene(frames=12)
CODEC = 6.0  # levels of 255 by which the best quality of 8-bit YUV changes a value


def _reader(source: Path, selection: Selection | None = None, **options) -> VideoReader:
    return VideoReader(source, selection or Selection(), VideoOptions(**options))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "my clip.mp4"
    write_video(path, TWELVE.stored, TWELVE.frames)
    write_video(path.with_name("my clip.mask.mp4"), TWELVE.mask, TWELVE.frames)
    landmarks = np.stack([video_files.landmarks(TWELVE, frame) for frame in range(TWELVE.frames)])
    landmarks[7] = np.nan  # no face found
    np.savez(path.with_name("my clip.lmk.npz"), landmarks=landmarks)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "anna", SCENE)


def test_any_frame_in_any_order(video: Path) -> None:
    """Frames that refer to later ones, groups that begin in the middle, jumps back and forth."""
    reader = _reader(video)
    frames = reader.frames()
    assert [frame.index for frame in frames] == list(range(12))
    for number in (0, 1, 2, 11, 3, 4, 4, 9, 0, 10, 6):
        read = spots(reader, frames[number])
        # The next frame's spots are a pixel and more away.
        np.testing.assert_allclose(read, by_x(TWELVE.pixels(number)), atol=0.2)
        assert np.abs(read - by_x(TWELVE.pixels((number + 1) % 12))).max() > 1.0


def test_members_of_a_video(video: Path) -> None:
    reader = _reader(video)
    frame = reader.frames()[5]
    members = reader.members(frame)
    assert set(members) == {"camera.rgb.png", "camera.mask.png", "lmk.npz"}
    stored = cv2.imdecode(np.frombuffer(members["camera.rgb.png"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    difference = stored.astype(int) - TWELVE.stored(5)
    assert np.abs(difference).max() <= CODEC
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.3, "ffmpeg's quick conversion is a level too dark"
    assert np.abs(decode_mask(members["camera.mask.png"]) * 255.0 - TWELVE.mask(5)).max() <= CODEC
    points = arrays(members["lmk.npz"])
    np.testing.assert_allclose(points["points"][0], video_files.landmarks(TWELVE, 5), rtol=1e-6)
    assert points["cameras"].tolist() == ["camera"]
    assert "lmk.npz" not in reader.members(reader.frames()[7])
    assert not frame.light.known
    assert frame.pose is None
    assert frame.key == "my-clip_video_000005"


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_phones_film_sideways(tmp_path: Path, quarters: int) -> None:
    path = tmp_path / "phone.mov"
    write_video(path, lambda frame: np.rot90(SCENE.stored(frame), quarters).copy(), 2)
    turn(path, quarters)
    reader = _reader(path)
    camera = only_camera(reader.info)
    assert (camera.width, camera.height) == (SCENE.width, SCENE.height)
    np.testing.assert_allclose(spots(reader, reader.frames()[1]), by_x(SCENE.pixels(1)), atol=0.2)


def test_colours_by_the_matrix_of_the_file_or_of_its_size(tmp_path: Path) -> None:
    flat = np.zeros((64, 64, 3), np.uint8) + np.array([180, 60, 90], np.uint8)
    for name, settings in (("named", {"matrix": BT601}), ("small", {"matrix": BT601, "named": False})):
        path = tmp_path / f"{name}.mp4"
        write_video(path, lambda _: flat, 1, **settings)
        picture = open_clip(path).picture(0)
        stored = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(stored.astype(int) - flat).max() <= 2, name
    large = np.zeros((720, 720, 3), np.uint8) + flat[0, 0]
    write_video(tmp_path / "large.mp4", lambda _: large, 1, named=False)
    stored = cv2.imdecode(np.frombuffer(open_clip(tmp_path / "large.mp4").picture(0).data, np.uint8), 1)[..., ::-1]
    assert np.abs(stored[::90, ::90].astype(int) - flat[0, 0]).max() <= 2


def test_high_dynamic_range_is_refused(tmp_path: Path) -> None:
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        write_video(tmp_path / "hdr.mp4", SCENE.stored, 1, transfer=transfer)
        with pytest.raises(VrmmError, match=rf"hdr.mp4 has high dynamic range \({name}\)"):
            _reader(tmp_path / "hdr.mp4")


def test_damaged_videos_are_named(video: Path, tmp_path: Path) -> None:
    whole = video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # its table is at its end
    with pytest.raises(VrmmError, match="cut.mp4 cannot be read as a video .*is it whole"):
        _reader(tmp_path / "cut.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VrmmError, match="text.mp4 cannot be read as a video"):
        _reader(tmp_path / "text.mp4")
    with pytest.raises(VrmmError, match="absent.mp4 cannot be read as a video"):
        _reader(tmp_path / "absent.mp4")


def test_damage_in_a_video_is_named_and_ends_with_its_group(video: Path, tmp_path: Path) -> None:
    """What refers to a damaged frame looks whole to a player, and shows smears."""
    with av.open(str(video)) as container:
        fourth = [packet for packet in container.demux(video=0) if packet.size][4]
        assert fourth.is_keyframe
        middle = fourth.pos + fourth.size // 2
    data = bytearray(video.read_bytes())
    data[middle : middle + 40] = bytes(range(40))
    (tmp_path / "damaged.mp4").write_bytes(data)
    reader = _reader(tmp_path / "damaged.mp4")
    frames = reader.frames()
    for number in (0, 5, 1, 9, 6, 11):
        if 4 <= number < 8:
            with pytest.raises(VrmmError, match=rf"frame {number} of .*damaged.mp4 cannot be .*; is it whole"):
                reader.members(frames[number])
        else:
            np.testing.assert_allclose(spots(reader, frames[number]), by_x(TWELVE.pixels(number)), atol=0.2)


def test_members_of_a_folder(folder: Path) -> None:
    reader = _reader(folder)
    assert [frame.index for frame in reader.frames()] == [1, 2, 3, 4, 5]
    for number, frame in enumerate(reader.frames()):
        members = reader.members(frame)
        assert members["camera.rgb.png"] == (folder / f"IMG_{number + 1:04d}.png").read_bytes()
        check_picture(members, SCENE, number)
        points = arrays(members["lmk.npz"])
        np.testing.assert_allclose(points["points"][0, :4], SCENE.pixels(number), rtol=1e-5)
        np.testing.assert_allclose(spots(reader, frame), by_x(SCENE.pixels(number)), atol=0.01)
    assert reader.info.subjects == ("anna",)
    part = _reader(folder, Selection(frames=FrameRange.parse("2:5:2")))
    assert [frame.index for frame in part.frames()] == [2, 4]


def test_pictures_that_lie_on_their_side(tmp_path: Path) -> None:
    """EXIF orientation 6: to be turned a quarter clockwise."""
    for frame in range(2):
        turned = Image.fromarray(np.rot90(SCENE.stored(frame)).copy())
        exif = turned.getexif()
        exif[0x0112] = 6
        (tmp_path / "phone").mkdir(exist_ok=True)
        turned.save(tmp_path / "phone" / f"{frame}.jpg", quality=95, subsampling=0, exif=exif)
    reader = _reader(tmp_path / "phone")
    camera = only_camera(reader.info)
    assert (camera.width, camera.height) == (SCENE.width, SCENE.height)
    members = reader.members(reader.frames()[1])
    assert set(members) == {"camera.rgb.png"}
    np.testing.assert_allclose(spots(reader, reader.frames()[1]), by_x(SCENE.pixels(1)), atol=0.05)  # JPEG


def test_upright_jpegs_keep_their_bytes(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.jpg", SCENE.stored(0))
    (tmp_path / "0.jpg").rename(tmp_path / "0.JPEG")
    reader = _reader(tmp_path)
    assert reader.members(reader.frames()[0])["camera.rgb.jpg"] == (tmp_path / "0.JPEG").read_bytes()


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["shot.0010.png", "shot.0002.png"], [2, 10]),
        (["take2_0001.png", "take2_0000.png"], [0, 1]),
        (["left.png", "front.png"], [0, 1]),
        (["a_1.png", "b_1.png", "c_2.png"], [0, 1, 2]),
    ],
)
def test_numbers_of_pictures(tmp_path: Path, names: list[str], numbers: list[int]) -> None:
    for name in [*names, ".hidden_7.png"]:
        write_picture(tmp_path / name, SCENE.stored(0))
    (tmp_path / "notes_9.txt").write_text("")
    clip = open_clip(tmp_path)
    assert clip.numbers == numbers
    assert [str(clip.file(number)) for number in numbers] == sorted(str(tmp_path / name) for name in names)


def test_deep_pictures_and_alpha(tmp_path: Path) -> None:
    deep = (SCENE.stored(0).astype(np.uint16) * 257)[..., ::-1]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "0.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    reader = _reader(tmp_path / "deep")
    assert reader.info.encoding.bits == 16
    np.testing.assert_allclose(spots(reader, reader.frames()[0]), by_x(SCENE.pixels(0)), atol=0.01)
    write_picture(tmp_path / "alpha" / "0.png", SCENE.rgba(3))
    cut_out = _reader(tmp_path / "alpha")
    check_picture(cut_out.members(cut_out.frames()[0]), SCENE, 3)


def test_masks_and_landmarks_elsewhere(folder: Path, tmp_path: Path, video: Path) -> None:
    (folder / "masks").mkdir()
    for path in sorted(folder.glob("*.mask.png")):
        path.rename(folder / "masks" / path.name.replace(".mask.", "."))
    reader = _reader(folder)
    check_picture(reader.members(reader.frames()[4]), SCENE, 4)
    (folder / "masks").rename(tmp_path / "mattes")
    np.savez(tmp_path / "all.npz", landmarks=np.stack([video_files.landmarks(SCENE, 4 - i) for i in range(5)]))
    reader = _reader(folder, masks=str(tmp_path / "mattes"), landmarks=str(tmp_path / "all.npz"))
    members = reader.members(reader.frames()[4])
    check_picture(members, SCENE, 4)
    points = arrays(members["lmk.npz"])["points"][0]
    np.testing.assert_allclose(points, video_files.landmarks(SCENE, 0), rtol=1e-6)
    for frame in range(TWELVE.frames):
        write_picture(tmp_path / "my clip.masks" / f"{frame:06d}.png", TWELVE.mask(frame))
    (tmp_path / "my clip.mp4").write_bytes(video.read_bytes())
    beside = _reader(tmp_path / "my clip.mp4")
    mask = decode_mask(beside.members(beside.frames()[3])["camera.mask.png"])
    np.testing.assert_array_equal(np.rint(mask * 255.0), TWELVE.mask(3))


def test_masks_of_other_frames_are_named(folder: Path, video: Path) -> None:
    (folder / "IMG_0004.mask.png").unlink()
    with pytest.raises(VrmmError, match="anna and its masks do not have the same frames: only one has frame 4"):
        _reader(folder).frames()
    with pytest.raises(VrmmError, match="only one has frame 0"):
        _reader(folder, masks=str(video.with_name("my clip.mask.mp4"))).frames()


def test_what_is_found(folder: Path, video: Path, tmp_path: Path) -> None:
    assert VideoReader.captures_under(video) == {"my-clip": video}
    assert VideoReader.captures_under(video.parent) == {"my-clip": video}
    assert VideoReader.captures_under(folder) == {"anna": folder}
    assert VideoReader.captures_under(tmp_path) == {"anna": folder}
    assert VideoReader.captures_under(folder / "IMG_0001.lmk.npz") == {}


def test_the_lens_is_guessed_aloud(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A head of 25 cm at the origin fills half the shorter side, whatever the lens."""
    with caplog.at_level(logging.WARNING):
        guessed = only_camera(_reader(folder).info)
    assert "anna does not say what lens it was taken with; 45 degrees" in caplog.text
    assert np.degrees(2 * np.arctan(SCENE.width / 2 / guessed.intrinsics[0, 0])) == pytest.approx(45.2, abs=0.1)
    caplog.clear()
    told = only_camera(_reader(folder, focal=200.0).info)
    far = only_camera(_reader(folder, focal=200.0, distance=2.0).info)
    assert not caplog.text
    for camera in (guessed, told):
        top, bottom = camera.project(np.array([[0.0, 0.125, 0.0], [0.0, -0.125, 0.0]]))
        assert bottom[1] - top[1] == pytest.approx(SCENE.height / 2)
    np.testing.assert_allclose(far.center, [0.0, 0.0, 2.0])
    for name in ("focal", "distance"):
        with pytest.raises(VrmmError, match=f"{name} is -1.0"):
            _reader(folder, **{name: -1.0})


def test_a_calibrated_lens(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "camera.json"
    right = {"intrinsics": SCENE.intrinsics.tolist(), "width": SCENE.width, "height": SCENE.height}
    write_json(file, right)
    np.testing.assert_array_equal(only_camera(_reader(folder, camera=str(file)).info).intrinsics, SCENE.intrinsics)
    for change, message in (
        ({"width": 97}, "camera.json is of 97x80 pixels, but .*anna of 96x80"),
        ({"intrinsics": [[float("nan")] * 3] * 3}, "camera.json: intrinsics holds NaN"),
        ({"intrinsics": (-SCENE.intrinsics).tolist()}, "a matrix with positive focal lengths"),
    ):
        file.write_text(json.dumps({**right, **change}))
        with pytest.raises(VrmmError, match=message):
            _reader(folder, camera=str(file))


def test_the_licence_is_the_user_s_to_say(folder: Path) -> None:
    assert "those who filmed" in _reader(folder).info.licence
    assert _reader(folder, licence="CC BY 4.0, for tests").info.licence == "CC BY 4.0, for tests"


def _save(path: Path, **values: np.ndarray) -> None:
    np.savez(path, **values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: _save(folder / "IMG_0002.lmk.npz", landmarks=np.zeros((5, 2))), "2.lmk.npz is .* where 68x2"),
        (lambda folder: _save(folder / "IMG_0002.lmk.npz", points=np.zeros((68, 2))), "has no member landmarks.npy"),
        (lambda folder: (folder / "IMG_0002.lmk.npz").write_text("no zip"), "IMG_0002.lmk.npz is no whole zip"),
        (lambda folder: write_picture(folder / "IMG_0002.png", SCENE.stored(0)[:40]), "IMG_0002.png is 96x40, but"),
        (lambda folder: (folder / "IMG_0002.png").write_bytes(bomb()), "IMG_0002.png declares 60000x60000 pixels"),
        (lambda folder: (folder / "IMG_0002.mask.png").write_bytes(bomb()), "mask.png declares 60000x60000 pixels"),
        (lambda folder: write_picture(folder / "IMG_0002.mask.png", SCENE.mask(0)[:, :40]), "the mask of .* is 40x80"),
        (lambda folder: (folder / "IMG_0002.png").write_text("text"), "IMG_0002.png is not a PNG file"),
    ],
)
def test_bad_files_of_a_frame_are_named(folder: Path, change, message: str) -> None:
    change(folder)
    reader = _reader(folder)
    reader.members(reader.frames()[0])
    with pytest.raises(VrmmError, match=message):
        reader.members(reader.frames()[1])


def test_other_bad_input(folder: Path, tmp_path: Path, video: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VrmmError, match="empty holds no pictures"):
        _reader(tmp_path / "empty")
    np.savez(tmp_path / "all.npz", landmarks=np.zeros((4, 68, 2)))
    reader = _reader(folder, landmarks=str(tmp_path / "all.npz"))
    with pytest.raises(VrmmError, match=r"landmarks is of shape \(4, 68, 2\); needed is \(5, 68, 2\)"):
        reader.members(reader.frames()[0])
    with pytest.raises(VrmmError, match="has no frame of the chosen range"):
        _reader(video, Selection(frames=FrameRange.parse("90:99"))).frames()
    with pytest.raises(VrmmError, match="has no images of camera left; it has camera"):
        _reader(video, Selection(cameras=("left",)))
    sideways = io.BytesIO()
    Image.fromarray(SCENE.stored(0)).save(sideways, "JPEG")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "0.jpg").write_bytes(sideways.getvalue()[:60])
    with pytest.raises(VrmmError, match="0.jpg is not a JPEG file"):
        _reader(tmp_path / "cut")


def test_spots_are_found_where_they_are() -> None:
    """The measure of the other tests, against itself."""
    np.testing.assert_allclose(centres(SCENE.radiance(0)[..., 1] - 0.03), by_x(SCENE.pixels(0)), atol=1e-3)
