"""The benchmark's fits and what must be rendered for them."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets.capture import CaptureInfo
from fitting.benchmark.cases import Case
from fitting.benchmark.checks import Check, single_photo
from fitting.benchmark.people import BenchmarkStage, MakeStage, Someone
from fitting.benchmark.photos import PAIR, Photograph, film, new_views, photographs, write_photographs
from fitting.benchmark.recipe import BenchmarkConfig, PhotoSet
from fitting.truth import FitShot, evaluation_shots, new_lights
from prior.evaluation.truth import TruthRequest, TruthStore

INITIALIZER, PEOPLE, TRUTH = "initializer", "people", "truth"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Photos to take into a folder, and pictures to compare with."""

    store: TruthStore
    folder: Path
    taken: Sequence[Photograph]
    shots: Sequence[FitShot]

    @property
    def requests(self) -> list[TruthRequest]:
        photos = [photo.moment.seen(photo.camera) for photo in self.taken]
        return photos + [shot.truth for shot in self.shots]


class Plan:
    """Makes the jobs, and remembers what those that are not done need. Final.

    Args:
        prior: run folder with an initializer.
        config: of the benchmark.
        out: its folder.
        processes: that render.
        make_stage: how people are rendered.
    """

    def __init__(self, prior: Path, config: BenchmarkConfig, out: Path, processes: int, make_stage: MakeStage) -> None:
        self._prior, self._config, self._out = prior, config, out
        self._processes, self._make_stage = processes, make_stage
        self._opened: dict[str, tuple[BenchmarkStage, TruthStore]] = {}
        self._wanted: list[_Wanted] = []

    def cases(self, someone: Someone) -> list[Case]:
        """All sets of photos of one person, which are judged on the same pictures."""
        config, rig = self._config, someone.head.rig
        stage, store = self._open(someone.head.people)
        photos, views = photographs(stage, someone, config), new_views(rig)
        shots = evaluation_shots(
            photos[0].moment,
            views,
            (views[PAIR[0]], views[PAIR[1]]),
            new_lights(stage, config.truth),
            someone.head.gestures,
        )
        folder, cases = self._out / PEOPLE / someone.name, []
        for photo_set in config.sets:
            is_video = photo_set is PhotoSet.video
            case = Case(
                person=someone.name,
                photo_set=photo_set,
                folder=folder / photo_set.value,
                prior=self._prior,
                recipe=config.fit,
                photos=folder / ("frames" if is_video else "photos"),
                taken=tuple(film(stage, someone, photos[0], config.frames) if is_video else photos[: photo_set.photos]),
                shots=tuple(shots),
                store=store,
                lpips_weights=config.lpips_weights,
            )
            if not case.done:
                self._wanted.append(_Wanted(store=store, folder=case.photos, taken=case.taken, shots=shots))
            cases.append(case)
        return cases

    def check(self, someone: Someone) -> Check:
        """The single photo of one person."""
        stage, store = self._open(someone.head.checked)
        single, folder = single_photo(stage, someone, self._config), self._out / INITIALIZER
        check = Check(
            name=someone.name,
            path=folder / f"{someone.name}.json",
            prior=self._prior,
            recipe=self._config.fit,
            photos=folder / "photos",
            single=single,
            store=store,
            compared=someone.number < self._config.compared,
        )
        if not check.done:
            self._wanted.append(_Wanted(store=store, folder=check.photos, taken=[single.photo], shots=[single.aside]))
        return check

    def tone(self, someone: Someone) -> float:
        """Skin tone, from 0 to 1, lightest to darkest."""
        stage, _ = self._open(someone.head.people)
        return next(subject.tone for subject in stage.subjects if subject.name == someone.subject)

    def render(self, progress: Callable[[int, int], object]) -> None:
        """Take all photos and make all truth that jobs need and that is not there; hears (done, in all).

        Raises:
            VrmmError: a rendering process died, or the disk is full.
        """
        total, before = sum(len(wanted.requests) for wanted in self._wanted), 0
        for _, store in self._opened.values():
            wanted = [each for each in self._wanted if each.store is store]
            requests = [request for each in wanted for request in each.requests]
            unique = {store.path(request): request for request in requests}
            share = len(requests) / max(len(unique), 1)  # several sets have the same photos
            pictures = dict(
                zip(
                    unique,
                    store.get(
                        list(unique.values()),
                        lambda done, _, before=before, share=share: progress(before + round(share * done), total),
                    ),
                    strict=True,
                )
            )
            for each in wanted:
                taken = [pictures[store.path(request)] for request in each.requests[: len(each.taken)]]
                write_photographs(each.folder, each.taken, taken, self._config.noise, self._config.seed)
            before += len(requests)

    def _open(self, info: CaptureInfo) -> tuple[BenchmarkStage, TruthStore]:
        key = hashlib.sha256(json.dumps(info.to_json(), sort_keys=True).encode()).hexdigest()
        if key not in self._opened:
            samples = self._config.truth.samples
            store = TruthStore(self._out / TRUTH, info, self._make_stage, samples=samples, processes=self._processes)
            self._opened[key] = (self._make_stage(info), store)
        return self._opened[key]
