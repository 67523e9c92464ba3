"""What the people on the synthetic stage do: smooth sequences of strong expressions with head motion."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from datasets.capture import Pose
from datasets.errors import VrmmError

# Gestures by region of the face, the most visible first; controls by ARKit name. "_L" and "_R" are the subject's
# sides, neither is both.
_MOUTH = (
    {"jawOpen": 1.0},
    {"mouthSmile": 1.0, "cheekSquint": 0.7},
    {"mouthSmile": 0.9, "jawOpen": 0.55, "mouthUpperUp": 0.6, "cheekSquint": 0.8},
    {"mouthPucker": 1.0},
    {"mouthUpperUp": 1.0, "mouthLowerDown": 1.0, "mouthStretch": 0.6},
    {"mouthFrown": 1.0, "mouthShrugLower": 0.8},
    {"mouthFunnel": 1.0, "jawOpen": 0.4},
    {"jawOpen": 1.0, "mouthStretch": 0.7, "mouthLowerDown": 0.6},
    {"noseSneer": 1.0, "mouthUpperUp": 0.8},
    {"mouthSmile_L": 1.0, "mouthDimple_L": 0.7, "mouthLeft": 0.5, "cheekSquint_L": 0.7},
    {"mouthSmile_R": 1.0, "mouthDimple_R": 0.7, "mouthRight": 0.5, "cheekSquint_R": 0.7},
    {"jawLeft": 1.0, "jawOpen": 0.5},
    {"jawRight": 1.0, "jawOpen": 0.5},
    {"mouthLeft": 1.0},
    {"mouthRight": 1.0},
    {"jawForward": 1.0, "mouthShrugLower": 0.6},
    {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    {"mouthPress": 1.0, "mouthDimple": 0.8},
    {"mouthClose": 0.5, "jawOpen": 0.6},
    {"cheekPuff": 1.0},
    {"mouthShrugUpper": 1.0, "mouthShrugLower": 1.0},
    {"tongueOut": 1.0, "jawOpen": 0.6},
    {"mouthFrown_L": 1.0, "mouthUpperUp_R": 0.9, "noseSneer_R": 0.8},
)
_UPPER = (
    {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 1.0},
    {"browDown": 1.0, "eyeSquint": 0.7},
    {"eyeBlink": 1.0},
    {"browDown": 1.0, "noseSneer": 0.8, "cheekSquint": 0.6, "cheekRaiser": 0.8},
    {"eyeBlink": 1.0, "cheekSquint": 1.0, "browDown": 0.8},
    {"eyeBlink_L": 1.0, "cheekSquint_L": 0.8},
    {"eyeBlink_R": 1.0, "cheekSquint_R": 0.8},
    {"browOuterUp_L": 1.0, "browInnerUp_L": 0.6, "browDown_R": 0.9},
    {"browOuterUp_R": 1.0, "browInnerUp_R": 0.6, "browDown_L": 0.9},
    {"browInnerUp": 1.0, "eyeSquint": 0.4},
    {"eyeWide": 1.0},
)
_GAZE = (
    {"eyeLookOut_L": 1.0, "eyeLookIn_R": 1.0},
    {"eyeLookIn_L": 1.0, "eyeLookOut_R": 1.0},
    {"eyeLookUp": 1.0},
    {"eyeLookDown": 1.0},
    {"eyeLookDown": 0.7, "eyeLookOut_L": 0.7, "eyeLookIn_R": 0.7},
    {"eyeLookUp": 0.7, "eyeLookIn_L": 0.7, "eyeLookOut_R": 0.7},
)
_REST_SHARE = 0.2


@dataclasses.dataclass(kw_only=True)
class PerformanceConfig:
    """How a subject moves.

    Attributes:
        frames_per_gesture: frames from one extreme expression to the next; the frames between blend smoothly.
        repertoire: gestures of each region that are performed, of those in ``_MOUTH``, ``_UPPER`` and ``_GAZE`` the
            first; 0 for all. A short sequence shows few gestures well or many hardly at all.
        least_strength: gestures are scaled by a factor between this and 1.
        gaze_share, single_share: part of the gestures with a turned gaze, and with one more random control.
        rotation_degrees: the head turns at most so far from rest, about all axes together.
        translation_metres: the head moves at most so far from the origin.
    """

    frames_per_gesture: int = 2
    repertoire: int = 0
    least_strength: float = 0.75
    gaze_share: float = 0.35
    single_share: float = 0.4
    rotation_degrees: float = 12.0
    translation_metres: float = 0.008

    def __post_init__(self) -> None:
        if self.frames_per_gesture < 1:
            raise VrmmError(f"performance.frames_per_gesture must be at least 1, not {self.frames_per_gesture}")
        if self.repertoire < 0:
            raise VrmmError(f"performance.repertoire must be 0 (all gestures) or more, not {self.repertoire}")


def expressions(names: tuple[str, ...], frames: int, seed: int, config: PerformanceConfig) -> Float[np.ndarray, "F E"]:
    """Control values in [0, 1] for each frame: neutral first, then from one strong expression to the next.

    Args:
        names: the head model's controls; ARKit names in any spelling of the sides (``_L``, ``Left``) are
            grouped into gestures, and every control takes part on its own.
        frames: length of the sequence.
        seed: of the subject; sequences of different subjects do not correspond.
        config: how strong and how fast.
    """
    random = np.random.default_rng([seed, 11])
    keys = -(-max(frames - 1, 0) // config.frames_per_gesture)
    table = np.zeros((keys + 1, len(names)))
    most = config.repertoire or None
    mouth, upper, gaze = (_resolve(gestures, names)[:most] for gestures in (_MOUTH, _UPPER, _GAZE))
    decks = [_deck(random, gestures, keys) for gestures in (mouth, upper, gaze, list(np.eye(len(names))))]
    for key in range(keys):
        shares = (1.0 - _REST_SHARE, 0.55, config.gaze_share, config.single_share)
        for deck, share in zip(decks, shares, strict=True):
            if deck and random.random() < share:
                strength = random.uniform(config.least_strength, 1.0)
                table[key + 1] = np.maximum(table[key + 1], strength * deck[key])
        if decks[0] and not table[key + 1].any():
            table[key + 1] = decks[0][key]
    return blend_keys(table, np.arange(frames) / config.frames_per_gesture)


def head_motion(frames: int, seed: int, config: PerformanceConfig) -> list[Pose]:
    """Smooth head poses within the limits of ``config``."""
    random = np.random.default_rng([seed, 12])
    turn = _wander(random, frames) * np.radians(config.rotation_degrees)
    move = _wander(random, frames) * config.translation_metres
    return [
        Pose(rotation=rotation_matrix(turn[index]), translation=move[index].astype(np.float64))
        for index in range(frames)
    ]


def rotation_matrix(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation about the axis ``vector`` by its length in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def same_controls(values: Sequence[float], names: Sequence[str], wanted: Sequence[str]) -> tuple[float, ...]:
    """An expression of one head model for another, whose controls have other names or another order.

    Controls go by their ARKit names in any spelling of the sides. A control of both sides takes the mean of the two of
    a model that moves each alone, which in turn take the value of one that moves both; what has no counterpart is at
    rest.

    Args:
        values: of the controls ``names``, in [0, 1].
        names: of the model that the expression is of.
        wanted: of the model that is to wear it.
    """
    known: dict[str, list[tuple[str, float]]] = {}
    for name, value in zip(names, values, strict=True):
        base, side = _split(name)
        known.setdefault(base, []).append((side, float(value)))
    found = []
    for name in wanted:
        base, side = _split(name)
        fitting = [value for own, value in known.get(base, []) if side in ("", own) or own == ""]
        found.append(sum(fitting) / len(fitting) if fitting else 0.0)
    return tuple(found)


def _resolve(gestures: tuple[dict[str, float], ...], names: tuple[str, ...]) -> list[Float[np.ndarray, "E"]]:
    """Gestures as control vectors; those of which the model has no control are left out."""
    sided = [_split(name) for name in names]
    vectors = []
    for gesture in gestures:
        vector = np.zeros(len(names))
        for control, weight in gesture.items():
            base, side = _split(control)
            for index, (own_base, own_side) in enumerate(sided):
                if own_base == base and side in ("", own_side):
                    vector[index] = weight
        if vector.any():
            vectors.append(vector)
    return vectors


def _split(name: str) -> tuple[str, str]:
    """``mouthSmile_L``, ``mouthSmileLeft`` → (``mouthsmile``, ``l``); ``jawLeft`` is a direction and stays whole."""
    lower = name.lower().replace("-", "_")
    for suffix, side in (("_l", "l"), ("_r", "r")):
        if lower.endswith(suffix):
            return lower[: -len(suffix)], side
    plain = lower.replace("_", "")
    if plain not in ("jawleft", "jawright", "mouthleft", "mouthright"):
        for suffix, side in (("left", "l"), ("right", "r")):
            if plain.endswith(suffix):
                return plain[: -len(suffix)], side
    return plain, ""


def _deck(random: np.random.Generator, gestures: list[np.ndarray], count: int) -> list[np.ndarray]:
    """``count`` gestures in random order, every one before any comes again."""
    drawn: list[np.ndarray] = []
    while gestures and len(drawn) < count:
        drawn.extend(gestures[index] for index in random.permutation(len(gestures)))
    return drawn[:count]


def blend_keys(table: Float[np.ndarray, "K E"], times: Float[np.ndarray, "F"]) -> Float[np.ndarray, "F E"]:
    """Smoothstep between the keys: no jerk at the extremes."""
    before = np.minimum(times.astype(int), len(table) - 1)
    after = np.minimum(before + 1, len(table) - 1)
    t = (times - before)[:, None]
    t = t * t * (3.0 - 2.0 * t)
    return np.clip(table[before] * (1.0 - t) + table[after] * t, 0.0, 1.0)


def _wander(random: np.random.Generator, frames: int) -> Float[np.ndarray, "F 3"]:
    """A smooth random path of length at most 1 from the origin."""
    waves = 3
    frequency = random.uniform(0.15, 0.7, (waves, 3))  # radians a frame
    phase = random.uniform(0.0, 2.0 * np.pi, (waves, 3))
    weight = random.uniform(0.3, 1.0, (waves, 3))
    time = np.arange(frames)[:, None, None]
    path = (weight * np.sin(frequency * time + phase)).sum(axis=1)
    longest = np.linalg.norm(path, axis=1).max(initial=1e-9)
    return path / longest * random.uniform(0.75, 1.0)
