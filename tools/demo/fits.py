"""The demo's personalization: every held-out person from one and from three photos, against truth."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.capture import Frame
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from fitting.avatar import Avatar
from fitting.fit import Prior
from fitting.inputs import CAMERAS, prepare_inputs, subject_frames
from fitting.pool import do_fits
from fitting.stages import STAGES, fit_photo_stages
from fitting.truth import Category, FitComparison, FittedSubject, FitTruthConfig, evaluate_fit, render_fit_truth
from prior.evaluation.run import TrainedRun, load_run
from prior.metrics import mean_of
from prior.pictures import Strip, draw_sheet, error_picture, to_picture, write_picture
from tools.demo.settings import DemoSettings

Progress = Callable[[int, int], object]

NUMBERS = "measured.json"
PROCESSES = 2
"""Fits at a time, with the threads of the recipe each."""

ON_SHEET = {Category.INPUT: 1, Category.NOVEL_VIEW: 3, Category.RELIGHT: 3, Category.EXPRESSION: 3}
"""Pictures of each kind on a sheet, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """How many photos of a person there are.

    Attributes:
        name: of the folder under ``fit/``.
        photos: taken by so many of the prior's input cameras, the frontal one first.
        known_cameras: whether the fit is told where the cameras stand.
    """

    name: str
    photos: int
    known_cameras: bool

    def cameras(self, run: TrainedRun) -> tuple[str, ...]:
        """Names, the frontal one first."""
        inputs = list(run.input_cameras)
        front = inputs.pop(len(inputs) // 2)
        return tuple([front, *inputs][: self.photos])


PHOTO_SETS = (
    PhotoSet(name="one_image", photos=1, known_cameras=False),
    PhotoSet(name="three_images", photos=3, known_cameras=True),
)


def fit_everyone(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Fit and measure every held-out person with every photo set; fits that are there already are kept.

    Leaves ``fit/{photo set}/fit.json`` (means over the people, and each of them), the first person's avatar in
    ``fit/{photo set}/avatar`` and the others' in ``fit/{photo set}/subjects/{name}/avatar``.

    Raises:
        VrmmError: the capture has nobody held out.
    """
    run = load_run(folder / "prior", folder / "shards")
    info = run.shards.info
    people = [name for name in info.subjects if info.subject_splits[name] != "train"]
    if not people:
        raise VrmmError("nobody is held out of the training; set held_out_subjects in the recipe of the capture")
    cases = [
        Case(demo=folder, photo_set=photo_set, person=person, is_first=person == people[0], settings=settings)
        for photo_set in PHOTO_SETS
        for person in people
    ]
    do_fits(cases, PROCESSES, _part(progress, 0.0, 0.5))
    subjects = [case.compared(run, {}) for case in cases]
    render_fit_truth(subjects, run.folder / "truth", _truth_config(settings), _part(progress, 0.5, 0.75))
    do_fits([Measurement(case) for case in cases], PROCESSES, _part(progress, 0.75, 1.0))
    for photo_set in PHOTO_SETS:
        measured = [Measurement(case) for case in cases if case.photo_set is photo_set]
        results = {measurement.subject: measurement.result() for measurement in measured}
        mean = mean_of([{name: result[name] for name in STAGES} for result in results.values()])
        atomic_write_json(folder / "fit" / photo_set.name / "fit.json", {**mean, "subjects": results})


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """Progress of a part of the work, in per mille of all of it."""
    return lambda done, total: progress(round(1000 * (begin + (end - begin) * done / max(total, 1))), 1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One person with one photo set.

    Attributes:
        demo: the folder of the demo.
        is_first: this person's avatar is the one that the demo shows.
    """

    demo: Path
    photo_set: PhotoSet
    person: str
    is_first: bool
    settings: DemoSettings

    @property
    def subject(self) -> str:
        """The person."""
        return self.person

    @property
    def key(self) -> str:
        """Names the case."""
        return f"{self.photo_set.name}/{self.person}"

    @property
    def steps(self) -> int:
        """Of one inversion and two fine-tunings."""
        return self.settings.fitting.inversion.steps + 2 * self.settings.fitting.finetune.steps

    @property
    def folder(self) -> Path:
        """Holds its photos and avatars."""
        place = self.demo / "fit" / self.photo_set.name
        return place if self.is_first else place / "subjects" / self.person

    def fit(self, report: Callable[[int], object]) -> dict[str, Avatar]:
        """The avatars by stage, fitted unless they are there; ``report`` is called with the steps done."""
        run = load_run(self.demo / "prior", self.demo / "shards")
        frame = photographed_frame(subject_frames(run.shards, self.person))
        photos = prepare_inputs(run.shards, frame, self.photo_set.cameras(run), self.folder / "photos")
        return fit_photo_stages(
            photos,
            Prior.load(self.demo / "prior"),
            self.settings.fitting,
            self.folder,
            cameras=self.folder / "photos" / CAMERAS if self.photo_set.known_cameras else None,
            report=report,
        )

    def measure(self, run: TrainedRun) -> dict[str, Any]:
        """Compare the fitted avatars with truth and write ``comparison.png``; returns the numbers."""
        avatars = self.fit(lambda steps: None)
        torch.set_num_threads(self.settings.fitting.threads)
        result, comparisons = evaluate_fit(
            self.compared(run, avatars), run.folder / "truth", _truth_config(self.settings)
        )
        write_picture(self.folder / "comparison.png", comparison_sheet(self.person, comparisons))
        finetuned = avatars["finetuned"].report
        kept = {name: finetuned[name] for name in ("seconds", "sound", "reasons", "diagnostics") if name in finetuned}
        return {**result, **kept, "known_cameras": self.photo_set.known_cameras}

    def compared(self, run: TrainedRun, avatars: dict[str, Avatar]) -> FittedSubject:
        """What is compared with truth."""
        frame = photographed_frame(subject_frames(run.shards, self.person))
        return FittedSubject(run=run, frame=frame, cameras=self.photo_set.cameras(run), stages=avatars)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The comparison of one case with truth, a job of its own; its numbers wait in a file."""

    case: Case

    @property
    def subject(self) -> str:
        """The person."""
        return self.case.person

    @property
    def key(self) -> str:
        """Names the case."""
        return self.case.key

    @property
    def steps(self) -> int:
        """One."""
        return 1

    def fit(self, report: Callable[[int], object]) -> None:
        """Compare; truth and avatars are there already."""
        run = load_run(self.case.demo / "prior", self.case.demo / "shards")
        atomic_write_json(self.case.folder / NUMBERS, self.case.measure(run))
        report(1)

    def result(self) -> dict[str, Any]:
        """What ``Case.measure`` gave."""
        return read_json(self.case.folder / NUMBERS, "the numbers of a fit")


DEMO_TRUTH = FitTruthConfig(lights=1, lamps=1, environments=2, expressions=6)
QUICK_TRUTH = FitTruthConfig(lights=1, lamps=1, environments=1, expressions=2)


def _truth_config(settings: DemoSettings) -> FitTruthConfig:
    return QUICK_TRUTH if settings.quick else DEMO_TRUTH


def photographed_frame(frames: Sequence[Frame]) -> Frame:
    """The moment the photos show: evenly lit, and after the first frame, so that the face is not at rest."""
    lit = [frame for frame in frames[1:] if frame.full_on]
    return lit[0] if lit else frames[-1]


def comparison_sheet(person: str, comparisons: Sequence[FitComparison]) -> np.ndarray:
    """Truth beside the stages of the fit, with their numbers."""
    strips = []
    for category, most in ON_SHEET.items():
        chosen = [comparison for comparison in comparisons if comparison.shot.category is category]
        places = np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int)
        strips += [_strip(chosen[place]) for place in places]
    columns = ["truth", *STAGES.values(), "4x error", "mean image"]
    return draw_sheet(columns, strips, across=2, cell=112, title=f"{person}: a person never trained on")


def _strip(comparison: FitComparison) -> Strip:
    answers = [to_picture(comparison.answers[name]) for name in STAGES]
    numbers = "  ".join(f"{comparison.metrics[name]['psnr']:.1f}" for name in STAGES)
    return Strip(
        pictures=[
            to_picture(comparison.truth),
            *answers,
            error_picture(comparison.answers["finetuned"], comparison.truth, comparison.mask),
            to_picture(comparison.answers["mean_image"]),
        ],
        caption=f"{comparison.shot.category.value.replace('_', ' ')}, {comparison.shot.camera.name}: {numbers} dB",
    )
