"""The GPU and its driver, and Slurm."""

import shutil
import sys

from tools.doctor.finding import Finding, Status
from tools.doctor.trial import answer, ask

CLIENTS = ("sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")
"""Programs of Slurm that vrmm calls, the first of them where it is looked for."""

DRIVER = "install or mend NVIDIA's driver until nvidia-smi lists the GPU"
CUDA = (
    'install a torch for CUDA (pytorch.org has the command for this driver) and pip install "vrmm[gpu]"; '
    "until then the CPU is used"
)


def check_gpu() -> Finding:
    """An NVIDIA GPU, its driver, a torch built for it, and the kernels of the raymarcher. None is needed."""
    if shutil.which("nvidia-smi") is None:
        return Finding(name="GPU", status=Status.OK, detail="no nvidia-smi here (a GPU is not needed)")
    cards, error = ask(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    if error or not cards:
        return Finding(name="GPU", status=Status.WARNING, detail=error or "nvidia-smi lists none", remedy=DRIVER)
    listed = f"{len(cards)} × {cards[0]}"
    detail, worked = answer([sys.executable, "-m", "tools.probes", "cuda"])
    if not worked:
        return Finding(name="GPU", status=Status.WARNING, detail=f"{listed}: {detail}", remedy=CUDA)
    return Finding(name="GPU", status=Status.OK, detail=f"{listed}: {detail}")


def check_slurm() -> Finding:
    """Slurm is only needed on clusters: its programs, and a controller that answers."""
    if shutil.which(CLIENTS[0]) is None:
        return Finding(name="Slurm", status=Status.OK, detail=f"no {CLIENTS[0]} here (only clusters need it)")
    missing = [program for program in CLIENTS if shutil.which(program) is None]
    if missing:
        return Finding(
            name="Slurm",
            status=Status.WARNING,
            detail=f"{', '.join(missing)} not on PATH",
            remedy="load the cluster's Slurm module, or install all of Slurm's client programs",
        )
    partitions, error = ask(["sinfo", "-h", "-o", "%R"])
    if error or not partitions:
        return Finding(
            name="Slurm",
            status=Status.WARNING,
            detail=f"sinfo: {error or 'no partition'}",
            remedy="ask on a login node; is SLURM_CONF right, and does slurmctld run?",
        )
    release = (ask(["sinfo", "--version"])[0] or ["Slurm"])[0]
    names = ", ".join(dict.fromkeys(partitions))
    return Finding(name="Slurm", status=Status.OK, detail=f"{release}, partitions {names}")
