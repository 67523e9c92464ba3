"""What the samples of a shard are called in a set: in a merged one not as in their tar."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.manifest import REPAIR, Shard


def sample_keys(info: CaptureInfo, shard: Shard) -> Sequence[str]:
    """The keys of a shard's samples in the set.

    Raises:
        VrmmError: the manifest names subjects that the shard's capture lacks.
    """
    part = info.part_of(shard.name)
    known = knows_subject(info, np.full(shard.samples, part), shard.subject)
    if not known.all():
        raise strange_subject(shard.name, shard.subject[~known])
    return keys_in_set(info, part, shard.subject, tuple(shard.keys))


def keys_in_set(info: CaptureInfo, part: int, subject: Int[np.ndarray, "S"], keys: Sequence[str]) -> Sequence[str]:
    """Keys in the set of samples that have ``keys`` in the tars of capture ``part``, which has these subjects."""
    if not info.sources:
        return keys
    source = info.parts[part]
    own = {name: own for own, name in source.subjects.items()}
    subjects = [own[info.subjects[number]] for number in subject.tolist()]
    return [source.key(subject, key) for subject, key in zip(subjects, keys, strict=True)]


def knows_subject(
    info: CaptureInfo, part: Int[np.ndarray, "N"], subject: Int[np.ndarray, "N"]
) -> Bool[np.ndarray, "N"]:
    """Whether the capture that a sample is of has the sample's subject.

    Args:
        part: [N] number in ``info.parts`` of the capture.
        subject: [N] number in ``info.subjects``.
    """
    known = np.zeros((len(info.parts), len(info.subjects) + 1), bool)  # the last for numbers that are out of range
    for row, source in zip(known, info.parts, strict=True):
        names = set(source.subjects.values())
        row[:-1] = [name in names for name in info.subjects]
    return known[part, np.minimum(subject, len(info.subjects))]


def strange_subject(shard: str, subject: Int[np.ndarray, "N"]) -> VrmmError:
    """The error for subjects that the shard's capture lacks."""
    return VrmmError(f"{shard} lists subject number {subject.min()}, which its capture lacks; {REPAIR}")
