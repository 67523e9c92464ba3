"""Ranks and the DeepSpeed engine, on one CPU process as on many nodes."""

import atexit
import dataclasses
import os
import socket
from typing import Any

import torch
from torch import nn

from datasets.errors import VrmmError
from prior.muon import MuonAdamW, inner_matrices
from prior.recipe import TrainRecipe
from prior.vrmm import VRMM

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place among all."""

    rank: int
    world_size: int
    local_rank: int

    @staticmethod
    def from_environment() -> "Ranks | None":
        """What a launcher (torchrun, deepspeed, Slurm) has set, None where nothing is.

        Raises:
            VrmmError: RANK is set but its companions are not.
        """
        if "RANK" not in os.environ:
            return None
        missing = [name for name in VARIABLES if name not in os.environ]
        if missing:
            raise VrmmError(f"RANK is set but {', '.join(missing)} is not; start with torchrun or unset RANK")
        return Ranks(
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
        )

    @staticmethod
    def alone() -> "Ranks":
        """A single process; sets the variables that DeepSpeed insists on."""
        values = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        os.environ.update(values | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())})
        return Ranks(rank=0, world_size=1, local_rank=0)


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parameter_groups(module: nn.Module, model: VRMM, recipe: TrainRecipe) -> list[dict[str, Any]]:
    """Networks and identity codes as groups; ``lr_scale`` is read by the trainer at every step.

    With ``optimizer.muon`` the matrices inside the networks are a group of their own, the last one.
    """
    codes, optimizer = model.identity_codes.weight, recipe.optimizer
    inner = inner_matrices(model) if optimizer.muon > 0 else []
    apart = {id(parameter) for parameter in (codes, *inner)}
    networks = [parameter for parameter in module.parameters() if id(parameter) not in apart]
    whole = {"lr": optimizer.lr, "lr_scale": 1.0, "weight_decay": optimizer.weight_decay}
    groups = [
        {"params": networks, **whole},
        {
            "params": [codes],
            "lr": optimizer.lr * optimizer.code_lr_scale,
            "lr_scale": optimizer.code_lr_scale,
            "weight_decay": 0.0,
        },
    ]
    return [*groups, {"params": inner, **whole, "muon": optimizer.muon}] if inner else groups


def join_ranks() -> None:
    """Make the process group of all ranks, with gloo on CPUs and NCCL on GPUs, or keep the one that there is.

    It is left before Python shuts down: one of its threads, still running then, would now and then abort the process,
    and a refused start would look like a crash. Not earlier: DeepSpeed could not make another.
    """
    cuda = torch.cuda.is_available()
    if not cuda:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # The shared-memory collective is compiled on first use (minutes); gloo does as well at this traffic.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)
    atexit.register(_part_ranks)


def _part_ranks() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def initialize_engine(objective: nn.Module, recipe: TrainRecipe, ranks: Ranks, *, universal: bool = False) -> Any:
    """A DeepSpeed engine around the objective; ``universal`` lets it read a universal checkpoint."""
    import deepspeed

    groups = parameter_groups(objective, objective.model, recipe)  # type: ignore[arg-type]
    betas = (recipe.optimizer.betas[0], recipe.optimizer.betas[1])
    optimizer = MuonAdamW(groups, lr=recipe.optimizer.lr, betas=betas)
    micro_batch = recipe.loader.batch_frames // ranks.world_size // recipe.trainer.accumulation
    engine, *_ = deepspeed.initialize(
        model=objective,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": micro_batch,
            "gradient_accumulation_steps": recipe.trainer.accumulation,
            "gradient_clipping": recipe.optimizer.clip,
            "zero_optimization": {"stage": recipe.trainer.zero},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
            "checkpoint": {"load_universal": universal},
        },
        dist_init_required=False,
    )
    return engine
