"""The benchmark from the first picture to the last number; whatever is finished is kept."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.files import atomic_write_bytes, atomic_write_json
from fitting.benchmark.cases import Case
from fitting.benchmark.checks import Check, initializer_summary
from fitting.benchmark.folder import claim
from fitting.benchmark.people import HeadModel, MakeStage, Someone, checked_people, chosen_people, light_stage
from fitting.benchmark.plan import INITIALIZER, Plan
from fitting.benchmark.recipe import BenchmarkConfig, PhotoSet
from fitting.benchmark.sheets import person_sheet, stages_sheet
from fitting.benchmark.summary import fits_csv, pictures_csv, set_summary
from fitting.fit import Prior
from fitting.pool import FitJob, do_fits
from prior.pictures import write_picture
from prior.runfolder import RunLock

Progress = Callable[[str, int, int], object]
"""Called as ``progress(stage, done, total)`` with the stages ``RENDERING`` and ``FITTING``."""
RENDERING, FITTING = "rendering", "fitting"
RESULT, FITS, PICTURES, SHEETS = "benchmark.json", "fits.csv", "pictures.csv", "sheets"


def run_benchmark(
    prior: Path,
    heads: Sequence[HeadModel],
    config: BenchmarkConfig,
    out: Path,
    *,
    processes: int = 2,
    progress: Progress = lambda stage, done, total: None,
    make_stage: MakeStage = light_stage,
) -> dict[str, Any]:
    """Render people, fit them, and measure the avatars.

    Writes to ``out``: ``benchmark.json`` (what is returned), ``fits.csv`` (a line for every avatar), ``pictures.csv``
    (a line for every picture), ``sheets/``, and what it goes on with after an interruption: ``truth/``, ``people/``
    with photos, avatars and results, and ``initializer/``.

    Args:
        prior: run folder with an initializer.
        heads: head models with their people.
        config: how much.
        out: new, or of an earlier call with the same prior, head models and config, apart from how many people, sets
            and single photos there are.
        processes: that render, and fit, with one thread each; 0 does everything in this one.
        progress: hears of pictures and of steps.
        make_stage: how people are rendered; picklable unless ``processes`` is 0.

    Returns:
        By set of photos and stage the numbers of docs/formats.md, and ``initializer``.

    Raises:
        VrmmError: no initializer, what a fit raises, more people than there are, or a folder that holds something else
            or cannot be written.
    """
    people = chosen_people(heads, config.people)
    with RunLock(out):
        claim(out, Prior.load(prior, initializer=True).fingerprint, heads, config)
        return _run(prior, heads, people, config, out, processes, progress, make_stage)


def _run(
    prior: Path,
    heads: Sequence[HeadModel],
    people: Sequence[Someone],
    config: BenchmarkConfig,
    out: Path,
    processes: int,
    progress: Progress,
    make_stage: MakeStage,
) -> dict[str, Any]:
    plan = Plan(prior, config, out, processes, make_stage)
    checks = [plan.check(someone) for someone in checked_people(heads, config.checked)]
    cases = [case for someone in people for case in plan.cases(someone)]
    plan.render(lambda done, total: progress(RENDERING, done, total))
    # The longest first, so that at the end no process waits for another.
    jobs: list[FitJob] = sorted([job for job in [*cases, *checks] if not job.done], key=lambda job: -job.steps)
    do_fits(jobs, processes, lambda done, total: progress(FITTING, done, total))
    tones = {someone.name: plan.tone(someone) for someone in people}
    return _write(out, people, tones, cases, checks)


def _write(
    out: Path,
    people: Sequence[Someone],
    tones: Mapping[str, float],
    cases: Sequence[Case],
    checks: Sequence[Check],
) -> dict[str, Any]:
    """Tables and sheets; benchmark.json last."""
    results = [case.result() for case in cases]
    found: dict[str, Any] = {}
    for photo_set in PhotoSet:
        own = [result for result in results if result["set"] == photo_set.value]
        if own:
            found[photo_set.value] = set_summary(own)
    if checks:
        found[INITIALIZER] = initializer_summary([check.result() for check in checks])
    for someone in people:
        own_cases = [case for case in cases if case.person == someone.name]
        title = f"{someone.name}: a person never trained on, skin tone {tones[someone.name]:.2f}"
        write_picture(out / SHEETS / f"{someone.name}.png", person_sheet(title, own_cases))
        for case in own_cases:
            sheet = stages_sheet(f"{title}, {case.photo_set.value.replace('_', ' ')}", case)
            write_picture(out / SHEETS / f"{someone.name}_{case.photo_set.value}.png", sheet)
    by_name = {someone.name: someone for someone in people}
    atomic_write_bytes(out / PICTURES, pictures_csv(results, by_name, tones).encode())
    atomic_write_bytes(out / FITS, fits_csv(results).encode())
    atomic_write_json(out / RESULT, found)
    return found
