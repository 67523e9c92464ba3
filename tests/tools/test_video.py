"""Videos: what a browser's decoder gets back."""

from pathlib import Path

import av
import numpy as np
import pytest

from datasets.errors import VrmmError
from tools.video import write_video


def halves(red: int) -> np.ndarray:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48], picture[:, 48:] = (red, 60, 40), (30, 90, 220)
    return picture


def test_a_video_is_h264_in_the_form_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, [halves(100 + 5 * index) for index in range(20)])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (96, 64, 24)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 20
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    for index in (0, 19):  # the order of frames, rows and colours; compression costs a few levels
        np.testing.assert_allclose(frames[index][32, 20], [100 + 5 * index, 60, 40], atol=6)
        np.testing.assert_allclose(frames[index][32, 80], [30, 90, 220], atol=6)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((63, 64, 3), np.uint8)], "even size"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], "one size"),
    ],
)
def test_frames_that_make_no_video_are_refused(tmp_path: Path, frames: list[np.ndarray], message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        write_video(tmp_path / "v.mp4", frames)
    assert list(tmp_path.iterdir()) == []
