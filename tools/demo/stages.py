"""The stages of a demo in order: each reads what the earlier ones left and can be run again after a kill."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from datasets.config import to_yaml
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from tools.console import console, progress_bar
from tools.demo.book import StageBook
from tools.demo.settings import DemoSettings

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the main job.

    Attributes:
        name: key of timing.json.
        title: for people.
        work: does it, or what is left of it.
        own_progress: the work shows its progress itself.
    """

    name: str
    title: str
    work: Callable[[DemoSettings, Path, Progress], None]
    own_progress: bool = False


def run_stages(settings: DemoSettings, book: StageBook) -> int:
    """Do every stage that is not done; returns how many there were to do."""
    missing = [stage for stage in STAGES if not book.is_done(stage.name)]
    for stage in missing:
        number = STAGES.index(stage) + 1
        console.print(f"[bold]{number}/{len(STAGES)} {stage.title}[/bold]")
        with book.at_work(stage.name) as tick:
            if stage.own_progress:
                stage.work(settings, book.folder, lambda done, total: tick())
            else:
                _with_bar(stage, settings, book.folder, tick)
        console.print(f"    {book.seconds(stage.name):.0f} s", style="dim")
    return len(missing)


def _with_bar(stage: Stage, settings: DemoSettings, folder: Path, tick: Callable[[], None]) -> None:
    with progress_bar(f"    {stage.name}") as bar:

        def report(done: int, total: int) -> None:
            tick()
            bar(done, total)

        stage.work(settings, folder, report)


def capture(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Render the people in the light stage."""
    from datasets.lightstage.synth import synthesize

    synthesize(settings.stage, folder / "capture", report=progress)


def shards(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Pack the frames, then read every byte again."""
    from datasets.folder import FolderCapture
    from datasets.shards import build_shards, verify_shards

    build_shards(FolderCapture(folder / "capture"), folder / "shards", progress=progress)
    problems = verify_shards(folder / "shards", progress)
    if problems:
        raise VrmmError(f"{problems[0]}; delete {folder / 'shards'} and run the demo again")


def train(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Train the prior in processes of its own, through ``vrmm train``."""
    from prior.local_ranks import run_ranks

    recipe = dataclasses.replace(
        settings.prior, loader=dataclasses.replace(settings.prior.loader, shards=str((folder / "shards").resolve()))
    )
    path = folder / "prior.yaml"
    atomic_write_bytes(path, to_yaml(recipe).encode())
    status = run_ranks(["train", str(path), "--out", str(folder / "prior")], recipe.trainer.ranks)
    if status:
        raise VrmmError(f"the training stopped with status {status}; see above, mend it, and run the demo again")


def evaluate(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Compare the prior with truth."""
    import torch

    from prior.evaluate import evaluate as compare

    torch.set_num_threads(settings.prior.trainer.threads * settings.prior.trainer.ranks)
    compare(folder / "prior", progress, config=settings.evaluation, shards=folder / "shards")
    atomic_write_bytes(folder / "evaluation.json", (folder / "prior" / "evaluation.json").read_bytes())


def fit(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Fit every held-out person from one and from three photos, and compare with truth."""
    from tools.demo.fits import fit_everyone

    fit_everyone(settings, folder, progress)


def shows(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Videos and the transfer sheet."""
    from tools.demo.shows import write_shows

    write_shows(settings, folder, progress)


def report(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """The page."""
    from tools.report.page import write_report

    write_report(folder, folder / "report.html")
    progress(1, 1)


STAGES = (
    Stage(name="capture", title="Capture: people in the synthetic light stage", work=capture),
    Stage(name="shards", title="Shards: pack the frames and verify them", work=shards),
    Stage(name="train", title="Train: the prior over all people", work=train, own_progress=True),
    Stage(name="evaluate", title="Evaluate: against rendered truth", work=evaluate),
    Stage(name="fit", title="Fit: people never trained on, from one and from three photos", work=fit),
    Stage(name="shows", title="Show: interpolation, relighting, expression transfer", work=shows),
    Stage(name="report", title="Report: everything on one page", work=report),
)
