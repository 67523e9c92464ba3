"""docs/recipes.md is what the code says now, and says something about every key."""

import dataclasses
import enum
import re

import pytest

from datasets.config import load_config
from datasets.errors import VrmmError
from tools.recipe_docs import KINDS, PAGE, entries, page, sections, shown


@pytest.fixture(scope="module")
def written() -> str:
    return page()


def test_the_page_is_not_stale(written: str) -> None:
    assert PAGE.read_text() == written, "run make docs"


def test_documented_keys_and_defaults_can_be_given(written: str) -> None:
    """Every key with its default, as it stands on the page, gives the recipe without changes."""
    parts = re.split(r"^## ", written, flags=re.MULTILINE)[1:]
    for kind, part in zip(KINDS, parts, strict=False):
        rows = re.findall(r"^\| (`.*?) \| (`.*?`) \| .*\|$", part, flags=re.MULTILINE)
        changes = []
        for keys, defaults in rows:
            names, values = keys.strip("`").split("`, `"), defaults.strip("`").split("`, `")
            assert len(names) == len(values), keys
            changes += [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        assert load_config(kind.schema, None, changes) == kind.schema()
        assert len(changes) == count_keys(kind.schema)


def count_keys(schema: type) -> int:
    values = [getattr(schema(), field.name) for field in dataclasses.fields(schema)]
    return sum(count_keys(type(value)) if dataclasses.is_dataclass(value) else 1 for value in values)


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


@dataclasses.dataclass(kw_only=True)
class Base:
    """What all have.

    Attributes:
        size: of it,
            in pixels | or so.
    """

    size: int = 3


@dataclasses.dataclass(kw_only=True)
class Inner:
    """A part. It has ``one`` key.

    Attributes:
        colour: of light.
    """

    colour: Colour = Colour.blue


@dataclasses.dataclass(kw_only=True)
class Outer(Base):
    """Everything.

    Attributes:
        low, high: bounds: both count.
        inner: a section.
    """

    low: float = 1e-5
    high: float | None = None
    names: list[str] = dataclasses.field(default_factory=list)
    inner: Inner = dataclasses.field(default_factory=Inner)


@dataclasses.dataclass(kw_only=True)
class Red:
    """Inside of it, things are red."""

    inner: Inner = dataclasses.field(default_factory=lambda: Inner(colour=Colour.red))


def test_defaults_are_those_of_the_place() -> None:
    assert "| `inner.colour` | `red` |" in "".join(sections(Red))


def test_keys_share_rows_and_inherit() -> None:
    assert [entry.names for entry in entries(Outer)] == [("low", "high"), ("inner",), ("size",)]
    with pytest.raises(VrmmError, match=r"Outer\.names is not described"):
        list(sections(Outer))
    own = dataclasses.make_dataclass("Own", [], bases=(Base,))
    (table,) = sections(own)
    assert table.splitlines()[-1] == r"| `size` | `3` | of it, in pixels \| or so. |"
    heading, meaning, table = sections(Inner, "inner.")
    assert heading == "### `inner`\n"
    assert meaning == "A part. It has `one` key.\n"
    assert "| `inner.colour` | `blue` | of light. One of `red`, `blue`. |" in table


def test_defaults_as_one_writes_them() -> None:
    values = [True, None, 3e-5, 2.0, "", "a", Colour.red, [1, 2.5], {}, []]
    assert [shown(value) for value in values] == [
        "true", "null", "3e-05", "2", '""', "a", "red", "[1, 2.5]", "{}", "[]",
    ]  # fmt: skip
