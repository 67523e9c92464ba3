"""An import by several processes that is killed with no warning ends with the bytes of one that never was."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from datasets.import_capture import ImportRequest, import_captures
from datasets.shards import verify_shards
from tests.datasets.readers import goliath_files

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
