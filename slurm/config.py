"""What a launch asks the cluster for: what ``configs/slurm/*.yaml`` hold."""

import dataclasses

from datasets.errors import VrmmError

CLUSTERS = ("slurm", "local", "debug")


@dataclasses.dataclass(kw_only=True)
class LaunchConfig:
    """Resources of one job, or of every element of a job array.

    Attributes:
        cluster: ``slurm``; ``local`` runs in the background on this machine; ``debug`` in this terminal.
        nodes: computers.
        tasks_per_node: processes (ranks) on each of them; with GPUs one for each GPU.
        gpus_per_node: GPUs on each node.
        cpus_per_task: CPU cores of a process.
        mem_gb: memory on each node, GB.
        timeout_min: time limit, minutes; training goes on in the next job where this one was ended.
        partition, account, qos, constraint: as of sbatch; null leaves the cluster's default.
        signal_delay_s: seconds before the time limit at which all ranks save together.
        setup: shell lines before the start, for example ``module load`` or ``source .venv/bin/activate``.
        python: how Python is called, for example ``apptainer exec --nv vrmm.sif python``; null is this one.
        sbatch_args: further options of sbatch, name: value.
        srun_args: further arguments of srun.
        array_parallelism: elements of an array that run at the same time.
        max_restarts: how often a job may be queued again without having made progress.
    """

    cluster: str = "slurm"
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    mem_gb: float = 4.0
    timeout_min: int = 60
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    signal_delay_s: int = 90
    setup: list[str] = dataclasses.field(default_factory=list)
    python: str | None = None
    sbatch_args: dict[str, str] = dataclasses.field(default_factory=dict)
    srun_args: list[str] = dataclasses.field(default_factory=list)
    array_parallelism: int = 16
    max_restarts: int = 2

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise VrmmError(f"cluster={self.cluster} is none of {', '.join(CLUSTERS)}")
        for name in ("nodes", "tasks_per_node", "cpus_per_task", "timeout_min", "array_parallelism"):
            if getattr(self, name) < 1:
                raise VrmmError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("gpus_per_node", "signal_delay_s", "max_restarts"):
            if getattr(self, name) < 0:
                raise VrmmError(f"{name}={getattr(self, name)} must not be negative")
        if self.mem_gb <= 0:
            raise VrmmError(f"mem_gb={self.mem_gb} must be positive")
        if self.signal_delay_s >= 60 * self.timeout_min:
            raise VrmmError(
                f"signal_delay_s={self.signal_delay_s} is not before the time limit of timeout_min={self.timeout_min}"
            )
        if self.cluster != "slurm" and self.nodes > 1:
            raise VrmmError(f"nodes={self.nodes}: cluster {self.cluster} has one node, this machine")

    @property
    def tasks(self) -> int:
        """Processes of one job."""
        return self.nodes * self.tasks_per_node
