"""Pieces of HTML: text, tables, pictures and videos inside the page itself."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prior.pictures import jpeg_bytes


def text(value: object) -> str:
    """Plain text, escaped."""
    return html.escape(str(value))


def section(name: str, title: str, *parts: str) -> str:
    """A section with an anchor; nothing where there are no parts."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{text(name)}"><h2>{text(title)}</h2>\n{body}\n</section>' if body else ""


def paragraph(words: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{text(words)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table whose first column is text and whose others are numbers; cells are HTML already."""
    if not rows:
        return ""
    titles = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    note = f"<caption>{text(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{note}<thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'


def cards(items: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: (label, value, note)."""
    inside = "".join(
        f'<div class="card"><span>{text(label)}</span><strong>{text(value)}</strong><small>{text(note)}</small></div>'
        for label, value, note in items
    )
    return f'<div class="cards">{inside}</div>' if inside else ""


def figure(content: str, caption: str, wide: bool = False) -> str:
    """Anything with a caption; nothing where there is nothing."""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}>{content}<figcaption>{text(caption)}</figcaption></figure>" if content else ""


def figures(*items: str) -> str:
    """Figures side by side as far as the page is wide."""
    inside = "".join(items)
    return f'<div class="figures">{inside}</div>' if inside else ""


def image(path: Path, description: str, quality: int = 86) -> str:
    """A PNG of the run as a JPEG inside the page; nothing where the file is absent."""
    if not path.is_file():
        return ""
    pixels = read_pixels(path)
    data = base64.b64encode(jpeg_bytes(pixels, quality)).decode()
    height, width = pixels.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{text(description)}" '
        'loading="lazy" decoding="async">'
    )


def video(path: Path, description: str) -> str:
    """An mp4 inside the page that loops without sound; nothing where the file is absent."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<video src="data:video/mp4;base64,{data}" aria-label="{text(description)}" controls loop muted autoplay '
        "playsinline></video>"
    )


def commands(lines: Sequence[str]) -> str:
    """Lines for a shell."""
    return f"<pre><code>{text(chr(10).join(lines))}</code></pre>"


def details(summary: str, content: str) -> str:
    """Folded away until asked for."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>" if content else ""


def read_pixels(path: Path) -> np.ndarray:
    """A picture file as [H, W, 3] 8-bit."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
