"""Who does what under which light, sample by sample: the labels that balanced sampling goes by.

Labels come from every sample's ``meta.json``. Reading a million of them takes a minute on a local disk and hours from
far away, so they are kept in ``labels.json`` beside the shards, together with the checksum of what they were read
from: shards that were built again are labelled again.
"""

import contextlib
import dataclasses
import enum
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from datasets.frames import META
from datasets.shards import DamageError, ShardSet

LABELS = "labels.json"
LABELS_VERSION = 1

_SAVED = ("expression", "light_pattern")
_AT_REST = 0.1  # a control value below this is no expression of its own
_UNREADABLE = ""

Progress = Callable[[int, int], object]


class Balance(enum.Enum):
    """What is to occur equally often.

    ``expression`` is the sequence that a frame is from and, where control values are known, the strongest control.
    Light patterns of one name under different rigs are different ones.
    """

    subject = "subject"
    expression = "expression"
    light_pattern = "light_pattern"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """Per kind of label its distinct values and, for each of N samples, the number among them."""

    values: dict[Balance, tuple[str, ...]]
    numbers: dict[Balance, Int[np.ndarray, "N"]]


def load_labels(shards: ShardSet, *, skip_damaged: bool = False) -> Labels:
    """The labels of all samples: from ``labels.json`` if it is of these shards, else read from local samples.

    Args:
        shards: of which.
        skip_damaged: samples that cannot be read get a label of their own instead of ending it.

    Raises:
        VrmmError: shards that are far away and have no ``labels.json``.
        DamageError: a sample cannot be read.
    """
    saved = _saved(shards)
    if saved is None and shards.remote:
        raise VrmmError(
            f"{shards.folder} has no {LABELS} for these shards, and reading every sample from far away takes too long; "
            f"run vrmm shards label where they were built and copy {LABELS} there"
        )
    return saved or read_labels(shards, skip_damaged=skip_damaged)


def label_shards(shards: ShardSet, progress: Progress | None = None) -> Labels:
    """Read the labels of all samples and write ``labels.json`` beside the shards.

    Raises:
        VrmmError: the folder is no local one or cannot be written.
        DamageError: a sample cannot be read.
    """
    if shards.remote:
        raise VrmmError(f"{shards.folder} is not a local folder; label the shards where they were built")
    labels = read_labels(shards, progress=progress)
    value: dict[str, Any] = {"schema_version": LABELS_VERSION, "of": _fingerprint(shards)}
    for name in _SAVED:
        kind = Balance[name]
        value[name] = {
            "values": list(labels.values[kind]),
            "numbers": labels.numbers[kind].astype(">u4").tobytes().hex(),
        }
    atomic_write_bytes(Path(shards.folder) / LABELS, (json.dumps(value) + "\n").encode())
    return labels


def read_labels(shards: ShardSet, *, skip_damaged: bool = False, progress: Progress | None = None) -> Labels:
    """The labels out of the samples themselves. Raises DamageError for one that cannot be read."""
    values: dict[str, dict[str, int]] = {name: {} for name in _SAVED}
    numbers = {name: np.zeros(len(shards), np.int64) for name in _SAVED}
    for sample in range(len(shards)):
        for name, label in _labels_of(shards, sample, skip_damaged).items():
            numbers[name][sample] = values[name].setdefault(label, len(values[name]))
        if progress is not None and (sample % 1000 == 999 or sample + 1 == len(shards)):
            progress(sample + 1, len(shards))
    return _with_subjects(
        shards,
        {Balance[name]: tuple(values[name]) for name in _SAVED},
        {Balance[name]: numbers[name] for name in _SAVED},
    )


def _labels_of(shards: ShardSet, sample: int, skip_damaged: bool) -> dict[str, str]:
    try:
        meta = json.loads(shards.read(sample, META))
        return {"expression": _expression(meta), "light_pattern": _light_pattern(shards, sample, meta)}
    except DamageError:
        if not skip_damaged:
            raise
        return dict.fromkeys(_SAVED, _UNREADABLE)
    except (ValueError, KeyError, TypeError) as error:
        raise shards.damage(sample, META, f"is no description of a frame ({error!r})") from error


def _expression(meta: dict[str, Any]) -> str:
    controls = np.abs(np.array(meta["expression"] or [0.0], np.float64))
    strongest = int(np.argmax(controls))
    return str(meta["sequence"]) if controls[strongest] < _AT_REST else f"{meta['sequence']} {strongest}"


def _light_pattern(shards: ShardSet, sample: int, meta: dict[str, Any]) -> str:
    info = shards.info
    rig = info.rigs.index(frozenset(info.parts[shards.source[sample]].cameras.values()))
    return f"{meta['light_pattern']} of rig {rig}" if len(info.rigs) > 1 else str(meta["light_pattern"])


def _with_subjects(
    shards: ShardSet, values: dict[Balance, tuple[str, ...]], numbers: dict[Balance, Int[np.ndarray, "N"]]
) -> Labels:
    return Labels(
        values={Balance.subject: shards.info.subjects, **values}, numbers={Balance.subject: shards.subject, **numbers}
    )


def _saved(shards: ShardSet) -> Labels | None:
    """What ``labels.json`` says, or None where it is absent, unreadable or of other shards."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        value = json.loads(shards.read_beside(LABELS))
        if (value["schema_version"], value["of"]) != (LABELS_VERSION, _fingerprint(shards)):
            return None
        values = {Balance[name]: tuple(value[name]["values"]) for name in _SAVED}
        numbers = {
            Balance[name]: np.frombuffer(bytes.fromhex(value[name]["numbers"]), ">u4").astype(np.int64)
            for name in _SAVED
        }
        sound = all(len(n) == len(shards) and n.max(initial=0) < len(values[kind]) for kind, n in numbers.items())
        return _with_subjects(shards, values, numbers) if sound else None
    return None


def _fingerprint(shards: ShardSet) -> str:
    """Of every sample's description."""
    return hashlib.sha256(shards.checksums(META).astype(">u4").tobytes()).hexdigest()
