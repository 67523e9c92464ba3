"""Animation curves made: from frames that the encoders read, from keys, at another rate, about the head at rest."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Pose
from datasets.errors import VrmmError
from prior.animation import KEYS, AnimationCurve
from prior.vrmm import VRMM

Progress = Callable[[int, int], object]
HOLD_SECONDS, CHANGE_SECONDS = 0.5, 0.7
"""How long a curve through keys rests at each of them, and how long it takes to the next."""


def encode_motion(
    model: VRMM,
    frames: Iterable[tuple[Float[Tensor, "V 3 H W"], Float[Tensor, "V 1 H W"]]],
    total: int,
    fps: float,
    progress: Progress | None = None,
) -> AnimationCurve:
    """Expression and head motion of frames as the model's encoders see them (eq. 6, 7), about the mean pose.

    Args:
        model: of any person: fine-tuning leaves the encoders as they are.
        frames: of the encoders' views, linear radiance premultiplied by the masks, and the masks.
        total: how many frames there are.
        fps: frames a second.
        progress: called as ``progress(done, total)``.
    """
    codes, rotations, translations = [], [], []
    for images, masks in frames:
        with torch.no_grad():
            seen = model.encode(images[None], masks[None])
        codes.append(seen.mean[0].double().numpy())
        rotations.append(seen.rotation[0].double().numpy())
        translations.append(seen.translation[0].double().numpy())
        if progress is not None:
            progress(len(codes), total)
    if not codes:
        raise VrmmError("there are no frames to read an animation from")
    return about_rest(np.stack(codes), np.stack(rotations), np.stack(translations), fps)


def about_rest(
    expression: Float[np.ndarray, "T E"],
    rotation: Float[np.ndarray, "T 3 3"],
    translation: Float[np.ndarray, "T 3"],
    fps: float,
) -> AnimationCurve:
    """Motion relative to its mean pose: where a head stood, and how the template sits in it, stay with the driver."""
    rotation = np.stack([_orthonormal(matrix) for matrix in rotation])  # float32 rotations are so to 1e-7 only
    mean = _orthonormal(rotation.mean(axis=0))
    return _curve(expression, rotation @ mean.T, translation - translation.mean(axis=0), fps)


def through_keys(expressions: Float[np.ndarray, "M E"], poses: Sequence[Pose], fps: float) -> AnimationCurve:
    """From rest (the code 0) through each key and back: a rest at each of them, a smooth change between.

    Args:
        expressions: a code for each key, or one for all.
        poses: of the keys, or one for all; their mean is at rest.
        fps: of the curve.
    """
    count = max(len(expressions), len(poses))
    codes = np.repeat(expressions, count // len(expressions), axis=0)
    rotation = np.stack([poses[min(key, len(poses) - 1)].rotation for key in range(count)])
    translation = np.stack([poses[min(key, len(poses) - 1)].translation for key in range(count)])
    keys = about_rest(codes, rotation, translation, fps)
    rest = AnimationCurve(
        expression=torch.zeros_like(keys.expression[:1]),
        rotation=torch.eye(3)[None],
        translation=torch.zeros(1, 3),
        fps=fps,
    )
    parts = [torch.cat([getattr(part, name) for part in (rest, keys, rest)]) for name in KEYS[:3]]
    stops = AnimationCurve(expression=parts[0], rotation=parts[1], translation=parts[2], fps=fps)
    period = HOLD_SECONDS + CHANGE_SECONDS
    place = np.arange(max(2, round(((count + 1) * period + HOLD_SECONDS) * fps))) / fps / period
    share = np.clip((place % 1.0 * period - HOLD_SECONDS) / CHANGE_SECONDS, 0.0, 1.0)
    return at_places(stops, np.minimum(np.floor(place) + share * share * (3.0 - 2.0 * share), count + 1))


def resampled(curve: AnimationCurve, fps: float, seconds: float | None = None) -> AnimationCurve:
    """The curve at another rate, cut after ``seconds``: linear in code and place, along the arc in rotation.

    Raises:
        VrmmError: a rate or a length that is not positive.
    """
    if not fps > 0 or (seconds is not None and not seconds > 0):
        raise VrmmError(f"frames a second and seconds must be positive, not {fps:g} and {seconds}")
    length = curve.seconds if seconds is None else min(seconds, curve.seconds)
    count = max(1, round(length * fps))
    place = np.minimum(np.arange(count) * (curve.fps / fps), len(curve) - 1)
    return dataclasses.replace(at_places(curve, place), fps=fps)


def at_places(curve: AnimationCurve, place: Float[np.ndarray, "S"]) -> AnimationCurve:
    """The curve between its moments: ``place`` counts them, from 0 to T - 1; linear, along the arc in rotation."""
    from scipy.spatial.transform import Rotation

    codes, matrices, places = (getattr(curve, name).double().numpy() for name in KEYS[:3])
    first = np.minimum(np.floor(place).astype(int), len(curve) - 1)
    second = np.minimum(first + 1, len(curve) - 1)
    share = (place - first)[:, None]
    start = Rotation.from_matrix(matrices[first])
    turn = (Rotation.from_matrix(matrices[second]) * start.inv()).as_rotvec()
    return _curve(
        (1.0 - share) * codes[first] + share * codes[second],
        (Rotation.from_rotvec(share * turn) * start).as_matrix(),
        (1.0 - share) * places[first] + share * places[second],
        curve.fps,
    )


def _curve(expression: np.ndarray, rotation: np.ndarray, translation: np.ndarray, fps: float) -> AnimationCurve:
    tensors = (torch.tensor(value, dtype=torch.float32) for value in (expression, rotation, translation))
    codes, matrices, places = tensors
    return AnimationCurve(expression=codes, rotation=matrices, translation=places, fps=fps)


def _orthonormal(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The nearest rotation."""
    left, _, right = np.linalg.svd(np.asarray(matrix, np.float64))
    return left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
