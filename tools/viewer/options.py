"""A state as options of ``vrmm view``, and back."""

import math
import re
import shlex
from collections.abc import Sequence

from datasets.errors import VrmmError
from tools.viewer.state import DECIMALS, Amounts, Colour, Vector, ViewState

SMALLEST, LARGEST = 16, 4096
"""Sides of a picture, pixels."""


def arguments(state: ViewState) -> list[str]:
    """Options that differ from their defaults; ``state`` must be snapped."""
    plain = ViewState()
    orbit, light, compare = state.orbit, state.lighting, state.comparison
    lamp, usual_lamp = ((each.azimuth, each.elevation) for each in (light, plain.lighting))
    pairs = [
        ("eye", _vector(orbit.eye), _vector(plain.orbit.eye)),
        ("target", _vector(orbit.target), _vector(plain.orbit.target)),
        ("up", _vector(orbit.up), _vector(plain.orbit.up)),
        ("fov", _number(orbit.fov), _number(plain.orbit.fov)),
        *[("identity", _amount(item), "") for item in state.identity],
        *[("expression", _amount(item), "") for item in state.expression],
        *[("control", _amount(item), "") for item in state.controls],
        ("start", state.start.value, plain.start.value),
        ("frame", "" if state.frame is None else str(state.frame), ""),
        ("light", light.kind.value, plain.lighting.kind.value),
        ("lamp", _vector(lamp), _vector(usual_lamp)),
        ("fill", _number(light.fill), _number(plain.lighting.fill)),
        ("environment", light.environment, plain.lighting.environment),
        ("turn", _number(light.turn), _number(plain.lighting.turn)),
        ("intensity", _number(light.intensity), _number(plain.lighting.intensity)),
        ("colour", _colour(light.colour), _colour(plain.lighting.colour)),
        ("show", state.show.value, plain.show.value),
        ("background", _colour(state.background), _colour(plain.background)),
        ("compare", compare.mode.value, plain.comparison.mode.value),
        ("truth", compare.frame, plain.comparison.frame),
        ("camera", compare.camera, plain.comparison.camera),
        ("wipe", _number(compare.wipe), _number(plain.comparison.wipe)),
    ]
    return [f"--{name}={text}" for name, text, default in pairs if text != default]


def command_line(words: Sequence[str]) -> str:
    """Words as one line that a shell splits into the same words."""
    return shlex.join(words)


def parse_vector(name: str, text: str) -> Vector:
    """``x,y,z``. Raises VrmmError naming the option."""
    x, y, z = _numbers(name, text, 3)
    return x, y, z


def parse_pair(name: str, text: str) -> tuple[float, float]:
    """``a,b``. Raises VrmmError naming the option."""
    first, second = _numbers(name, text, 2)
    return first, second


def parse_amounts(name: str, texts: Sequence[str]) -> Amounts:
    """``what=number`` each. Raises VrmmError naming the option."""
    amounts = []
    for text in texts:
        what, equals, value = text.rpartition("=")
        if not equals or not what:
            raise VrmmError(f"--{name} {text} is not of the form NAME=NUMBER")
        amounts.append((what, _numbers(name, value, 1)[0]))
    return tuple(amounts)


def parse_colour(name: str, text: str) -> Colour:
    """``#rrggbb``. Raises VrmmError naming the option."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise VrmmError(f"--{name} {text} is no colour of the form #rrggbb")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def parse_size(text: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT`` in pixels. Raises VrmmError where it is no size, or out of bounds."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(SMALLEST <= side <= LARGEST for side in size):
        raise VrmmError(f"--size {text} is not WIDTHxHEIGHT with sides from {SMALLEST} to {LARGEST} pixels")
    return size


def _numbers(name: str, text: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        wanted = "a number" if count == 1 else f"{count} numbers with commas between them"
        raise VrmmError(f"--{name} {text}: expected {wanted}")
    return values


def _number(value: float) -> str:
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _vector(value: Sequence[float]) -> str:
    return ",".join(_number(part) for part in value)


def _amount(item: tuple[str, float]) -> str:
    return f"{item[0]}={_number(item[1])}"


def _colour(value: Colour) -> str:
    return "#" + bytes(value).hex()
