"""How fast ``prior.raymarch`` is, by backend, and in a training step."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.bench.ellipsoid import EllipsoidScene, ellipsoid_scene
from tools.bench.machine import Times, machine, measure, peak_memory_mb, seconds_of
from tools.console import console

_IMAGE = {"images": 1, "size": 128, "steps": 128, "primitives": 256, "voxels": 8}
_WARM_UP = {"images": 1, "size": 8, "steps": 8, "primitives": 8, "voxels": 2}
_TRAINING = {"images": 8, "size": 96, "steps": 64, "primitives": 256, "voxels": 8}


def raymarch(
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every backend.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs of the reference; ten times more of the others.")] = 3,
    sweep: Annotated[bool, typer.Option("--sweep", help="Also 64 to 4096 primitives at 64² to 1024² pixels.")] = False,
) -> None:
    """Forward and backward of every backend at 128x128 pixels, and of the fastest at a training batch."""
    import torch

    from datasets.files import atomic_write_json
    from prior.raymarch import available_backends

    torch.set_num_threads(threads)
    fastest, *others = available_backends("cpu")
    _time(ellipsoid_scene(**_WARM_UP), fastest, 1)
    # The peak of memory never falls: the hungry reference comes last.
    image = ellipsoid_scene(**_IMAGE)
    backends = {fastest: _time(image, fastest, rounds)}
    training = {"scene": _TRAINING, "backend": fastest, **_time(ellipsoid_scene(**_TRAINING), fastest, rounds)}
    backends |= {name: _time(image, name, rounds) for name in others}
    result = {"machine": machine(), "scene": _IMAGE, "backends": backends, "training": training}
    if "cpu" in backends:
        result["cpu_over_reference"] = backends["reference"]["total_ms"] / backends["cpu"]["total_ms"]
    console.print(_table(result))
    if sweep:
        from tools.bench import raymarch_sweep

        result["sweep"] = raymarch_sweep.sweep(rounds)
        console.print(raymarch_sweep.sweep_table(result["sweep"]))
    if json is not None:
        atomic_write_json(json, result)


def _time(scene: EllipsoidScene, backend: str, rounds: int) -> dict[str, float]:
    """Milliseconds and megabytes of one forward and backward pass."""
    import torch

    from prior.raymarch import raymarch as operation

    inputs = {field.name: getattr(scene, field.name) for field in dataclasses.fields(scene)}
    leaves = {name: inputs[name].requires_grad_() for name in ("center", "rotation", "half_size", "voxels")}
    upstream = torch.randn(*scene.ray_origin.shape[:2], 4, generator=torch.Generator().manual_seed(0))

    def step() -> tuple[float, float]:
        outcome: list[torch.Tensor] = []
        forward = seconds_of(lambda: outcome.append(operation(**inputs, backend=backend)))
        backward = seconds_of(lambda: torch.autograd.grad(outcome[0], tuple(leaves.values()), upstream))
        return forward, backward

    before = peak_memory_mb()
    forward, backward = measure(step, rounds if backend == "reference" else 10 * rounds)
    return _report(forward, backward) | {"memory_mb": peak_memory_mb() - before}


def _report(forward: Times, backward: Times) -> dict[str, float]:
    return {
        "forward_ms": forward.best,
        "backward_ms": backward.best,
        "total_ms": forward.best + backward.best,
        "median_total_ms": forward.median + backward.median,
    }


def _table(result: dict[str, Any]) -> Table:
    title = f"raymarch, {result['machine']['threads']} threads, best of several runs"
    if "cpu_over_reference" in result:
        title += f"; cpu is {result['cpu_over_reference']:.0f} times faster than reference"
    table = Table(title=title)
    for name in ("scene", "backend", "forward ms", "backward ms", "memory MB"):
        table.add_column(name, justify="left" if name in ("scene", "backend") else "right")
    rows = [(_IMAGE, backend, times) for backend, times in result["backends"].items()]
    rows.append((_TRAINING, result["training"]["backend"], result["training"]))
    for scene, backend, times in rows:
        label = f"{scene['images']} × {scene['size']}², {scene['primitives']} primitives"
        numbers = (times["forward_ms"], times["backward_ms"], times["memory_mb"])
        table.add_row(label, backend, *(f"{number:.1f}" for number in numbers))
    return table
