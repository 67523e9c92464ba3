"""Expression controls of the procedural head, named after ARKit's.

Most are displacement fields in millimetres of the skin at rest (``FIELDS``); the jaw rotates about the temporal
joints, gaze rotates the eyeballs, and lids turn about the centres of the eyeballs (``lid_angles``).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from datasets.lightstage.procedural_identity import bump, push, step
from datasets.lightstage.procedural_surface import MOUTH_HALF_WIDTH, MOUTH_HEIGHT

# The condyles slide forwards while the jaw turns, so the effective axis lies below the joints.
JAW_PIVOT = np.array([0.0, -32.0, -8.0])
JAW_OPEN_ANGLE = 0.27
"""Radians of jaw rotation at ``jawOpen`` = 1; 100 mm in front of the axis the lips part by about 28 mm."""
_JAW_OPEN_SHIFT = np.array([0.0, -1.5, 4.0])
_JAW_SHIFT = {"jawLeft": (9.0, 0.0, 0.0), "jawRight": (-9.0, 0.0, 0.0), "jawForward": (0.0, 0.5, 6.5)}
_REST_UPPER, _REST_LOWER, _SHUT = 0.37, -0.33, -0.16
GAZE_YAW, GAZE_UP, GAZE_DOWN = np.radians(32.0), np.radians(24.0), np.radians(30.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skin:
    """What fields see of the skin: [V, 3] points at rest (mm) and [V] which lip a vertex belongs to (±1)."""

    points: Float[np.ndarray, "V 3"]
    below_mouth: Float[np.ndarray, "V"]


_Field = Callable[[Skin, float], np.ndarray]


def mouth_lens(points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V"]:
    """1 in the middle of the mouth, 0 at its corners and beyond: how freely the lips part."""
    return np.sqrt(np.clip(1.0 - (points[:, 0] / MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0))


def jaw_weight(skin: Skin) -> Float[np.ndarray, "V"]:
    """How much of the jaw's motion each skin vertex follows."""
    _, y, z = skin.points.T
    field = step(y, MOUTH_HEIGHT + 36.0, MOUTH_HEIGHT - 36.0)
    lens = mouth_lens(skin.points)
    lens = np.where(z > 50.0, lens, 0.0) * step(np.abs(y - MOUTH_HEIGHT), 60.0, 35.0)
    weight = np.where(skin.below_mouth > 0, 1.0 - (1.0 - field) * (1.0 - lens), field * (1.0 - lens))
    throat = step(y, -128.0, -104.0)
    return weight * step(z, -8.0, 38.0) * (throat + (1.0 - throat) * step(z, 35.0, 65.0))


def _half(skin: Skin, side: float) -> np.ndarray:
    return step(side * skin.points[:, 0], -7.0, 7.0)


def _at(skin: Skin, side: float, center: tuple[float, float, float], width: tuple[float, float, float]) -> np.ndarray:
    return bump(skin.points * np.array([side, 1.0, 1.0]), center, width)


def _lip(skin: Skin, below: float) -> np.ndarray:
    """1 on one lip near the line of the mouth, fading over 14 mm and towards the corners."""
    near = np.exp(-0.5 * ((skin.points[:, 1] - MOUTH_HEIGHT) / 9.0) ** 2) * step(skin.points[:, 2], 55.0, 75.0)
    return near * mouth_lens(skin.points) * (skin.below_mouth * below > 0)


def _smile(skin: Skin, side: float) -> np.ndarray:
    corner = _at(skin, side, (26.0, -61.0, 82.0), (15.0, 13.0, 24.0))
    cheek = _at(skin, side, (42.0, -30.0, 66.0), (15.0, 13.0, 24.0))
    center = _at(skin, side, (8.0, -63.0, 95.0), (10.0, 9.0, 20.0))
    return (
        push(corner, x=8.5 * side, y=8.0, z=-6.0)
        + push(cheek, x=1.5 * side, y=4.5, z=3.5)
        + push(center, x=1.5 * side, z=-1.2)
    )


def _frown(skin: Skin, side: float) -> np.ndarray:
    corner = _at(skin, side, (25.0, -65.0, 82.0), (11.0, 12.0, 22.0))
    return push(corner, x=1.0 * side, y=-8.5, z=-1.5) + push(
        _at(skin, side, (10.0, -88.0, 84.0), (14.0, 8.0, 20.0)), y=2.0, z=1.0
    )


def _stretch(skin: Skin, side: float) -> np.ndarray:
    return push(_at(skin, side, (25.0, -65.0, 82.0), (14.0, 13.0, 22.0)), x=9.0 * side, y=-3.0, z=-5.5)


def _dimple(skin: Skin, side: float) -> np.ndarray:
    return push(_at(skin, side, (27.0, -63.0, 80.0), (8.0, 8.0, 16.0)), x=4.0 * side, y=1.0, z=-5.0)


def _mouth_area(skin: Skin) -> np.ndarray:
    return bump(skin.points, (0.0, MOUTH_HEIGHT, 90.0), (22.0, 13.0, 26.0)) * step(skin.points[:, 2], 40.0, 70.0)


def _pucker(skin: Skin, _: float) -> np.ndarray:
    area = _mouth_area(skin)
    squeeze = bump(skin.points, (0.0, MOUTH_HEIGHT, 86.0), (32.0, 14.0, 30.0))
    return push(area, z=9.0) + push(squeeze * skin.points[:, 0], x=-0.52)


def _funnel(skin: Skin, _: float) -> np.ndarray:
    area = _mouth_area(skin)
    squeeze = bump(skin.points, (0.0, MOUTH_HEIGHT, 86.0), (32.0, 14.0, 30.0))
    opening = push(_lip(skin, -1.0), y=5.5, z=1.5) + push(_lip(skin, 1.0), y=-6.5, z=1.0)
    return push(area, z=6.5) + push(squeeze * skin.points[:, 0], x=-0.38) + opening


def _upper_up(skin: Skin, side: float) -> np.ndarray:
    lip = _lip(skin, -1.0) * _half(skin, side)
    nose = _at(skin, side, (15.0, -42.0, 90.0), (10.0, 10.0, 16.0)) * (skin.below_mouth < 0)
    return push(lip, y=6.5, z=1.0) + push(nose, y=2.5, z=0.5)


def _lower_down(skin: Skin, side: float) -> np.ndarray:
    return push(_lip(skin, 1.0) * _half(skin, side), y=-8.0, z=0.0)


def _sideways(skin: Skin, side: float) -> np.ndarray:
    return push(bump(skin.points, (0.0, MOUTH_HEIGHT, 88.0), (26.0, 15.0, 30.0)), x=9.0 * side)


def _roll(skin: Skin, below: float) -> np.ndarray:
    lip = _lip(skin, below)
    edge = np.exp(-0.5 * ((skin.points[:, 1] - MOUTH_HEIGHT) / 6.0) ** 2)
    return push(lip * edge, z=-5.0)


def _shrug(skin: Skin, _: float) -> np.ndarray:
    area = bump(skin.points, (0.0, -72.0, 90.0), (22.0, 13.0, 26.0))
    return push(area, y=4.0, z=3.0) + push(bump(skin.points, (0.0, -93.0, 86.0), (16.0, 10.0, 20.0)), y=3.5, z=-1.0)


def _brow_down(skin: Skin, side: float) -> np.ndarray:
    return push(_at(skin, side, (22.0, 25.0, 80.0), (16.0, 8.0, 24.0)), x=-2.2 * side, y=-6.5, z=1.2)


def _brow_outer(skin: Skin, side: float) -> np.ndarray:
    return push(_at(skin, side, (41.0, 30.0, 66.0), (12.0, 12.0, 24.0)), y=8.0)


def _brow_inner(skin: Skin, _: float) -> np.ndarray:
    weight = sum(_at(skin, side, (12.0, 29.0, 84.0), (10.0, 11.0, 20.0)) for side in (-1.0, 1.0))
    return push(np.asarray(weight), y=7.5)


def _puff(skin: Skin, side: float) -> np.ndarray:
    cheek = _at(skin, side, (42.0, -52.0, 62.0), (15.0, 16.0, 22.0))
    return push(cheek, x=9.0 * side, z=6.0) + push(_lip(skin, -1.0) + _lip(skin, 1.0), z=1.0)


def _squint_cheek(skin: Skin, side: float) -> np.ndarray:
    return push(_at(skin, side, (36.0, -20.0, 70.0), (14.0, 9.0, 22.0)), y=4.0, z=2.0)


def _sneer(skin: Skin, side: float) -> np.ndarray:
    wing = _at(skin, side, (13.0, -36.0, 94.0), (8.0, 10.0, 15.0)) * (skin.below_mouth < 0)
    crease = _at(skin, side, (12.0, 4.0, 82.0), (8.0, 10.0, 14.0))
    return push(wing, x=1.0 * side, y=5.0, z=0.8) + push(crease, y=1.5, z=1.5) + 0.35 * _upper_up(skin, side)


_BOTH_SIDES: dict[str, _Field] = {
    "mouthSmile": _smile,
    "mouthFrown": _frown,
    "mouthStretch": _stretch,
    "mouthDimple": _dimple,
    "mouthUpperUp": _upper_up,
    "mouthLowerDown": _lower_down,
    "browDown": _brow_down,
    "browOuterUp": _brow_outer,
    "cheekPuff": _puff,
    "cheekSquint": _squint_cheek,
    "noseSneer": _sneer,
}
_SIDES = {"L": 1.0, "R": -1.0}
FIELDS: dict[str, tuple[_Field, float]] = {
    **{f"{name}_{letter}": (field, side) for name, field in _BOTH_SIDES.items() for letter, side in _SIDES.items()},
    "browInnerUp": (_brow_inner, 0.0),
    "mouthPucker": (_pucker, 0.0),
    "mouthFunnel": (_funnel, 0.0),
    "mouthLeft": (_sideways, 1.0),
    "mouthRight": (_sideways, -1.0),
    "mouthRollLower": (_roll, 1.0),
    "mouthRollUpper": (_roll, -1.0),
    "mouthShrugLower": (_shrug, 0.0),
}
_EYE_NAMES = ("eyeBlink", "eyeWide", "eyeSquint", "eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut")
NAMES: tuple[str, ...] = (
    "jawOpen",
    *_JAW_SHIFT,
    *(f"{name}_{letter}" for name in _EYE_NAMES for letter in "LR"),
    *FIELDS,
)
_INDEX = {name: index for index, name in enumerate(NAMES)}


def displacement(skin: Skin) -> Float[np.ndarray, "E V 3"]:
    """The fields of ``FIELDS`` in order, millimetres at control value 1."""
    return np.stack([field(skin, side) for field, side in FIELDS.values()])


def field_controls(expression: Float[np.ndarray, "E"]) -> Float[np.ndarray, "D"]:
    """The controls that ``displacement`` needs, in its order."""
    return np.asarray(expression)[[_INDEX[name] for name in FIELDS]]


def move_jaw(
    points: Float[np.ndarray, "N 3"], weight: Float[np.ndarray, "N"], expression: Float[np.ndarray, "E"]
) -> Float[np.ndarray, "N 3"]:
    """Turn points about the jaw joints by their share of the jaw's rotation, then shift them."""
    angle = JAW_OPEN_ANGLE * expression[_INDEX["jawOpen"]] * weight
    offset = points - JAW_PIVOT
    turned = offset.copy()
    turned[:, 1] = np.cos(angle) * offset[:, 1] - np.sin(angle) * offset[:, 2]
    turned[:, 2] = np.sin(angle) * offset[:, 1] + np.cos(angle) * offset[:, 2]
    shift = expression[_INDEX["jawOpen"]] * _JAW_OPEN_SHIFT
    shift = shift + sum(expression[_INDEX[name]] * np.array(vector) for name, vector in _JAW_SHIFT.items())
    return JAW_PIVOT + turned + weight[:, None] * shift


def gaze(expression: Float[np.ndarray, "E"], side: float) -> Float[np.ndarray, "3 3"]:
    """Rotation of an eyeball; ``side`` is +1 for the subject's left eye."""
    letter = "L" if side > 0 else "R"
    control = {name: expression[_INDEX[f"{name}_{letter}"]] for name in _EYE_NAMES}
    yaw = side * GAZE_YAW * (control["eyeLookOut"] - control["eyeLookIn"])
    pitch = GAZE_DOWN * control["eyeLookDown"] - GAZE_UP * control["eyeLookUp"]
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return around_y @ around_x


def lid_angles(expression: Float[np.ndarray, "E"], side: float, openness: float) -> tuple[float, float]:
    """Elevations (radians, seen from the eyeball's centre) of the middle of the upper and of the lower lid's edge.

    Args:
        expression: all controls.
        side: +1 for the subject's left eye.
        openness: 1 for the average person's eyes at rest.
    """
    letter = "L" if side > 0 else "R"
    control = {name: float(expression[_INDEX[f"{name}_{letter}"]]) for name in _EYE_NAMES}
    upper = _REST_UPPER * openness + 0.17 * control["eyeWide"]
    upper += 0.14 * control["eyeLookUp"] - 0.20 * control["eyeLookDown"] - 0.07 * control["eyeSquint"]
    lower = _REST_LOWER * openness - 0.05 * control["eyeWide"]
    lower += 0.06 * control["eyeLookUp"] - 0.10 * control["eyeLookDown"] + 0.16 * control["eyeSquint"]
    blink = control["eyeBlink"]
    upper, lower = upper + blink * (_SHUT - upper), lower + blink * (_SHUT - lower)
    return max(upper, lower), lower
