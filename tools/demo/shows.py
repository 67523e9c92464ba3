"""What the demo shows: identities that turn into one another, a lamp that goes around heads, transfer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.capture import Frame
from fitting.avatar import Avatar
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun, load_run
from prior.pictures import Strip, draw_sheet, to_picture, write_picture
from prior.preview import spread
from tools.demo.settings import DemoSettings
from tools.shows.cameras import CameraPath
from tools.shows.lights import key_light
from tools.shows.moves import CameraMove
from tools.shows.options import ShowOptions
from tools.shows.people import Cast, Person, avatar_person
from tools.shows.program import Program
from tools.shows.stage import Head, Stage

Progress = Callable[[int, int], object]
INTERPOLATION, RELIGHTING, TRANSFER = "interpolation.mp4", "relighting.mp4", "transfer.png"
DRIVERS = 6
"""Expressions on the sheet."""


def demo_programs(folder: Path, seconds: float, size: int) -> list[Program]:
    """The videos of a demo, as the commands that make them; nothing is opened yet."""
    prior, avatar, out = folder / "prior", folder / "fit" / "three_images" / "avatar", folder / "shows"
    return [
        Program(
            command="interpolate",
            who=[str(prior)],
            options=ShowOptions(out=[out / INTERPOLATION], seconds=seconds, size=size, camera=CameraMove.sway),
            caption="Between identities: straight lines from one training person’s code to the next.",
        ),
        Program(
            command="relight",
            who=[str(prior), str(avatar)],
            options=ShowOptions(out=[out / RELIGHTING], seconds=seconds, size=size, light_turns=1.0, ball=True),
            caption="Relighting: one lamp goes around a training person (left) and a person fitted from three photos "
            "(right); the ball is lit by the same lamp.",
        ),
    ]


def write_shows(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Write ``shows/interpolation.mp4``, ``shows/relighting.mp4`` and ``shows/transfer.png``."""
    torch.set_num_threads(settings.prior.trainer.threads * settings.prior.trainer.ranks)
    shows = [program.show() for program in demo_programs(folder, settings.video_seconds, settings.video_size)]
    total, before = sum(show.frames for show in shows), 0
    for show in shows:
        show.run(lambda done, _, before=before: progress(before + done, total))
        before += show.frames
    run = load_run(folder / "prior", folder / "shards")
    cast = Cast()
    subjects = [run.subjects[index] for index in spread(len(run.subjects), 2)]
    people = [cast.person(f"{run.folder}:{subject}") for subject in subjects]
    avatar = folder / "fit" / "three_images" / "avatar"
    write_transfer(folder / "shows" / TRANSFER, run, [*people, avatar_person(Avatar.load(avatar), avatar)], settings)


def write_transfer(path: Path, run: TrainedRun, people: Sequence[Person], settings: DemoSettings) -> None:
    """A sheet: expressions of several people (top) on others, all upright in the same light."""
    answerer, stage = Answerer(run), Stage()
    drivers = driving_frames(run, DRIVERS)
    light = key_light(30.0, 30.0, total=4.0 * np.pi * people[0].light_level, ambient=0.5)
    seen = run.input_cameras[len(run.input_cameras) // 2]
    shown = CameraPath.around(run.model, settings.video_size).at(0.0)
    strips = [Strip(pictures=[to_picture(answerer.captured(frame.key, seen)) for frame in drivers], caption="captured")]
    codes = [answerer.encode(frame.key).mean for frame in drivers]
    for person in people:
        heads = [Head(person=person, expression=code, pose=person.pose) for code in codes]
        pictures = [to_picture(stage.head(head, shown, light)[:3]) for head in heads]
        strips.append(Strip(pictures=pictures, caption=f"on {person.name}"))
    write_picture(path, draw_sheet([frame.subject for frame in drivers], strips, cell=152))


def driving_frames(run: TrainedRun, count: int) -> list[Frame]:
    """Strong expressions, each of another subject, preferably fully lit."""
    frames = []
    for number, index in enumerate(spread(len(run.subjects), count)):
        candidates = run.training_frames(run.subjects[index])
        lit = [frame for frame in candidates if frame.full_on] or candidates
        strongest = sorted(lit, key=lambda frame: -float(np.linalg.norm(frame.expression or ())))
        frames.append(strongest[number % min(2, len(strongest))])
    return frames
