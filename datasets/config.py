"""Recipes: keyword-only dataclasses filled from YAML and overridden by ``key=value``."""

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.errors import VrmmError

T = TypeVar("T")


def load_config(schema: type[T], path: Path | str | None = None, overrides: Sequence[str] = ()) -> T:
    """Build the dataclass ``schema`` from a YAML file and ``key=value`` overrides (later ones win).

    Args:
        schema: a keyword-only dataclass; nested dataclasses are sections.
        path: a YAML recipe, or None for the defaults.
        overrides: dotted assignments such as ``optimizer.lr=1e-3``.

    Raises:
        VrmmError: a missing file, bad YAML, an unknown key (with the nearest valid one), a value of the
            wrong type, or a cross-field check of the dataclass that fails.
    """
    layers = [] if path is None else [_read_yaml(Path(path))]
    for text in overrides:
        layers.append(_parse_override(text))
    config = OmegaConf.structured(schema)
    for origin, layer in layers:
        _check_keys(schema, OmegaConf.to_container(layer), origin)
        try:
            config = OmegaConf.merge(config, layer)
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", None) or "?"
            raise VrmmError(f"{origin}: {key}: {_first_line(error)}") from error
    return _build(schema, config, layers[-1][0] if layers else "defaults")


def find_recipe(path: Path | str) -> Path:
    """``path`` itself, or, where that does not exist, the file of that name that ships with vrmm.

    So ``configs/prior/demo.yaml`` is found from any working directory, in a checkout and in an installed wheel.
    """
    shipped = Path(__file__).resolve().parent.parent / path
    return shipped if shipped.is_file() and not Path(path).is_file() else Path(path)


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain nested dictionaries, ready for YAML or JSON."""
    return OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)  # type: ignore[return-value]


def to_yaml(config: Any) -> str:
    """A config dataclass as YAML text that ``load_config`` reads back."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_dict(schema: type[T], values: dict[str, Any], origin: str) -> T:
    """Rebuild a config from ``to_dict``'s output; ``origin`` names the source in errors."""
    _check_keys(schema, values, origin)
    try:
        config = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(values))
    except OmegaConfBaseException as error:
        raise VrmmError(f"{origin}: {_first_line(error)}") from error
    return _build(schema, config, origin)


def first_difference(held: Any, asked: Any, name: str = "") -> str | None:
    """One line that names the first entry in which two JSON values differ, or None."""
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in sorted(held.keys() | asked.keys()):
            found = first_difference(held.get(key), asked.get(key), f"{name}.{key}" if name else key)
            if found is not None:
                return found
        return None
    return None if held == asked else f"{name} was {held!r} and is {asked!r} now"


def _build(schema: type[T], config: Any, origin: str) -> T:
    try:
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except VrmmError as error:
        raise VrmmError(f"{origin}: {error}") from error
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, VrmmError):
            raise VrmmError(f"{origin}: {error.__cause__}") from error
        key = getattr(error, "full_key", None) or schema.__name__
        raise VrmmError(f"{origin}: {key}: {_first_line(error)}") from error


def _read_yaml(path: Path) -> tuple[str, DictConfig]:
    path = find_recipe(path)
    if not path.is_file():
        raise VrmmError(f"recipe {path} does not exist; recipes that ship with vrmm lie in configs/")
    try:
        layer = OmegaConf.load(path)
    except Exception as error:  # yaml raises several unrelated classes
        raise VrmmError(f"{path} is not valid YAML: {_first_line(error)}") from error
    if not isinstance(layer, DictConfig):
        raise VrmmError(f"{path} must hold keys and values, not {type(layer).__name__}")
    return str(path), layer


def _parse_override(text: str) -> tuple[str, DictConfig]:
    key, equals, _ = text.partition("=")
    if not equals or not key.strip():
        raise VrmmError(f"override {text!r} is not of the form key=value, for example optimizer.lr=1e-3")
    try:
        return text, OmegaConf.from_dotlist([text])
    except Exception as error:
        raise VrmmError(f"override {text!r} cannot be read: {_first_line(error)}") from error


def _check_keys(schema: Any, values: Any, origin: str, prefix: str = "") -> None:
    if not isinstance(values, dict):
        if dataclasses.is_dataclass(schema) and values is not None:
            raise VrmmError(f"{origin}: {prefix.rstrip('.')} is a section of keys, not {values!r}")
        return
    if not dataclasses.is_dataclass(schema):
        return
    hints = typing.get_type_hints(schema)
    names = [field.name for field in dataclasses.fields(schema)]
    for key, value in values.items():
        if key not in names:
            raise VrmmError(f"{origin}: unknown key {prefix}{key}{_suggest(str(key), prefix, names)}")
        _check_keys(_section_of(hints[key]), value, origin, f"{prefix}{key}.")


def _section_of(hint: Any) -> Any:
    """The dataclass behind ``Section`` or ``Section | None``; any other hint as it is."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    return options[0] if len(options) == 1 and dataclasses.is_dataclass(options[0]) else hint


def _suggest(key: str, prefix: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; valid keys here: {', '.join(sorted(names))}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
