"""Several sets of shards as one training set: other names where they collide, the tars as they are."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from datasets.capture import CaptureInfo
from datasets.errors import VrmmError
from datasets.files import atomic_write, fsync_directory, read_json, sha256_of
from datasets.folder import CAPTURE, read_capture_info, write_capture_info
from datasets.manifest import MANIFEST, Manifest, manifest_bytes, read_manifest, write_manifest
from datasets.merged import ShardFolder, merge_descriptions, plain_name, unique_name
from datasets.shard_build import Progress, folder_journal

_CHUNK = 1 << 20


def merge_shards(
    folders: Sequence[Path | str],
    out: Path | str,
    *,
    name: str | None = None,
    same_subjects: bool = False,
    copy: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write a training set that consists of the shards in ``folders``; they stay as they are.

    The tars are hard-linked, or copied where that is impossible; what is called otherwise in the set is written to
    ``capture.json`` (``Source``). Captures of one name are numbered. Subjects and cameras whose names collide get the
    capture's name before theirs, all of a capture alike; equal rigs (calibration and encoding) are one rig. A call
    after a kill goes on.

    Args:
        folders: sets of shards, merged ones too.
        out: a folder, made if absent.
        name: of the set; by default that of ``out``.
        same_subjects: subjects of one name are one person; where their keys collide, sequences get the capture's name
            before theirs.
        copy: copy the tars, so that damage to one set spares the other.
        progress: called with (bytes done, bytes in all).

    Raises:
        VrmmError: a folder without finished shards or with shards that are not as listed, names that stay ambiguous,
            one person both trained on and held out, a full disk, or ``out`` holding something else.
    """
    out = Path(out)
    name = name or out.resolve().name
    sets = _open_sets([Path(folder) for folder in folders], out)
    info, shards = merge_descriptions(sets, name, same_subjects=same_subjects)
    out.mkdir(parents=True, exist_ok=True)
    with folder_journal(out) as (journal, finished):
        _claim(out, info)
        total, done = sum(shard.bytes for shard in shards.values()), 0
        for place, shard in shards.items():
            if shard.name not in finished or finished[shard.name].sha256 != shard.sha256:
                _bring(place, out / shard.name, shard.sha256, copy)
                journal.write(json.dumps(shard.to_json()).encode() + b"\n")
                journal.flush()
            done += shard.bytes
            if progress is not None:
                progress(done, total)
        fsync_directory(out)
        manifest = Manifest(capture=name, capture_sha256=sha256_of(out / CAPTURE), shards=tuple(shards.values()))
        if not (out / MANIFEST).exists():
            write_manifest(out, manifest)
        elif (out / MANIFEST).read_bytes() != manifest_bytes(manifest):
            raise _other_merge(out)
        return manifest


def _open_sets(folders: Sequence[Path], out: Path) -> list[ShardFolder]:
    if len(folders) < 2:
        raise VrmmError("there is nothing to merge: name at least two folders of shards")
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1 or place == out.resolve():
            raise VrmmError(f"{folder} is named twice; merge different folders into another one")
    sets = []
    for folder in folders:
        info, manifest = read_capture_info(folder), read_manifest(folder)
        label = unique_name(plain_name(info.name), [other.label for other in sets])
        sets.append(ShardFolder(folder=folder, info=info, manifest=manifest, label=label))
        if sha256_of(folder / CAPTURE) != manifest.capture_sha256:
            raise VrmmError(
                f"{folder / CAPTURE} was changed after the shards were built; run vrmm shards verify {folder}"
            )
        for shard in manifest.shards:
            path = folder / shard.name
            if not path.is_file() or path.stat().st_size != shard.bytes:
                raise VrmmError(f"{path} is missing or not as long as listed; run vrmm shards verify {folder}")
    return sets


def _claim(out: Path, info: CaptureInfo) -> None:
    """Sweep what killed writers left; refuse a folder of something else; write ``capture.json``."""
    for leftover in [*out.glob(".*.tar.*.tmp"), *out.glob(f".{MANIFEST}.*.tmp"), *out.glob(f".{CAPTURE}.*.tmp")]:
        leftover.unlink(missing_ok=True)
    place = out / CAPTURE
    if not place.exists() and not any(out.glob("*.tar")):
        write_capture_info(out, info)
    elif not place.exists() or read_json(place, "a capture description") != json.loads(json.dumps(info.to_json())):
        raise _other_merge(out)


def _other_merge(out: Path) -> VrmmError:
    return VrmmError(f"{out} holds other shards or another merge; remove them or choose another folder")


def _bring(source: Path, place: Path, sha256: str, copy: bool) -> None:
    """Link or copy a tar to its place, whole or not at all."""
    if not copy:
        temporary = place.with_name(f".{place.name}.link.tmp")
        try:
            os.link(source, temporary)
            os.replace(temporary, place)
            temporary.unlink(missing_ok=True)  # renaming a link onto another of the same file leaves both
            return
        except OSError:
            pass  # another file system, or one without hard links
    atomic_write(place, lambda file: _copy(source, file, sha256))


def _copy(source: Path, target: IO[bytes], sha256: str) -> None:
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            target.write(data)
    if digest.hexdigest() != sha256:
        raise VrmmError(f"{source} is damaged (its SHA-256 is not as listed); run vrmm shards verify {source.parent}")
