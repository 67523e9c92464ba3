"""``python -m tests.docs.runner PLAN``: runs documented blocks, each page in a copy of a small world of its own.

One process for all: most of a short command's time is the import of its libraries. The plan is JSON with ``world``
(a folder to make it in), ``results`` (a file for one line of JSON a command) and ``pages``.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.world import make_world, namespace
from tools.main import COMMANDS, run

SHOW = ["--seconds", "0.25", "--fps", "8", "--size", "32"]
SHORTER = {
    "capture synth": ["--processes", "0"],
    "train": ["trainer.steps=10"],
    "capture import": ["--processes", "0", "--height", "64"],
    "evaluate": ["--processes", "0"],
    "fit": ["--steps", "3"],
    "interpolate": SHOW,
    "relight": SHOW,
    "sample": SHOW,
    "animate": [*SHOW, "--driver-size", "48", "--driver-steps", "2", "--driver-fps", "12"],
    "export": ["--size", "32", "--views", "4"],
    "view": ["--port", "0", "--threads", "1"],
}
"""Options that make a command small; the last one of a name counts."""
SHORTER_EXPORT = {"glb": ["--expressions", "1"], "ply": ["--steps", "2"], "html": ["--steps", "2"]}


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What a command did.

    Attributes:
        page, line: of its block.
        command: as it is documented.
        status: of the process that it would have been.
        output: everything that it printed, and the traceback of a bug.
        absent: files that it was told to write and did not.
        seconds: that it took.
    """

    page: str = ""
    line: int = 0
    command: str
    status: int = 0
    output: str = ""
    absent: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def main(plan: dict[str, Any]) -> None:
    """Make the world, then run all pages; the world's own commands are page ``world``."""
    make_measures_small()
    world, base = Path(plan["world"]), Path(plan["world"]) / "base"
    base.mkdir(parents=True)
    os.chdir(base)
    with open(plan["results"], "w") as results:

        def note(page: str, line: int, outcome: Outcome) -> Outcome:
            results.write(json.dumps({**dataclasses.asdict(outcome), "page": page, "line": line}) + "\n")
            results.flush()
            return outcome

        def prepare(words: list[str]) -> None:
            outcome = note("world", 0, perform(["vrmm", *words]))
            if outcome.status:
                raise SystemExit(f"the world cannot be made: {outcome.output}")

        make_world(base, prepare)
        for number, page in enumerate(plan["pages"]):
            place = world / f"page{number}"
            shutil.copytree(base, place)
            os.chdir(place)
            for block in page["blocks"]:
                for outcome in run_block(block, place):
                    note(page["name"], block["line"], outcome)


def run_block(block: dict[str, Any], place: Path) -> list[Outcome]:
    """Its commands one after the other, or its Python."""
    if block["language"] == "python":
        return [measured(block["text"].splitlines()[0], lambda: exec_block(block["text"], place))]
    return [perform(words) for words in block["commands"]]


def exec_block(text: str, place: Path) -> int:
    exec(compile(text, "block", "exec"), namespace(place))
    return 0


def perform(words: list[str]) -> Outcome:
    """One ``vrmm`` command."""
    assert words[0] == "vrmm", words
    outcome = measured(" ".join(words), lambda: call([*words[1:], *shorter(words[1:])]))
    outcome.absent = [name for name in written(words) if not Path(name).exists()]
    return outcome


def call(words: list[str]) -> int:
    try:
        run(words, COMMANDS)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def measured(name: str, act: Callable[[], int]) -> Outcome:
    """Act with what is printed caught, and environment and signal handlers as they were afterwards."""
    variables, handlers = dict(os.environ), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    began, told = time.monotonic(), io.StringIO()
    outcome = Outcome(command=name)
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            outcome.status = act()
        except Exception:
            outcome.status = 1
            told.write(traceback.format_exc())
    os.environ.clear()
    os.environ.update(variables)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    outcome.output, outcome.seconds = told.getvalue(), time.monotonic() - began
    return outcome


def shorter(words: list[str]) -> list[str]:
    """Options to append."""
    if words[:1] == ["view"] and any(word.startswith("--render") for word in words):
        return ["--size", "48x48", "--threads", "1"]
    more = SHORTER.get(" ".join(words[:2])) or SHORTER.get(words[0]) or []
    if words[0] == "export":
        return [*more, *SHORTER_EXPORT[words[words.index("--format") + 1]]]
    return more


def written(words: list[str]) -> list[str]:
    """Files and folders that a command is told to write."""
    options = ("--out", "--render", "--exr", "--curve", "--json", "--csv")
    reads = words[1] in ("view", "launch")
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in options and not (reads and name == "--curve"):
            found.append(value if equals else after)
    return found


def make_measures_small() -> None:
    """What commands decide by themselves: how many pictures and vertices, how long a video is and a page is served."""
    import prior.evaluate  # noqa: F401 - before the class is replaced that it was written with
    import prior.evaluation.plan as plan
    import tools.export.build as export
    import tools.report.shows as shows
    import tools.viewer.command as viewer

    few = dict.fromkeys((category.value for category in plan.Category), 1)
    plan.EvaluationConfig = functools.partial(  # type: ignore[misc,assignment]
        plan.EvaluationConfig, samples=4, pose_frames=1, examples=1, jitter_subjects=1, **few
    )
    export.ExportSettings = functools.partial(export.ExportSettings, vertices=800)  # type: ignore[misc,assignment]
    shows.SECONDS, shows.FPS, shows.SIZE = 0.25, 8.0, 32

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    viewer.time = types.SimpleNamespace(sleep=stop)  # type: ignore[assignment]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
