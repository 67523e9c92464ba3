"""The videos and sheets of a page, as the commands that make them, and their making where they are not there yet."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tools.report.material import Material
from tools.shows.moves import CameraMove
from tools.shows.options import ShowOptions
from tools.shows.program import Program

SECONDS, FPS, SIZE = 3.0, 12.0, 192
Progress = Callable[[int, int], object]


def programs(material: Material) -> list[Program]:
    """What is shown of a demo, a run or an avatar."""
    if material.is_demo:
        from tools.demo.settings import VIDEO
        from tools.demo.shows import demo_programs

        quick = bool(material.book.get("options", {}).get("quick"))
        return demo_programs(material.folder, *VIDEO[quick])
    return _of_avatar(material.folder) if material.is_avatar else _of_run(material.folder, material.subjects)


def missing(material: Material) -> list[Program]:
    """All of them where one is not there. Those of a demo are its own matter."""
    if material.is_demo:
        return []
    every = programs(material)
    return every if any(not (material.shows / file_name(program)).is_file() for program in every) else []


def make_shows(wanted: list[Program], folder: Path, progress: Progress) -> None:
    """Render programs into ``folder``. Raises VrmmError for a folder whose model cannot be used."""
    shows = []
    for program in wanted:
        options = dataclasses.replace(program.options, out=[folder / file_name(program)])
        shows.append(dataclasses.replace(program, options=options).show())
    total, before = sum(show.frames for show in shows), 0
    for show in shows:
        show.run(lambda done, _, before=before: progress(before + done, total))
        before += show.frames


def file_name(program: Program) -> str:
    """Of what a program writes."""
    return program.options.out[0].name


def _of_run(folder: Path, subjects: int) -> list[Program]:
    who = str(folder)
    between = Program(
        command="interpolate",
        who=[who],
        options=_options("interpolation.mp4", camera=CameraMove.sway),
        caption="Between identities: straight lines from one training person’s code to the next.",
    )
    made_up = Program(
        command="sample",
        who=[who],
        options=_options("sample.png", light="studio", camera=CameraMove.sway),
        caption="Nobody: heads and expressions drawn from the distributions that the model has learned.",
    )
    return [
        *([between] if subjects > 1 else []),
        Program(
            command="relight",
            who=[who],
            options=_options("relighting.mp4", light_turns=1.0, ball=True, expression="wander"),
            caption="A lamp goes around one of the training people, who makes random expressions.",
        ),
        *([made_up] if subjects > 1 else []),
    ]


def _of_avatar(folder: Path) -> list[Program]:
    who = [str(folder)]
    return [
        Program(
            command="relight",
            who=who,
            options=_options("turn.mp4", light="studio", camera=CameraMove.orbit, expression="photo"),
            caption="From everywhere, with the expression of the photo, in the light of a studio.",
        ),
        Program(
            command="relight",
            who=who,
            options=_options("relighting.mp4", light_turns=1.0, ball=True, expression="wander"),
            caption="A lamp goes around the head, which makes random expressions.",
        ),
        Program(
            command="relight",
            who=who,
            options=_options("lamps.png", light="olat", lamps=12, ball=True),
            caption="One lamp at a time.",
        ),
    ]


def _options(name: str, **changes) -> ShowOptions:
    return ShowOptions(out=[Path(name)], seconds=SECONDS, fps=FPS, size=SIZE, **changes)
