"""The tables of ``vrmm train --plan``."""

from collections.abc import Iterator

from rich.table import Table

from prior.plan import Plan

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def plan_tables(plan: Plan, name: str) -> Iterator[Table]:
    """Parameters, memory of a rank, and operations of a step."""
    height, width = plan.image_shape
    views = f"{plan.frames} frames × {plan.views} views of {width}×{height}"
    yield _sizes(f"{name}: parameters", plan.parameters, 1e6, "million")
    unit, prefix = _unit(plan.memory_bytes)
    yield _sizes(f"memory of each of {plan.ranks} ranks, {views}", plan.memory, unit, f"{prefix}B")
    yield _operations(plan)


def _unit(largest: float) -> tuple[float, str]:
    """The unit in which ``largest`` is a readable number, and its prefix."""
    return next((unit for unit in UNITS if largest >= unit[0]), UNITS[-1])


def _sizes(title: str, sizes: dict[str, int], unit: float, label: str) -> Table:
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("", footer="together")
    table.add_column(label, justify="right", footer=f"{sum(sizes.values()) / unit:,.2f}")
    for key, size in sizes.items():
        table.add_row(key.replace("_", " "), f"{size / unit:,.2f}")
    return table


def _operations(plan: Plan) -> Table:
    flops, flops_prefix = _unit(max(stage.backward_flops for stage in plan.stages))
    size, size_prefix = _unit(sum(stage.kept_bytes for stage in plan.stages))
    table = Table(title="operations of a rank", title_justify="left", caption=_caption(plan), caption_justify="left")
    table.add_column("", no_wrap=True)
    for label in (f"forward {flops_prefix}FLOP", f"backward {flops_prefix}FLOP", f"kept {size_prefix}B"):
        table.add_column(label, justify="right")
    for stage in plan.stages:
        numbers = (stage.forward_flops / flops, stage.backward_flops / flops, stage.kept_bytes / size)
        table.add_row(stage.name, *(f"{number:,.1f}" for number in numbers))
    return table


def _caption(plan: Plan) -> str:
    often = f"; consistency every {plan.consistency_every} steps" if plan.consistency_every else ""
    unit, prefix = _unit(plan.step_flops)
    return (
        f"a mean step of all ranks: {plan.step_flops / unit:,.3g} {prefix}FLOP{often}; "
        f"it decodes {plan.images_read:,} stored pictures"
    )
