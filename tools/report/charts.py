"""Line and bar charts as inline SVG that follow the page's colours."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tools.report.html import text

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 34
LARGEST = 1e30
"""Values beyond it (and below its inverse on a logarithmic axis) are not drawn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A curve.

    Attributes:
        name: for the legend.
        x, y: of its points; points whose y is not finite, or not positive on a logarithmic axis, are left out.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, logarithmic: bool = False) -> str:
    """Curves with axes and a legend; nothing where no curve has two points."""
    curves = [(line.name, *_usable(line, logarithmic)) for line in lines]
    curves = [curve for curve in curves if len(curve[1]) > 1]
    if not curves:
        return ""
    low_x, high_x = _range(np.concatenate([x for _, x, _ in curves]))
    low_y, high_y = _range(np.concatenate([y for _, _, y in curves]), margin=0.05)
    x_at, y_at = _scale(low_x, high_x, LEFT, WIDTH - RIGHT), _scale(low_y, high_y, HEIGHT - BOTTOM, TOP)
    parts = [_axes(x_label, y_label)]
    for value in ticks(low_x, high_x):
        parts.append(f'<text x="{x_at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" class="x">{_short(value)}</text>')
    for value, label in _log_ticks(low_y, high_y) if logarithmic else [(v, _short(v)) for v in ticks(low_y, high_y)]:
        y = y_at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="y">{label}</text>')
    for number, (_, x, y) in enumerate(curves):
        points = " ".join(f"{x_at(a):.1f},{y_at(b):.1f}" for a, b in zip(*_thinned(x, y), strict=True))
        parts.append(f'<polyline class="line c{number % 6}" points="{points}"/>')
    legend = "".join(f'<span class="c{n % 6}">{text(name)}</span>' for n, (name, _, _) in enumerate(curves))
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(y_label)} over {text(x_label)}">'
    return f'<div class="chart">{svg}{"".join(parts)}</svg><div class="legend">{legend}</div></div>'


def bar_chart(bars: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: (name, value from 0, label); nothing where there are none."""
    if not bars:
        return ""
    largest = max(value for _, value, _ in bars) or 1.0
    rows = "".join(
        f'<div class="bar"><span>{text(name)}</span><i style="width:{70.0 * value / largest:.2f}%"></i>'
        f"<small>{text(label)}</small></div>"
        for name, value, label in bars
    )
    return f'<div class="bars">{rows}</div>'


def dot_chart(dots: Sequence[tuple[float, float, str]], *, x_label: str, y_label: str) -> str:
    """Named points (x, y, name); nothing where there are fewer than two."""
    if len(dots) < 2:
        return ""
    low_x, high_x = _range(np.array([x for x, _, _ in dots]), margin=0.05)
    low_y, high_y = _range(np.array([y for _, y, _ in dots]), margin=0.15)
    x_at, y_at = _scale(low_x, high_x, LEFT, WIDTH - RIGHT), _scale(low_y, high_y, HEIGHT - BOTTOM, TOP)
    parts = [_axes(x_label, y_label)]
    for value in ticks(low_y, high_y):
        parts.append(f'<path class="grid" d="M{LEFT} {y_at(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_at(value) + 4:.1f}" class="y">{_short(value)}</text>')
    for value in ticks(low_x, high_x):
        parts.append(f'<text x="{x_at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" class="x">{_short(value)}</text>')
    for x, y, name in dots:
        parts.append(
            f'<circle class="dot c0" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="4.5"><title>{text(name)}</title></circle>'
        )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(y_label)} over {text(x_label)}">'
    return f'<div class="chart">{svg}{"".join(parts)}</svg></div>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Decades, not more than about six; with 2 and 5 where there are few."""
    decades = range(math.ceil(low), math.floor(high) + 1)
    if len(decades) >= 3:
        return [(float(e), _short(10.0**e)) for e in decades[:: -(-len(decades) // 6)]]
    values = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [(math.log10(value), _short(value)) for value in values if low <= math.log10(value) <= high]


def _usable(line: Line, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    keep = np.isfinite(x) & (np.abs(y) < LARGEST)
    if logarithmic:
        keep &= y > 1.0 / LARGEST
    return x[keep], np.log10(y[keep]) if logarithmic else y[keep]


def _thinned(x: np.ndarray, y: np.ndarray, most: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours averaged until there are at most so many points."""
    group = -(-len(x) // most)
    whole = len(x) // group * group
    return x[:whole].reshape(-1, group).mean(axis=1), y[:whole].reshape(-1, group).mean(axis=1)


def _range(values: np.ndarray, margin: float = 0.0) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        half = max(0.5, 1e-6 * abs(low))  # where numbers are huge, one half would vanish in rounding
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)


def _scale(low: float, high: float, start: float, end: float):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _axes(x_label: str, y_label: str) -> str:
    return (
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" class="y">{text(x_label)}</text>'
        f'<text x="14" y="{TOP + 2}" class="label" transform="rotate(-90 14 {TOP + 2})">{text(y_label)}</text>'
    )


def _short(value: float) -> str:
    if value and (abs(value) < 0.01 or abs(value) >= 1e5):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.10g}" if abs(value) < 1000 else f"{value / 1000:.10g}k"
