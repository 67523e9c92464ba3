"""What a merged set of shards calls its captures, cameras, people and frames."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.capture import Camera, CaptureInfo, Source
from datasets.errors import VrmmError
from datasets.manifest import Manifest, Shard
from datasets.sample_keys import sample_keys

Names = dict[str, str]
"""Name in a set that is merged → name in the merged set."""


@dataclasses.dataclass(kw_only=True)
class ShardFolder:
    """A set of shards to merge, and the name that stands before what collides."""

    folder: Path
    info: CaptureInfo
    manifest: Manifest
    label: str

    @property
    def cameras(self) -> dict[str, Camera]:
        """Its cameras, each with the encoding that it has."""
        info = self.info
        return {c.name: dataclasses.replace(c, encoding=info.encoding_of(c)) for c in info.cameras}


def plain_name(name: str) -> str:
    """A name that may be part of a sample key."""
    return re.sub(r"[./\\\s]+", "-", name).strip("-") or "capture"


def unique_name(name: str, taken: Sequence[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}{number}"
    return unique


def merge_descriptions(
    sets: Sequence[ShardFolder], name: str, *, same_subjects: bool
) -> tuple[CaptureInfo, dict[Path, Shard]]:
    """The description of the merged set, and its shards by the place of their bytes.

    Args:
        sets: with distinct labels.
        name: of the merged set.
        same_subjects: subjects of one name are one person.

    Raises:
        VrmmError: names that stay ambiguous, or one person both trained on and held out.
    """
    cameras, camera_names = _merge_cameras(sets)
    splits, subject_names = _merge_subjects(sets, same_subjects)
    prefixes = _sequence_prefixes(sets, subject_names)
    sources: list[Source] = []
    shards: dict[Path, Shard] = {}
    for one, camera_name, subject_name, prefix in zip(sets, camera_names, subject_names, prefixes, strict=True):
        own = _sources(one, camera_name, subject_name, prefix, taken=[source.name for source in sources])
        sources += own
        shards |= _shards(one, own, [list(splits).index(subject_name[subject]) for subject in one.info.subjects])
    encoding = sets[0].info.encoding
    info = CaptureInfo(
        name=name,
        cameras=tuple(
            dataclasses.replace(camera, encoding=None if camera.encoding == encoding else camera.encoding)
            for camera in cameras
        ),
        subjects=tuple(splits),
        subject_splits=splits,
        light_positions=_distinct(np.concatenate([one.info.light_positions for one in sets])),
        encoding=encoding,
        licence=_licences(sources),
        sources=tuple(sources),
    )
    _check_keys(info, shards)
    return info, shards


def _sources(one: ShardFolder, cameras: Names, subjects: Names, prefix: str, *, taken: Sequence[str]) -> list[Source]:
    """The captures of a set as captures of the merged set."""
    sources: list[Source] = []
    for part in one.info.parts:
        name = plain_name(part.name) if one.info.sources else one.label
        sources.append(
            Source(
                name=unique_name(name, [*taken, *(source.name for source in sources)]),
                licence=part.licence,
                cameras={own: cameras[camera] for own, camera in part.cameras.items()},
                subjects={own: subjects[subject] for own, subject in part.subjects.items()},
                sequence_prefix=prefix + part.sequence_prefix,
            )
        )
    return sources


def _shards(one: ShardFolder, sources: Sequence[Source], numbers: Sequence[int]) -> dict[Path, Shard]:
    """A set's shards by their place, with their names and subject numbers in the merged set."""
    shards: dict[Path, Shard] = {}
    count: Counter[str] = Counter()
    for shard in one.manifest.shards:
        source = sources[one.info.part_of(shard.name)].name
        name = f"{source}-{count[source]:06d}.tar"
        count[source] += 1
        subject = np.array(numbers, np.int64)[shard.subject]
        shards[one.folder / shard.name] = dataclasses.replace(shard, name=name, subject=subject)
    return shards


def _merge_cameras(sets: Sequence[ShardFolder]) -> tuple[list[Camera], list[Names]]:
    """All cameras of the merged set, and per set the new name of each of its own."""
    rigs: dict[str, tuple[str, dict[str, Camera]]] = {}
    own = []
    for one in sets:
        per_rig = {}
        for names in one.info.rigs:
            rig = {name: camera for name, camera in one.cameras.items() if name in names}
            key = json.dumps([rig[name].to_json() for name in sorted(rig)])
            per_rig[key] = rig
            rigs.setdefault(key, (one.label, rig))
        own.append(per_rig)
    times = Counter(name for _, rig in rigs.values() for name in rig)
    new_names = {
        key: {name: f"{label}-{name}" if any(times[other] > 1 for other in rig) else name for name in rig}
        for key, (label, rig) in rigs.items()
    }
    cameras = [
        dataclasses.replace(camera, name=new_names[key][name])
        for key, (_, rig) in rigs.items()
        for name, camera in rig.items()
    ]
    _check_distinct("cameras", [camera.name for camera in cameras])
    return cameras, [{n: new for key in per_rig for n, new in new_names[key].items()} for per_rig in own]


def _merge_subjects(sets: Sequence[ShardFolder], same: bool) -> tuple[dict[str, str], list[Names]]:
    """Split of every subject of the merged set in their order, and per set the new name of each of its own."""
    times = Counter(subject for one in sets for subject in one.info.subjects)
    new_names: list[Names] = []
    for one in sets:
        prefix = "" if same or all(times[subject] == 1 for subject in one.info.subjects) else f"{one.label}-"
        new_names.append({subject: prefix + subject for subject in one.info.subjects})
    if not same:
        _check_distinct("subjects", [name for names in new_names for name in names.values()])
    splits: dict[str, str] = {}
    for one, names in zip(sets, new_names, strict=True):
        for subject, name in names.items():
            split = one.info.subject_splits[subject]
            if splits.setdefault(name, split) != split:
                raise VrmmError(
                    f"subject {name} is for training in one capture and held out in another ({one.folder}); merge "
                    "without --same-subjects, or build one of them again with the other split"
                )
    return splits, new_names


def _sequence_prefixes(sets: Sequence[ShardFolder], subject_names: Sequence[Names]) -> list[str]:
    """What stands before the sequences of each set: nothing, unless frames of different sets would have one key."""
    keys = []
    for one, names in zip(sets, subject_names, strict=True):
        own = set()
        for shard in one.manifest.shards:
            for number, key in zip(shard.subject.tolist(), sample_keys(one.info, shard), strict=True):
                subject = one.info.subjects[number]
                own.add(names[subject] + key[len(subject) :])
        keys.append(own)
    times = Counter(key for own in keys for key in own)
    return [f"{one.label}-" if any(times[key] > 1 for key in own) else "" for one, own in zip(sets, keys, strict=True)]


def _check_distinct(what: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise VrmmError(f"two {what} would be called {name} in the merged set; rename the captures apart")


def _check_keys(info: CaptureInfo, shards: dict[Path, Shard]) -> None:
    home: dict[str, Path] = {}
    for path, shard in shards.items():
        for key in sample_keys(info, shard):
            if key in home:
                raise VrmmError(f"{home[key]} and {path} both hold a sample that would be {key}; rename a subject")
            home[key] = path


def _licences(sources: Sequence[Source]) -> str:
    lines = dict.fromkeys(source.licence for source in sources)
    return lines.popitem()[0] if len(lines) == 1 else "; ".join(f"{s.name}: {s.licence}" for s in sources)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Rows in the order of their first appearance, each once."""
    return rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])] if len(rows) else rows
