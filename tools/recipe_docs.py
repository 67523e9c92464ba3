"""``python -m tools.recipe_docs``: docs/recipes.md, every key of every recipe, from the dataclasses that recipes fill.

A key is described under ``Attributes:`` in the docstring of its dataclass, once, where it is declared. A key without
a description is an error, so the page cannot lack one.
"""

import dataclasses
import enum
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from datasets.lightstage.stage import StageConfig
from datasets.readers.formats import READERS
from datasets.readers.registry import reader_class
from fitting.benchmark.recipe import BenchmarkConfig
from fitting.initializer.recipe import InitializerRecipe
from fitting.recipe import FitRecipe
from prior.recipe import TrainRecipe
from slurm.config import LaunchConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "recipes.md"

INTRODUCTION = """\
# Recipe keys

Every key of every recipe, with its default and its meaning. `make docs` writes this page from the dataclasses, beside
whose classes they stand; change a description there.

A recipe is a YAML file; sections are nested (`trainer: {steps: 10}`), and on the command line they are joined by dots
(`trainer.steps=10`). What comes later wins: the defaults below, the recipe, then `key=value` from left to right. An
unknown key is an error that names the nearest one. Every run, avatar and launch keeps what it was made with.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """A kind of recipe.

    Attributes:
        title: of its part of the page.
        schema: the dataclass that it fills.
        text: which command reads it, and where such recipes lie.
    """

    title: str
    schema: type
    text: str


KINDS = (
    Described(
        title="Captures",
        schema=StageConfig,
        text="`vrmm capture synth RECIPE key=value …`; recipes are in `configs/data/`.",
    ),
    Described(
        title="Training",
        schema=TrainRecipe,
        text="`vrmm train RECIPE key=value …` and `vrmm ablate`; recipes are in `configs/prior/`. "
        "[training.md](training.md) has the terms of the loss, [loading.md](loading.md) how frames are read.",
    ),
    Described(
        title="Fitting",
        schema=FitRecipe,
        text="`vrmm fit INPUT… --prior RUN --out AVATAR key=value …`, with `configs/fitting/default.yaml` or "
        "`--recipe FILE`; see [fitting.md](fitting.md).",
    ),
    Described(
        title="The initializer",
        schema=InitializerRecipe,
        text="`vrmm train-initializer RUN key=value …`, with `configs/fitting/initializer.yaml` or `--recipe FILE`.",
    ),
    Described(
        title="The benchmark of fits",
        schema=BenchmarkConfig,
        text="`vrmm evaluate-fit --prior RUN key=value …`, with `configs/fitting/benchmark.yaml` or `--recipe FILE`.",
    ),
    Described(
        title="Launches",
        schema=LaunchConfig,
        text="`vrmm launch RECIPE key=value … -- COMMAND …`; recipes are in `configs/slurm/` ([slurm.md](slurm.md)).",
    ),
)

FORMATS = (
    "`vrmm capture import FORMAT SOURCE key=value …`: what the files of a format do not say; see "
    "[captures.md](captures.md)."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A description and the keys that share it."""

    names: tuple[str, ...]
    text: str


def page() -> str:
    """The whole page. Raises VrmmError naming a key that has no description."""
    parts = [INTRODUCTION]
    for kind in KINDS:
        parts += [f"## {kind.title}\n", f"{kind.text}\n", *sections(kind.schema)]
    parts += ["## Formats of captures\n", f"{FORMATS}\n"]
    for name in READERS:
        options = reader_class(name).OPTIONS
        told = list(sections(options)) if dataclasses.fields(options) else ["Nothing to set.\n"]
        parts += [f"### {name}\n", *told]
    return "\n".join(parts)


def sections(schema: type, prefix: str = "", defaults: Any = None) -> Iterator[str]:
    """The table of a dataclass, then those of its sections, depth first.

    Args:
        schema: the dataclass.
        prefix: of its keys, with a dot at the end.
        defaults: an instance; those of the class itself by default. A section may have others where it is used.

    Raises:
        VrmmError: a key that has no description.
    """
    hints, defaults = typing.get_type_hints(schema), defaults or schema()
    nested = [field for field in dataclasses.fields(schema) if dataclasses.is_dataclass(hints[field.name])]
    if prefix:
        yield f"### `{prefix.rstrip('.')}`\n"
        yield f"{_in_markdown(summary(schema))}\n"
    rows = list(_rows(defaults, prefix, hints))
    if rows:
        yield "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"
    for field in nested:
        yield from sections(hints[field.name], f"{prefix}{field.name}.", getattr(defaults, field.name))


def _rows(defaults: Any, prefix: str, hints: dict[str, Any]) -> Iterator[str]:
    schema = type(defaults)
    known = {name: entry for entry in entries(schema) for name in entry.names}
    told: set[str] = set()
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) or field.name in told:
            continue
        if field.name not in known:
            raise VrmmError(f"{schema.__name__}.{field.name} is not described under Attributes in its docstring")
        entry = known[field.name]
        own = [other for other in dataclasses.fields(schema) if other.name in entry.names]
        told |= {other.name for other in own}
        keys = ", ".join(f"`{prefix}{other.name}`" for other in own)
        values = ", ".join(f"`{shown(getattr(defaults, other.name))}`" for other in own)
        yield f"| {keys} | {values} | {_cell(entry.text + _choices(hint))} |"


def entries(schema: type) -> list[Entry]:
    """What the docstrings of a dataclass and of its bases say under ``Attributes:``."""
    found: list[Entry] = []
    for cls in schema.__mro__:
        found += _parsed(inspect.cleandoc(cls.__dict__.get("__doc__") or ""))
    return found


def _parsed(text: str) -> list[Entry]:
    _, _, listed = text.partition("Attributes:\n")
    found: list[Entry] = []
    for line in listed.splitlines():
        if line.strip() and not line.startswith(" "):
            break
        start = re.fullmatch(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if start:
            found.append(Entry(names=tuple(start[1].split(", ")), text=start[2].strip()))
        elif found and line.strip():
            found[-1] = dataclasses.replace(found[-1], text=f"{found[-1].text} {line.strip()}")
    return found


def summary(schema: type) -> str:
    """The docstring of a dataclass up to its attributes, as one paragraph."""
    return " ".join(inspect.cleandoc(schema.__doc__ or "").partition("Attributes:")[0].split())


def shown(value: Any) -> str:
    """A default as one writes it in YAML or after ``key=``."""
    if isinstance(value, enum.Enum):
        return shown(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {shown(item)}' for name, item in value.items())}}}"
    return str(value) or '""'


def _choices(hint: Any) -> str:
    """The values of an enumeration, or of a list of them, as a sentence."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    if not kinds:
        return ""
    word = "One of" if kinds[0] is hint else "Any of"
    return f" {word} {', '.join(f'``{member.value}``' for member in kinds[0])}."


def _cell(text: str) -> str:
    return _in_markdown(text).replace("|", r"\|")


def _in_markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    atomic_write_bytes(PAGE, page().encode())
    print(f"{PAGE}: written")
