"""One frame of every format as its reader gives it, above its truth: ``python -m tests.datasets.reader_grid OUT.png``.

Each column is a format whose tiny capture was rendered by the synthetic light stage and written down as the data set
does. The rows are what was read back, the truth, and twenty times their difference, all cut out by the mask where the
format has one, in the display encoding.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from datasets.files import atomic_write_bytes
from datasets.images import display
from tests.datasets.rendered_captures import STAGES, VIDEOS, Shot, video_shot

_TILE = 180, 264  # width and height, pixels
_CAPTION = 34
_COLUMNS = 6
_GAIN = 20.0
_SCALE = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture, PNG")
    out = parser.parse_args().out
    columns = []
    for name in (*STAGES, *VIDEOS):
        with tempfile.TemporaryDirectory() as folder:
            shot = STAGES[name](Path(folder), _SCALE) if name in STAGES else video_shot(name, Path(folder))
            columns.append(column(shot))
        print(name, flush=True)
    blank = [np.zeros_like(columns[0])] * (-len(columns) % _COLUMNS)
    columns += blank
    bands = [np.concatenate(columns[i : i + _COLUMNS], axis=1) for i in range(0, len(columns), _COLUMNS)]
    atomic_write_bytes(out, _png(np.concatenate(bands)))


def column(shot: Shot) -> np.ndarray:
    """Read back, truth and difference of one format under each other, with a caption."""
    read, mask = shot.read()
    if mask is None:
        read, wanted = display(read), display(shot.radiance)
    else:
        read, wanted = display(read * mask[..., None]), display(shot.radiance * shot.mask[..., None])
    error = np.abs(read - wanted)
    caption = f"{shot.format}: {255 * error.mean():.1f} of 255"
    return np.concatenate([_captioned(caption), *(_fitted(picture) for picture in (read, wanted, _GAIN * error))])


def _fitted(picture: np.ndarray) -> np.ndarray:
    """In the middle of a tile, as large as fits."""
    import cv2

    width, height = _TILE
    factor = min(width / picture.shape[1], height / picture.shape[0], 1.5)
    size = round(factor * picture.shape[1]), round(factor * picture.shape[0])
    small = cv2.resize(np.clip(picture, 0.0, 1.0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    tile = np.zeros((height, width, 3), np.float32)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile


def _captioned(text: str) -> np.ndarray:
    import cv2

    band = np.zeros((_CAPTION, _TILE[0], 3), np.uint8)
    cv2.putText(band, text, (4, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return (band / 255.0).astype(np.float32)


def _png(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", np.rint(255.0 * picture[..., ::-1]).astype(np.uint8))[1].tobytes()


if __name__ == "__main__":
    main()
