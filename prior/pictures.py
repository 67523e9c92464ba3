"""Pictures for people: display encoding, labelled sheets of images, PNG and JPEG bytes."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from datasets.files import atomic_write_bytes
from prior.metrics import display

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

BACKGROUND, INK, FAINT = (22, 23, 26), (236, 236, 238), (160, 162, 170)
GAP = 3
MARGIN = 12


def to_picture(radiance: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Linear radiance as 8-bit display values."""
    values = display(radiance.detach().float()).mul(255.0).round()
    return values.permute(1, 2, 0).cpu().numpy().astype(np.uint8)


def error_picture(
    image: Float[Tensor, "3 H W"], truth: Float[Tensor, "3 H W"], mask: Float[Tensor, "1 H W"], gain: float = 4.0
) -> UInt8[np.ndarray, "H W 3"]:
    """``gain`` × the absolute difference after display encoding, black outside of the mask."""
    difference = (display(image.detach()) - display(truth)).abs() * gain * (mask > 0.5)
    return difference.clamp(0.0, 1.0).mul(255.0).round().permute(1, 2, 0).cpu().numpy().astype(np.uint8)


def mask_picture(mask: Float[Tensor, "1 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """A mask or alpha as grey."""
    return mask.detach().clamp(0, 1).mul(255.0).round().expand(3, -1, -1).permute(1, 2, 0).to(torch.uint8).cpu().numpy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures of one thing, side by side, and a line of text under them.

    Attributes:
        pictures: [H, W, 3] each, of any size.
        caption: one line.
    """

    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    caption: str = ""


def draw_sheet(
    columns: Sequence[str], strips: Sequence[Strip], *, across: int = 1, cell: int = 160, title: str = ""
) -> UInt8[np.ndarray, "H W 3"]:
    """A labelled grid.

    Args:
        columns: a heading for every picture of a strip.
        strips: the rows, each with as many pictures as there are columns.
        across: strips side by side.
        cell: height of a picture on the sheet, pixels; its width follows.
        title: one line above everything.
    """
    from PIL import Image, ImageDraw

    across = max(1, min(across, len(strips)))
    width, heading, caption = _cell_width(strips, cell), 22, 22 if any(s.caption for s in strips) else 4
    strip_width = len(columns) * (width + GAP) - GAP
    top = MARGIN + (34 if title else 0)
    lines = -(-len(strips) // across)
    size = (
        2 * MARGIN + across * (strip_width + MARGIN) - MARGIN,
        top + heading + lines * (cell + caption) + MARGIN // 2,
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN - 2), title, fill=INK, font=_font(18))
    for column in range(across):
        for index, name in enumerate(columns):
            left = MARGIN + column * (strip_width + MARGIN) + index * (width + GAP)
            draw.text((left, top), _fit(draw, name, width, 13), fill=FAINT, font=_font(13))
    for number, strip in enumerate(strips):
        left = MARGIN + (number % across) * (strip_width + MARGIN)
        y = top + heading + (number // across) * (cell + caption)
        for index, picture in enumerate(strip.pictures):
            enlarged = Image.fromarray(picture).resize((width, cell), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (left + index * (width + GAP), y))
        draw.text((left, y + cell + 3), _fit(draw, strip.caption, strip_width, 12), fill=FAINT, font=_font(12))
    return np.asarray(sheet)


def write_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG, whole or not at all."""
    atomic_write_bytes(path, png_bytes(picture))


def png_bytes(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """A picture as PNG."""
    return _encoded(picture, format="PNG", optimize=True)


def jpeg_bytes(picture: UInt8[np.ndarray, "H W 3"], quality: int = 88) -> bytes:
    """A picture as JPEG with full colour resolution, for pages that hold many."""
    return _encoded(picture, format="JPEG", quality=quality, subsampling=0, optimize=True)


def _encoded(picture: np.ndarray, **options: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, **options)
    return file.getvalue()


def _cell_width(strips: Sequence[Strip], cell: int) -> int:
    ratios = [picture.shape[1] / picture.shape[0] for strip in strips for picture in strip.pictures]
    return max(1, round(cell * max(ratios, default=1.0)))


def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fit(draw: "ImageDraw", text: str, width: int, size: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``width`` pixels."""
    font = _font(size)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"
