"""The doctor finds what is broken, says how to mend it, and exits with 1 only when vrmm cannot work."""

import importlib.metadata
import stat
import sys
import types
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from typer.testing import CliRunner

from prior.perceptual import LAYERS
from tests.tools.shows.people import make_run
from tools import probes
from tools.doctor import command, libraries, machine, programs, trial, weights
from tools.doctor.finding import Finding, Status
from tools.main import COMMANDS, build_app


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = machine.check_compiler()
    assert found.status is Status.WARNING
    assert "g++" in found.remedy


def test_a_compiler_without_openmp_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = executable(tmp_path / "c++", "#!/bin/sh\necho 'fatal error: omp.h file not found' >&2\nexit 1\n")
    monkeypatch.setenv("CXX", str(broken))
    found = machine.check_compiler()
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
    assert trial.answer([sys.executable, "-c", program]) == (reason, False)


def test_a_probe_answers_among_the_noise_of_its_library() -> None:
    program = f"print('banner'); print('{probes.PREFIX}1.2.3'); print('goodbye')"
    assert trial.answer([sys.executable, "-c", program]) == ("1.2.3", True)


def test_needed_and_optional_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "answer", lambda words: ("ImportError: broken", False))
    assert libraries.check_library("torch").status is Status.PROBLEM
    assert libraries.check_library("torchvision").status is Status.WARNING
    assert all(libraries.check_library(name).remedy for name in probes.PROBES)


@pytest.mark.parametrize("name", ["mitsuba", "opencv", "video", "webdataset"])
def test_probes_of_what_is_installed(name: str) -> None:
    found = libraries.check_library(name)
    assert found.status is Status.OK, found.detail


REQUIRED = [
    "numpy>=2.1,<3",
    "kornia>=0.8,<0.10",
    'triton>=3.3,<4; extra == "gpu"',
    'h5py>=3.12,<4; extra == "smc"',
    'ruff>=0.15; extra == "dev"',
    'pywin32>=300; platform_system == "Windows"',
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A made-up environment, library → version, of a made-up vrmm that needs ``REQUIRED``."""
    versions = {"numpy": "2.3.1", "kornia": "0.8.2", "h5py": "3.14.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    about = types.SimpleNamespace(get_all=lambda key: ["dev", "gpu", "smc"])
    monkeypatch.setattr(libraries.importlib.metadata, "requires", lambda name: REQUIRED)
    monkeypatch.setattr(libraries.importlib.metadata, "metadata", lambda name: about)
    monkeypatch.setattr(libraries.importlib.metadata, "version", version)
    return versions


def test_versions_are_those_that_the_project_asks_for(installed: dict[str, str]) -> None:
    found = libraries.check_versions()
    assert (found.status, found.detail, found.remedy) == (Status.OK, "all 2 as vrmm needs them", "")
    installed["numpy"] = "1.26.4"
    del installed["kornia"]
    found = libraries.check_versions()
    assert found.status is Status.PROBLEM
    assert found.detail == "numpy 1.26.4 is not <3,>=2.1; kornia is missing"
    assert found.remedy == 'pip install "numpy<3,>=2.1" "kornia<0.10,>=0.8", or make setup'


def test_optional_libraries_may_be_absent_but_not_wrong(installed: dict[str, str]) -> None:
    found = libraries.check_extras()
    assert (found.status, found.detail) == (Status.OK, "gpu: no triton; smc: h5py 3.14.0")
    assert found.remedy == 'where you want them: pip install "vrmm[gpu]"'
    installed["h5py"] = "2.9"
    found = libraries.check_extras()
    assert (found.status, found.detail) == (Status.WARNING, "h5py 2.9 is not <4,>=3.12")
    assert found.remedy == 'pip install "vrmm[smc]"'


def test_a_checkout_that_was_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.importlib.metadata, "requires", absent)
    monkeypatch.setattr(libraries.importlib.metadata, "metadata", absent)
    assert libraries.check_versions().status is Status.WARNING
    assert "make setup" in libraries.check_versions().remedy
    assert libraries.check_extras().status is Status.OK


def test_a_release_candidate_counts_as_its_release() -> None:
    assert libraries.unmet(Requirement("pytest>=1,<1000")) == ""
    assert libraries.unmet(Requirement("no-such-library-anywhere>=1")) == "no-such-library-anywhere is missing"


def test_a_full_or_locked_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine.check_disk(tmp_path / "new").status is not Status.PROBLEM
    assert not (tmp_path / "new").exists(), "an examination leaves nothing behind"
    (tmp_path / "file").touch()
    assert machine.check_disk(tmp_path / "file" / "below").status is Status.PROBLEM
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=2**20))
    found = machine.check_disk(tmp_path)
    assert found.status is Status.PROBLEM
    assert "free some space" in found.remedy
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    assert "TMPDIR" in machine.check_temporary().remedy


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['x']")

    monkeypatch.setattr(machine.tempfile, "gettempdir", nowhere)
    found = machine.check_temporary()
    assert found.status is Status.PROBLEM
    assert "TMPDIR" in found.remedy


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VRMM_CACHE", str(tmp_path / "file"))
    found = libraries.check_library("kernel")
    assert found.status is Status.WARNING
    assert "VRMM_CACHE" in found.detail


SLURM = {name: "exit 0" for name in programs.CLIENTS} | {
    "sinfo": 'if [ "$1" = --version ]; then echo slurm 22.05.8; else echo gpu; echo main; echo gpu; fi'
}


@pytest.mark.parametrize(
    ("changes", "status", "detail", "remedy"),
    [
        (dict.fromkeys(SLURM, None), Status.OK, "no sbatch here (only clusters need it)", ""),
        ({}, Status.OK, "slurm 22.05.8, partitions gpu, main", ""),
        ({"srun": None, "scancel": None}, Status.WARNING, "srun, scancel not on PATH", "module"),
        ({"sinfo": "echo 'Unable to contact slurm controller' >&2; exit 1"}, Status.WARNING, "Unable", "SLURM_CONF"),
        ({"sinfo": "exit 0"}, Status.WARNING, "sinfo: no partition", "SLURM_CONF"),
    ],
)
def test_slurm_and_its_controller(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, str | None],
    status: Status,
    detail: str,
    remedy: str,
) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in (SLURM | changes).items():
        if text is not None:
            executable(tmp_path / "bin" / name, f"#!/bin/sh\n{text}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = programs.check_slurm()
    assert found.status is status
    assert detail in found.detail
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("smi", "probe", "status", "detail", "remedy"),
    [
        (None, ("", False), Status.OK, "no nvidia-smi here (a GPU is not needed)", ""),
        ("echo 'Driver not loaded' >&2; exit 9", ("", False), Status.WARNING, "Driver not loaded", "driver"),
        ("exit 0", ("", False), Status.WARNING, "lists none", "driver"),
        ("echo 'H200, 143771 MiB, 570.1'", ("torch is built without CUDA", False), Status.WARNING, "without", "[gpu]"),
        ("echo A; echo A", ("torch for CUDA 12.8", True), Status.OK, "2 × A: torch for CUDA 12.8", ""),
    ],
)
def test_the_gpu_its_driver_and_torch(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    smi: str | None,
    probe: tuple[str, bool],
    status: Status,
    detail: str,
    remedy: str,
) -> None:
    (tmp_path / "bin").mkdir()
    if smi is not None:
        executable(tmp_path / "bin" / "nvidia-smi", f"#!/bin/sh\n{smi}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(programs, "answer", lambda words: probe)
    found = programs.check_gpu()
    assert found.status is status
    assert detail in found.detail
    assert remedy in found.remedy


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and the probe finds it")
def test_the_probe_says_why_there_is_no_gpu() -> None:
    detail, worked = trial.answer([sys.executable, "-m", "tools.probes", "cuda"])
    assert not worked
    assert "CUDA" in detail


def vgg_state() -> dict[str, torch.Tensor]:
    """Zeros in the shapes of VGG-19, under torchvision's names."""
    state, channels, index = {}, 3, 0
    for entry in LAYERS:
        if isinstance(entry, int):
            state[f"features.{index}.weight"] = torch.zeros(entry, channels, 3, 3)
            state[f"features.{index}.bias"] = torch.zeros(entry)
            channels, index = entry, index + 2
        else:
            index += 1
    return state


def test_weights_are_recognised_by_loading_them(tmp_path: Path) -> None:
    torch.save(vgg_state(), tmp_path / "vgg19.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "half.pth")
    run = make_run(tmp_path / "run")
    (tmp_path / "face.task").write_bytes(b"no model")
    paths = [tmp_path / "vgg19.pth", run, tmp_path / "half.pth", tmp_path / "face.task", tmp_path / "gone.pth"]
    vgg, prior, half, task, gone = weights.check_weights(paths)
    assert (vgg.status, vgg.detail) == (Status.OK, "VGG-19 (losses.vgg_weights)")
    assert (prior.status, prior.detail) == (Status.OK, "a prior of 5 people, 64 primitives, step unknown")
    assert half.status is task.status is gone.status is Status.PROBLEM
    assert "does not hold VGG-19" in half.detail
    assert "MediaPipe" in task.detail or "Face Landmarker" in task.detail
    assert gone.detail == f"{tmp_path / 'gone.pth'} does not exist"
    assert gone.remedy


def test_without_names_no_weights_are_needed() -> None:
    (found,) = weights.check_weights([])
    assert found.status is Status.OK
    assert "--lpips-weights" in found.remedy


@pytest.mark.parametrize(("status", "code"), [(Status.OK, 0), (Status.WARNING, 0), (Status.PROBLEM, 1)])
def test_exit_status(monkeypatch: pytest.MonkeyPatch, status: Status, code: int) -> None:
    finding = Finding(name="thing", status=status, detail="pip install -e .[viewer]", remedy="mend it")
    monkeypatch.setattr(command, "examine", lambda folder, paths: [finding])
    result = CliRunner().invoke(build_app(COMMANDS, "doctor"), ["doctor"])
    assert result.exit_code == code
    assert ".[viewer]" in result.output, "brackets are text and no markup"
