"""``python -m tools.bench raymarch --sweep``: every backend over numbers of primitives and picture sizes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from rich.table import Table

from prior.raymarch import available_backends, raymarch
from tools.bench.ellipsoid import EllipsoidScene, ellipsoid_scene
from tools.bench.machine import measure, seconds_of

PRIMITIVES = (64, 256, 1024, 4096)
SIZES = (64, 128, 256, 512, 1024)
VOXELS = 8
STEPS = 128
REFERENCE_PAIRS = 128 * 128 * 256
"""Rays times primitives up to which the reference is timed: beyond, a run takes minutes and gigabytes."""

LEAVES = ("center", "rotation", "half_size", "voxels")


def sweep(
    rounds: int, primitives: tuple[int, ...] = PRIMITIVES, sizes: tuple[int, ...] = SIZES
) -> list[dict[str, Any]]:
    """Forward and backward milliseconds of each backend, one row a scene and backend."""
    rows = []
    for count in primitives:
        for size in sizes:
            scene = ellipsoid_scene(images=1, size=size, steps=STEPS, primitives=count, voxels=VOXELS)
            for backend in _backends(size * size * count):
                forward, backward = _time(_on_device(scene, backend), backend, rounds)
                row = {"primitives": count, "size": size, "backend": backend}
                rows.append(row | {"forward_ms": forward, "backward_ms": backward})
    return rows


def sweep_table(rows: list[dict[str, Any]]) -> Table:
    """The rows, with how many times faster than the reference each is where that was timed."""
    table = Table(title=f"raymarch of one picture, {VOXELS}³ voxels, {STEPS} samples a ray, best of several runs")
    for name in ("primitives", "picture", "backend", "forward ms", "backward ms", "over reference"):
        table.add_column(name, justify="left" if name == "backend" else "right")
    for row in rows:
        total = row["forward_ms"] + row["backward_ms"]
        slow = next(_matching(rows, row, "reference"), None)
        ratio = f"{(slow['forward_ms'] + slow['backward_ms']) / total:.0f}×" if slow and slow is not row else ""
        cells = (row["primitives"], f"{row['size']}²", row["backend"])
        times = (f"{row['forward_ms']:.2f}", f"{row['backward_ms']:.2f}")
        table.add_row(*(str(cell) for cell in cells), *times, ratio)
    return table


def _matching(rows: list[dict[str, Any]], row: dict[str, Any], backend: str) -> Iterator[dict[str, Any]]:
    return (
        other
        for other in rows
        if (other["primitives"], other["size"], other["backend"]) == (row["primitives"], row["size"], backend)
    )


def _backends(pairs: int) -> list[str]:
    return [name for name in available_backends() if name != "reference" or pairs <= REFERENCE_PAIRS]


def _on_device(scene: EllipsoidScene, backend: str) -> dict[str, Any]:
    device = "cuda" if backend == "triton" else "cpu"
    values = {field.name: getattr(scene, field.name) for field in dataclasses.fields(scene)}
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in values.items()}


def _time(inputs: dict[str, Any], backend: str, rounds: int) -> tuple[float, float]:
    """Milliseconds of the forward and the backward pass."""
    leaves = [inputs[name].requires_grad_() for name in LEAVES]
    upstream = torch.ones(*inputs["ray_origin"].shape[:2], 4, device=inputs["voxels"].device)

    def step() -> tuple[float, float]:
        outcome: list[torch.Tensor] = []
        forward = seconds_of(_waited(lambda: outcome.append(raymarch(**inputs, backend=backend))))
        backward = seconds_of(_waited(lambda: torch.autograd.grad(outcome[0], leaves, upstream)))
        return forward, backward

    forward, backward = measure(step, rounds)
    return forward.best, backward.best


def _waited(work: Any) -> Any:
    """``work`` until a GPU has done it, too."""

    def wait() -> None:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return wait
