"""Damages shards again and again: each damage must be found and named, and cost a training exactly what it hit."""

import contextlib
import dataclasses
import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.bench.machine import machine
from tools.console import console, progress_bar

SUBJECTS, FRAMES, CAMERAS, SIZE, SAMPLES_PER_SHARD = 2, 6, 3, 32, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One damage: its kind, the samples it cost, and whether all went as it should."""

    kind: str
    lost: int
    named: bool
    exact: bool


def corruption(
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many times to damage the shards.")] = 200,
    seed: Annotated[int, typer.Option(help="Of kinds and places.")] = 0,
) -> None:
    """Damage shards at random: bit flips, truncations, deletions, swapped files; verify them, and train on."""
    from rich.table import Table

    from datasets.files import atomic_write_json

    with tempfile.TemporaryDirectory() as folder, _quiet(), progress_bar("corruptions") as report:
        outcomes = list(_outcomes(Path(folder), count, seed, report))
    result = _summary(outcomes) | {"seed": seed, "machine": machine()}
    table = Table("damage", "times", "named", "samples lost", "counted exactly")
    for kind, row in result["kinds"].items():
        table.add_row(kind, *(str(row[key]) for key in ("corruptions", "named", "samples_lost", "exact")))
    console.print(table)
    console.print(f"{result['named']} of {result['corruptions']} found and named")
    if json is not None:
        atomic_write_json(json, result)
    if result["named"] < count or not result["skipped_counts_exact"]:
        raise typer.Exit(1)


def _outcomes(folder: Path, count: int, seed: int, report) -> Iterator[Outcome]:
    import numpy as np

    from datasets.shards import build_shards
    from tools.bench.damage import DAMAGES, SoundShards
    from tools.bench.noise_capture import NoiseCapture

    capture = NoiseCapture(subjects=SUBJECTS, frames=FRAMES, cameras=CAMERAS, size=SIZE)
    build_shards(capture, folder / "sound", samples_per_shard=SAMPLES_PER_SHARD)
    sound = SoundShards(folder / "sound")
    for number in range(count):
        random = np.random.default_rng([seed, number])
        damage, copy = DAMAGES[number % len(DAMAGES)], folder / str(number)
        sound.write(copy)
        places = damage.apply(copy, sound, random)
        lost = sound.lost(copy)
        yield Outcome(kind=damage.name, lost=len(lost), named=_is_named(copy, places), exact=_skips(copy, lost))
        report(number + 1, count)


def _is_named(folder: Path, places: Sequence[Any]) -> bool:
    """Every place is named by ``vrmm shards verify``, and no sound shard is."""
    from datasets.shards import verify_shards

    problems = verify_shards(folder)
    found = {(problem.file, f"{problem.key}.{problem.member}" if problem.member else None) for problem in problems}
    shards = {shard for shard, _ in found}
    named = all((p.shard, p.member) in found if p.member else p.shard in shards for p in places)
    return named and shards == {place.shard for place in places}


def _skips(folder: Path, lost: set[str]) -> bool:
    """A loader that reads every view goes through an epoch, hands out the other samples, and counts these as lost."""
    from datasets.loader import FrameLoader, LoaderConfig, OnError, Split

    config = LoaderConfig(
        shards=str(folder),
        batch_frames=1,
        target_views=CAMERAS + 1,
        workers=0,
        cache_mb=0,
        on_error=OnError.skip,
        cameras=Split.all,
    )
    loader = FrameLoader(config)
    handed_out = [key for batch in itertools.islice(loader.batches(), loader.frames) for key in batch.keys]
    others = {key for step in range(loader.frames) for key in loader.keys(step)} - lost
    return set(loader.lost) == lost and loader.replaced == len(lost) and set(handed_out) == others


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    kinds = {}
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        kinds[kind] = {
            "corruptions": len(own),
            "named": sum(outcome.named for outcome in own),
            "samples_lost": sum(outcome.lost for outcome in own),
            "exact": sum(outcome.exact for outcome in own),
        }
    return {
        "corruptions": len(outcomes),
        "named": sum(outcome.named for outcome in outcomes),
        "skipped_counts_exact": all(outcome.exact for outcome in outcomes),
        "kinds": kinds,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The loader warns of every sample that it skips: as it should, but not here."""
    log = logging.getLogger("datasets.loader")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
