"""An import by several processes ends with the bytes of one by none, killed with no warning or not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from datasets.import_capture import ImportRequest, import_captures
from datasets.shards import verify_shards
from tests.datasets.readers import goliath_files, nersemble_files

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tools.main", "capture", "import", "goliath"]
OPTIONS = ["--samples-per-shard", "1", "--processes", "2", "--height", "100"]


def test_kill_then_import_again(tmp_path: Path) -> None:
    source = goliath_files.write(tmp_path, kind="png").folder
    out, reference = tmp_path / "out", tmp_path / "reference"
    import_captures(
        ImportRequest(format="goliath", source=source, height=100), reference, samples_per_shard=1, processes=0
    )
    child = subprocess.Popen([*COMMAND, str(source), "--out", str(out), *OPTIONS], cwd=ROOT)
    journal = out / ".build.jsonl"
    while child.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n")):
        time.sleep(0.005)
    workers = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=600) == -signal.SIGKILL, "it was over before it could be killed"
    psutil.wait_procs(workers, timeout=120)
    assert not any(worker.is_running() for worker in workers), "readers end with their parent"
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.glob("*.tar")}
    finished = [name for name in before if f'"{name}"' in journal.read_text()]
    assert 0 < len(finished) < 5
    subprocess.run([*COMMAND, str(source), "--out", str(out), *OPTIONS], cwd=ROOT, check=True, timeout=600)
    after = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.glob("*.tar")}
    assert all(after[name] == before[name] for name in finished), "finished shards are not done again"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in reference.iterdir()
    }
    assert verify_shards(out) == []


def test_processes_share_the_cameras_of_videos(tmp_path: Path) -> None:
    """A camera that stopped early is nobody's error; four processes have three cameras to share."""
    nersemble_files.write(tmp_path / "source")
    request = ImportRequest(format="nersemble", source=tmp_path / "source")
    folders = {}
    for processes in (0, 2, 4):
        (folder,) = import_captures(request, tmp_path / str(processes), samples_per_shard=3, processes=processes)
        folders[processes] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(folders[0]) == 5
    assert folders[0] == folders[2] == folders[4]
