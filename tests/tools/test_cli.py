"""The command line: fast help, errors in one line, exit statuses, progress in logs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tools.console import PLAIN_INTERVAL_SECONDS, PlainProgress, friendly_errors
from tools.main import COMMANDS, Command, build_app, run

ROOT = Path(__file__).parent.parent.parent
HEAVY = {"torch", "mitsuba", "cv2", "numpy", "deepspeed", "kornia", "scipy", "webdataset", "omegaconf", "av", "viser"}
"""Libraries whose import takes a share of the second in which help is to be there."""

SAMPLE = """
import time
import typer
from datasets.errors import VrmmError

app = typer.Typer()

@app.command()
def inner(number: int):
    print("inner", number)

def broken():
    raise VrmmError("recipe x.yaml\\nis wrong")

def buggy():
    raise ZeroDivisionError("a bug")

def full():
    raise OSError(28, "No space left on device", "big.tar")

def wait():
    print("waiting", flush=True)
    time.sleep(60)
"""

LAUNCH = """
import sys
from tools.main import Command, run
names = {"inner": "app", "broken": "broken", "buggy": "buggy", "full": "full", "wait": "wait"}
commands = [Command(name=n, target=f"sample_commands:{t}", help=f"{n} help") for n, t in names.items()]
run(sys.argv[1:], [*commands, Command(name="heavy", target="no_such_module:x", help="heavy help")])
"""


@pytest.fixture
def launch(tmp_path: Path):
    """Starts the command line with sample subcommands in a process of its own."""
    (tmp_path / "sample_commands.py").write_text(SAMPLE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]), "TERM": "dumb"}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )

    return start


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_help_lists_every_command_and_imports_none(launch) -> None:
    status, out, err = finish(launch("--help"))
    assert status == 0, err
    for name in ("inner", "broken", "heavy"):
        assert f"{name} help" in out


def test_help_imports_nothing_heavy() -> None:
    """`vrmm --help` answers at once: seconds come from torch and its like, so none of them may be there."""
    code = (
        "import sys\nfrom tools.main import main\nsys.argv = ['vrmm', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"assert not {HEAVY!r} & set(sys.modules), {HEAVY!r} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_subcommands_of_a_subcommand(launch) -> None:
    assert finish(launch("inner", "inner", "3")) == (0, "inner 3\n", "")


def test_wrong_usage_exits_with_2(launch) -> None:
    status, _, err = finish(launch("inner", "inner", "three"))
    assert status == 2
    assert "number" in err.lower()
    status, _, err = finish(launch("brokn"))
    assert status == 2
    assert "broken" in err, "the nearest command is named"


@pytest.mark.parametrize(
    ("command", "line"), [("broken", "recipe x.yaml is wrong"), ("full", "cannot write big.tar: ")]
)
def test_a_problem_is_one_line(launch, command: str, line: str) -> None:
    status, out, err = finish(launch(command))
    assert status == 1
    assert not out
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(launch) -> None:
    status, _, err = finish(launch("--debug", "broken"))
    assert status == 1
    assert "Traceback" in err
    assert "VrmmError" in err


def test_a_bug_keeps_its_traceback(launch) -> None:
    status, _, err = finish(launch("buggy"))
    assert status == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: a bug" in err


def test_interrupted(launch) -> None:
    process = launch("wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130
    assert err.strip() == "interrupted; run the same command again to continue"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(command: Command) -> None:
    """Its module exists, its options can be parsed, and its help says more than the list does."""
    result = CliRunner().invoke(build_app(COMMANDS, command.name), [command.name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_version() -> None:
    result = CliRunner().invoke(build_app(COMMANDS, None), ["--version"])
    assert result.exit_code == 0
    assert result.output.strip().startswith("0.")


def test_another_datasets_package_is_named(tmp_path: Path) -> None:
    """With the popular library of the same name first on the path, every import of ours would fail obscurely."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tools.main; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "sys.argv = ['vrmm', 'shards']; tools.main.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: another package named datasets")
    assert str(tmp_path) in done.stderr


def test_permission_errors_name_the_file() -> None:
    with pytest.raises(SystemExit) as stop, friendly_errors():
        raise PermissionError(13, "Permission denied", "locked/manifest.json")
    assert stop.value.code == 1


def test_other_system_errors_are_bugs() -> None:
    with pytest.raises(FileNotFoundError), friendly_errors():
        raise FileNotFoundError(2, "No such file or directory", "x")


def test_run_exits_with_the_status_of_typer() -> None:
    def stop() -> None:
        raise typer.Exit(7)

    class Here(Command):
        def load(self):
            return stop

    with pytest.raises(SystemExit) as exit_:
        run(["stop"], [Here(name="stop", target="", help="")])
    assert exit_.value.code == 7


def test_plain_progress_is_rare_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    report = PlainProgress("capture", clock=lambda: now)
    for done in range(101):
        now = done * 0.5
        report(done, 100)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 50 / PLAIN_INTERVAL_SECONDS + 1
    assert lines[0] == "capture: 10/100, 0:05, about 0:45 left"
    assert lines[-1] == "capture: 100/100, 0:50"


def test_plain_progress_after_a_resume_predicts_from_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    report = PlainProgress("train", clock=lambda: now)
    for done, seconds in ((500, 0.0), (505, 5.0)):
        now = seconds
        report(done, 510)
    assert capsys.readouterr().out.splitlines() == ["train: 505/510, 0:05, about 0:05 left"]


def test_help_of_every_command_is_quick() -> None:
    """What makes it quick: nothing heavy is imported. The seconds themselves are the benchmark's matter."""
    code = (
        "import sys, tools.main as main\n"
        "for command in main.COMMANDS:\n"
        "    main.build_app(main.COMMANDS, command.name)\n"
        f"    heavy = {HEAVY!r} & set(sys.modules)\n"
        "    assert not heavy, f'{command.name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
