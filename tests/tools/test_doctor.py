"""The doctor finds what is broken, says how to mend it, and exits with 1 only when vrmm cannot work."""

import stat
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools import doctor, probes
from tools.doctor import Status
from tools.main import COMMANDS, build_app


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = doctor.check_compiler()
    assert found.status is Status.WARNING
    assert "g++" in found.remedy


def test_a_compiler_without_openmp_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = executable(tmp_path / "c++", "#!/bin/sh\necho 'fatal error: omp.h file not found' >&2\nexit 1\n")
    monkeypatch.setenv("CXX", str(broken))
    found = doctor.check_compiler()
    assert found.status is Status.WARNING
    assert "omp.h" in found.detail


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise ImportError('undefined symbol: x')", "ImportError: undefined symbol: x"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "died with status -4"),
        ("print('noise of a library')", "died with status 0"),
        (f"print('{probes.PREFIX}1.2.3', flush=True); import os; os._exit(3)", "died with status 3"),
    ],
)
def test_a_library_that_fails_is_named_with_its_reason(program: str, reason: str) -> None:
    assert doctor._answer([sys.executable, "-c", program]) == (reason, False)


def test_a_probe_answers_among_the_noise_of_its_library() -> None:
    program = f"print('banner'); print('{probes.PREFIX}1.2.3'); print('goodbye')"
    assert doctor._answer([sys.executable, "-c", program]) == ("1.2.3", True)


def test_needed_and_optional_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_answer", lambda command: ("ImportError: broken", False))
    assert doctor.check_library("torch").status is Status.PROBLEM
    assert doctor.check_library("torchvision").status is Status.WARNING
    assert all(doctor.check_library(name).remedy for name in probes.PROBES)


@pytest.mark.parametrize("name", ["mitsuba", "opencv", "video", "webdataset"])
def test_probes_of_what_is_installed(name: str) -> None:
    found = doctor.check_library(name)
    assert found.status is Status.OK, found.detail


def test_a_full_or_locked_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path / "new").status is not Status.PROBLEM
    assert not (tmp_path / "new").exists(), "an examination leaves nothing behind"
    (tmp_path / "file").touch()
    assert doctor.check_disk(tmp_path / "file" / "below").status is Status.PROBLEM
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=2**20))
    found = doctor.check_disk(tmp_path)
    assert found.status is Status.PROBLEM
    assert "free some space" in found.remedy


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "file"))
    found = doctor.check_library("kernel")
    assert found.status is Status.WARNING
    assert "VRMM_CACHE" in found.detail


@pytest.mark.parametrize(("status", "code"), [(Status.OK, 0), (Status.WARNING, 0), (Status.PROBLEM, 1)])
def test_exit_status(monkeypatch: pytest.MonkeyPatch, status: Status, code: int) -> None:
    finding = doctor.Finding(name="thing", status=status, detail="pip install -e .[viewer]", remedy="mend it")
    monkeypatch.setattr(doctor, "examine", lambda folder: [finding])
    result = CliRunner().invoke(build_app(COMMANDS, "doctor"), ["doctor"])
    assert result.exit_code == code
    assert ".[viewer]" in result.output, "brackets are text and no markup"
