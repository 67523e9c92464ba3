"""Documented commands against the command line: options, values and recipe keys, without running anything."""

import shlex
from typing import Any

import typer
from typer.core import TyperGroup

from datasets.config import load_config
from datasets.lightstage.stage import StageConfig
from datasets.readers.registry import reader_class
from fitting.benchmark.recipe import BenchmarkConfig
from fitting.initializer.recipe import InitializerRecipe
from fitting.recipe import FitRecipe
from prior.recipe import TrainRecipe
from slurm.commands import LAUNCHABLE
from slurm.config import LaunchConfig
from tools.bench.__main__ import app as benchmarks
from tools.main import COMMANDS, build_app

NAMES = {command.name for command in COMMANDS}


def check_command(words: list[str]) -> None:
    """Fails where ``words`` (after ``vrmm``) would be refused for an option, a value's type, or a recipe key."""
    assert words, "vrmm alone"
    if words[0].startswith("-"):
        assert words in (["--help"], ["--version"]), f"unknown option {words[0]}"
        return
    command, rest = find_command(words)
    if rest == ["--help"]:
        return
    context = command.make_context("vrmm", list(rest))
    _check_recipe(words, context.params)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words after them."""
    assert words[0] in NAMES, f"there is no command {words[0]}"
    group = typer.main.get_command(build_app(COMMANDS, words[0]))
    assert isinstance(group, TyperGroup)
    command: Any = group.commands[words[0]]
    rest = words[1:]
    while isinstance(command, TyperGroup):
        assert rest, f"vrmm {words[0]} needs one of {', '.join(command.commands)}"
        assert rest[0] in command.commands, f"there is no vrmm {words[0]} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check_mention(text: str) -> None:
    """Fails where a command in running text has an option that there is none of; it may be incomplete."""
    words = [word for word in shlex.split(text.replace("…", " "))[1:] if word]
    if not words or words[0].startswith("-") or words[0].isupper():
        assert not words or words[0].isupper() or words[0] in ("--help", "--version"), text
        return
    group = typer.main.get_command(build_app(COMMANDS, words[0]))
    assert isinstance(group, TyperGroup)
    known: list[Any] = [group.commands[words[0]]] if words[0] in group.commands else []
    assert known, f"there is no command {words[0]}"
    if isinstance(known[0], TyperGroup):
        names = words[1].split("|") if len(words) > 1 else []
        assert set(names) <= set(known[0].commands), f"{text}: there is no such subcommand"
        known = [known[0].commands[name] for name in names] or list(known[0].commands.values())
    for word in words[1:]:
        if word == "--":
            return
        if word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            assert any(option in _options(command) for command in known), f"{text}: there is no option {option}"


def check_benchmark(words: list[str]) -> None:
    """The same for ``python -m tools.bench``."""
    group = typer.main.get_command(benchmarks)
    assert isinstance(group, TyperGroup)
    name = words[0].replace("_", "-")
    found = group.commands.get(words[0]) or group.commands.get(name)
    assert found is not None, f"there is no benchmark {words[0]}"
    found.make_context("bench", list(words[1:]))


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


def _check_recipe(words: list[str], values: dict) -> None:
    """Loads the recipe with the given changes."""
    changes = [word for word in _words(values) if "=" in word]
    name = words[0]
    if name in ("train", "ablate"):
        load_config(TrainRecipe, values["config"], changes)
    elif name == "fit":
        load_config(FitRecipe, values["recipe"], changes)
    elif name == "evaluate-fit":
        load_config(BenchmarkConfig, values["recipe"], changes)
    elif name == "train-initializer":
        load_config(InitializerRecipe, values["recipe"], changes)
    elif words[:2] == ["capture", "synth"]:
        load_config(StageConfig, values["config"], changes)
    elif words[:2] == ["capture", "import"]:
        load_config(reader_class(values["format"]).OPTIONS, None, changes)
    elif name == "launch":
        _check_launch(values)


def _check_launch(values: dict) -> None:
    given = list(values["words"] or [])
    start = next((index for index, word in enumerate(given) if "=" not in word), len(given))
    load_config(LaunchConfig, values["config"], given[:start])
    command = given[start:]
    if not command and values["check"]:
        return
    assert command, "nothing is launched"
    assert command[0] in LAUNCHABLE
    if values["sweep"]:
        command = command + [sweep.partition(",")[0] for sweep in values["sweep"]]  # the first value of each
    if values["list_file"]:
        command = [command[0], "photo.jpg", *command[1:]]
    check_command(command)


def _words(values: dict) -> list[str]:
    """Positional arguments that may hold ``key=value``."""
    found = [*(values.get("overrides") or []), *(values.get("inputs") or [])]
    return [str(word) for word in found]
