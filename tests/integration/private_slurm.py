"""A Slurm of one node for tests: munged, slurmctld and slurmd with ports, keys and folders of their own."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo")
START_SECONDS = 30.0
LET_GO_SECONDS = 3.0

CONFIG = """
ClusterName=vrmm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2
JobRequeue=1
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why a private Slurm cannot run here, empty where it can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not found (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "a private Slurm needs root"


class PrivateSlurm:
    """Started by ``with``; inside, SLURM_CONF points every Slurm command at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending_since: dict[tuple[str, str], float] = {}

    def __enter__(self) -> "PrivateSlurm":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        ports = [_free_port() for _ in range(2)]
        config = self.folder / "slurm.conf"
        host = socket.gethostname().split(".")[0]
        text = CONFIG.format(host=host, folder=self.folder, ctld_port=ports[0], slurmd_port=ports[1])
        config.write_text(text)
        self._saved = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
        os.environ |= {"SLURM_CONF": str(config), "PATH": _path()}
        try:
            self._start_munge()
            _run("slurmctld", "-c")
            _run("slurmd")
            self._wait_until_idle()
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        subprocess.run(["scontrol", "shutdown"], capture_output=True)
        for name in ("slurmd", "slurmctld", "munged"):
            path = self.folder / f"{name}.pid"
            if path.exists():
                subprocess.run(["kill", path.read_text().strip()], capture_output=True)
        for name, value in self._saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def job(self, job_id: str) -> dict[str, str]:
        """What scontrol says about a job."""
        found = subprocess.run(["scontrol", "-o", "show", "job", job_id], capture_output=True, text=True)
        return dict(word.split("=", 1) for word in found.stdout.split() if "=" in word)

    def start_at_once(self, job_id: str) -> None:
        """Slurm lets a job wait two minutes before it runs again; no test has to, once the node has let go of it."""
        job = self.job(job_id)
        if job.get("JobState") != "PENDING":
            return
        attempt = (job_id, job["Restarts"])
        if time.monotonic() - self._pending_since.setdefault(attempt, time.monotonic()) > LET_GO_SECONDS:
            subprocess.run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"], capture_output=True)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.folder.chmod(0o755)
        names = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{name}={self.folder / file}" for name, file in names.items()]
        _run("munged", "--force", *options, f"--seed-file={self.folder / 'munge.seed'}")

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True)
            if "idle" in found.stdout:
                return
            time.sleep(0.1)
        log = (self.folder / "slurmctld.log").read_text()[-2000:]
        raise RuntimeError(f"the private Slurm did not start: {log}")


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _run(*command: str) -> None:
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{command[0]}: {found.stderr or found.stdout}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
