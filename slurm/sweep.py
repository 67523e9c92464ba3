"""Sweeps: one command for every combination of values, or for every line of a list."""

import dataclasses
import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from datasets.errors import VrmmError
from slurm.commands import Command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Element:
    """One job of a launch.

    Attributes:
        name: what tells it from the others; the name of its folder.
        command: what it runs.
    """

    name: str
    command: Command


def sweep_elements(command: Command, sweeps: Sequence[str]) -> list[Element]:
    """One element for every combination of ``key=a,b,c``, each with a run folder of its own below the command's.

    Raises:
        VrmmError: a sweep that is not of that form, a key given twice, or a command other than train or fit.
    """
    if command.name not in ("train", "fit"):
        raise VrmmError(f"{command.name} cannot be swept; sweep train or fit")
    axes = [_values(sweep) for sweep in sweeps]
    keys = [key for key, _ in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise VrmmError(f"--sweep {key} is given twice; list all its values in one")
    elements = []
    for values in itertools.product(*(values for _, values in axes)):
        overrides = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
        name = _folder_name(",".join(overrides))
        out = str(command.out / name)
        elements.append(Element(name=name, command=command.extended(*overrides, "--out", out)))
    return _distinct(elements)


def list_elements(command: Command, path: Path) -> list[Element]:
    """One fit for every line of a file: the photos of one person, relative to the working directory.

    Empty lines and lines that begin with ``#`` are passed over. An avatar is named after its first photo.

    Raises:
        VrmmError: no such file, an empty one, or a photo that does not exist (with the line's number).
    """
    if command.name != "fit":
        raise VrmmError(f"--list names photos for fit, not for {command.name}")
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise VrmmError(f"cannot read the list {path}: {error.strerror}") from error
    elements = []
    for number, line in enumerate(lines, start=1):
        photos = shlex.split(line, comments=True)
        missing = [photo for photo in photos if not Path(photo).exists()]
        if missing:
            raise VrmmError(f"{path}, line {number}: {missing[0]} does not exist")
        if photos:
            name = _folder_name(Path(photos[0]).stem)
            extended = command.extended("--out", str(command.out / name))
            arguments = (*photos, *extended.arguments)
            elements.append(Element(name=name, command=Command(name="fit", arguments=arguments)))
    if not elements:
        raise VrmmError(f"the list {path} is empty; write the photos of one person on each line")
    return _distinct(elements)


def ablation_elements(command: Command) -> list[Element]:
    """One element for every run of an ablation's table.

    Raises:
        VrmmError: another command, or an unknown variant.
    """
    from prior.ablation import VARIANTS, plan_ablation

    if command.name != "ablate":
        raise VrmmError(f"--array is for ablate; use --sweep or --list for {command.name}")
    seeds = command.option("seeds") or "1"
    if not seeds.isdigit() or seeds == "0":
        raise VrmmError(f"--seeds {seeds} must be 1 or more")
    runs = plan_ablation(command.options("variant") or list(VARIANTS), int(seeds))
    return [Element(name=run.name, command=command.extended("--only", run.name)) for run in runs]


def _values(sweep: str) -> tuple[str, list[str]]:
    key, equals, text = sweep.partition("=")
    # Commas inside brackets belong to one value, as in betas=[0.9,0.98],[0.9,0.999].
    values = re.findall(r"(?:\[[^\]]*\]|[^,\[])+", text)
    if not equals or not key or not values:
        raise VrmmError(f"--sweep {sweep} is not of the form key=a,b,c")
    return key, values


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w.,=+-]", "_", text)


def _distinct(elements: list[Element]) -> list[Element]:
    names = [element.name for element in elements]
    for name in names:
        if names.count(name) > 1:
            raise VrmmError(f"two elements are both named {name} and would write the same folder; rename one")
    return elements
