"""The ``vrmm`` commands that can be launched, and what is checked about them before a job is submitted."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from datasets.errors import VrmmError

LAUNCHABLE = ("train", "evaluate", "ablate", "fit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One command line, for example ``train configs/prior/demo.yaml --out runs/a trainer.steps=10``.

    Attributes:
        name: one of ``LAUNCHABLE``.
        arguments: all words after it.
    """

    name: str
    arguments: tuple[str, ...]

    @staticmethod
    def parse(words: Sequence[str]) -> "Command":
        """Raises VrmmError where nothing can be launched."""
        if not words:
            raise VrmmError(f"nothing to launch; write -- and one of {', '.join(LAUNCHABLE)} with its arguments")
        if words[0] not in LAUNCHABLE:
            raise VrmmError(f"{words[0]} cannot be launched; these can: {', '.join(LAUNCHABLE)}")
        return Command(name=words[0], arguments=tuple(words[1:]))

    @property
    def positional(self) -> list[str]:
        """Arguments that are no options and no ``key=value``."""
        return [word for word in self._words() if not _is_override(word)]

    @property
    def overrides(self) -> list[str]:
        """The ``key=value`` arguments."""
        return [word for word in self._words() if _is_override(word)]

    def _words(self) -> list[str]:
        """The arguments without options and their values."""
        before = ("", *self.arguments)
        return [
            word
            for word, last in zip(self.arguments, before, strict=False)
            if not word.startswith("-") and (not last.startswith("--") or "=" in last)
        ]

    def options(self, name: str) -> list[str]:
        """The values of every ``--name value`` and ``--name=value``."""
        values = []
        for index, word in enumerate(self.arguments):
            if word == f"--{name}" and index + 1 < len(self.arguments):
                values.append(self.arguments[index + 1])
            elif word.startswith(f"--{name}="):
                values.append(word.partition("=")[2])
        return values

    def option(self, name: str) -> str | None:
        """The last value of ``--name``."""
        values = self.options(name)
        return values[-1] if values else None

    @property
    def out(self) -> Path:
        """The folder that this command writes."""
        given = self.option("out")
        if given is None:
            return self._default_out()
        return Path(given) / (self.option("only") or "") if self.name == "ablate" else Path(given)

    def _default_out(self) -> Path:
        if not self.positional:
            raise VrmmError(f"{self.name} needs its arguments, see vrmm {self.name} --help")
        if self.name in ("fit", "ablate"):
            raise VrmmError(f"{self.name} needs --out FOLDER")
        first = Path(self.positional[0])
        return first if self.name == "evaluate" else Path("runs") / first.stem

    def extended(self, *words: str) -> "Command":
        """The same command with more arguments; later ones win."""
        return Command(name=self.name, arguments=(*self.arguments, *words))

    def check(self, tasks: int) -> None:
        """Find before a job waits in a queue what would end it at once.

        Args:
            tasks: processes that the job will have.

        Raises:
            VrmmError: a bad recipe, a batch that cannot be split, or inputs that are not there.
        """
        if self.name in ("evaluate", "fit"):
            self._check_inputs()
        else:
            self._check_recipe(tasks)
        if self.name != "train" and tasks != 1:
            raise VrmmError(f"{self.name} runs as one process; launch it with nodes=1 tasks_per_node=1, not {tasks}")

    def _check_recipe(self, tasks: int) -> None:
        from datasets.config import load_config
        from prior.recipe import TrainRecipe

        recipe = load_config(TrainRecipe, self.positional[0] if self.positional else None, self.overrides)
        recipe.check_ranks(tasks if self.name == "train" else recipe.trainer.ranks)
        if "://" not in str(recipe.loader.shards) and not Path(recipe.loader.shards).is_dir():
            raise VrmmError(f"loader.shards={recipe.loader.shards} does not exist")

    def _check_inputs(self) -> None:
        needed = self.positional if self.name == "fit" else [str(self.out)]
        if self.name == "fit":
            needed = [*needed, self.option("prior") or "--prior RUN"]
            if len(needed) == 1:
                raise VrmmError("fit needs photos; name them, or a file of them with --list")
        for path in needed:
            if not Path(path).exists():
                raise VrmmError(f"{self.name}: {path} does not exist")


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).exists()
