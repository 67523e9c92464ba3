"""Training of the initializer on the prior's renderings: resumable, and finished whole or not at all."""

import dataclasses
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.config import to_dict
from datasets.files import atomic_write_bytes, read_json
from fitting.avatar import prior_sha256
from fitting.bank import TrainingBank
from fitting.initializer.augment import Augmentation, Batch
from fitting.initializer.crop import face_squares, to_crop
from fitting.initializer.losses import TrainingLoss
from fitting.initializer.network import AnswerSizes, InitializerNetwork
from fitting.initializer.recipe import InitializerRecipe
from fitting.initializer.samples import Samples, SampleStore
from fitting.initializer.storage import DESCRIPTION, FOLDER, has_initializer, save_initializer
from fitting.initializer.validate import validate
from prior.runfolder import RunLock, library_versions
from prior.weights import load_weights

CHECKPOINT, SAMPLES = "checkpoint.pt", "samples"

Progress = Callable[[str, int, int], object]
"""Called as ``progress(stage, done, total)``; the stages are ``"rendering"`` and ``"training"``."""


def train_initializer(run: Path, recipe: InitializerRecipe, progress: Progress | None = None) -> dict[str, Any]:
    """Train the initializer of a run folder and write ``initializer/`` in it; an interrupted call is continued.

    Where the initializer of just this recipe and prior is there already, nothing is done.

    Returns:
        initializer.json: what it belongs to, how good its answers are on renderings that it was never trained on
        (``held_out``), and renderings and steps in a second (``throughput``).

    Raises:
        VrmmError: ``run`` is no run folder, another process trains in it, or it cannot be written.
    """
    run = Path(run)
    sha256 = prior_sha256(run)
    key = _key(sha256, recipe)
    folder = run / FOLDER
    if has_initializer(run):
        description = read_json(folder / DESCRIPTION, "an initializer's description")
        if description.get("key") == key:
            return description
    torch.set_num_threads(recipe.threads)
    with RunLock(folder):
        facts = _Training(run, sha256, key, recipe, progress).run()
        save_initializer(run, facts.pop("network"), sha256, {"key": key, **facts})
        (folder / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(folder / SAMPLES, ignore_errors=True)
    return read_json(folder / DESCRIPTION, "an initializer's description")


class _Training:
    """One training from its samples to its network. Final."""

    def __init__(self, run: Path, sha256: str, key: str, recipe: InitializerRecipe, progress: Progress | None) -> None:
        model, rendering, _ = load_weights(run)
        self._model = model.requires_grad_(False)
        self._recipe, self._progress, self._key = recipe, progress, key
        self._bank = TrainingBank.of_prior(run, model)
        self._checkpoint = run / FOLDER / CHECKPOINT
        samples = run / FOLDER / SAMPLES / sha256[:12]
        self._store = SampleStore(samples, self._model, rendering, self._bank, recipe)

    def run(self) -> dict[str, Any]:
        recipe, began = self._recipe, time.perf_counter()
        samples, rendered = self._store.get(self._tell("rendering"))
        seconds = {"rendering": time.perf_counter() - began}
        kept_apart = max(1, round(recipe.held_out * len(samples)))
        training = samples.chosen(torch.arange(kept_apart, len(samples)))
        held_out = samples.chosen(torch.arange(kept_apart))
        config = self._model.config
        torch.manual_seed(recipe.seed)
        network = InitializerNetwork(
            recipe.network,
            AnswerSizes(
                subjects=samples.blend.shape[1], expression=config.expression, directions=config.light_directions
            ),
        )
        squares = face_squares(training.landmarks)
        upright = to_crop(training.landmarks, squares, torch.zeros(len(squares)))
        network.at_means(upright, training.z_e, training.light, (squares[:, 2] / 2 / training.focal).log())
        loss = TrainingLoss(training, self._model.light_sphere, recipe.losses)
        augmentation = Augmentation(recipe.augment, recipe.network.size, has_level=self._bank.has_lights)
        began = time.perf_counter()
        steps, history = self._train(network, loss, augmentation, training)
        seconds["training"] = time.perf_counter() - began
        return {
            "network": network.eval(),
            "recipe": to_dict(recipe),
            "held_out": validate(network, loss, augmentation, held_out, recipe.seed),
            "losses": history,
            "seconds": seconds,
            "throughput": {
                "renderings_per_second": rendered / max(seconds["rendering"], 1e-9),
                "steps_per_second": steps / max(seconds["training"], 1e-9),
            },
            "libraries": library_versions(),
        }

    def _train(
        self, network: InitializerNetwork, loss: TrainingLoss, augmentation: Augmentation, samples: Samples
    ) -> tuple[int, list[dict[str, float | int]]]:
        """Steps done now, and the mean of each term over every stretch between checkpoints."""
        recipe = self._recipe
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.15)
        state = _State(network=network, optimizer=optimizer, schedule=schedule, key=self._key)
        first, history = state.load(self._checkpoint)
        sums: dict[str, float] = {}
        network.train()
        for step in range(first, recipe.steps):
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
            rows = torch.randint(len(samples), (recipe.batch,), generator=generator)
            torch.manual_seed(recipe.seed * 1_000_003 + step)  # of the dropout: a resumed run gives the same numbers
            batch = augmentation(samples.chosen(rows), generator)
            terms = loss(network(batch.picture, self._hint(batch, generator)), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.total(terms).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            _add(sums, terms)
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                stretch = (step % recipe.checkpoint_every) + 1
                history.append({"step": step + 1, **{name: value / stretch for name, value in sums.items()}})
                sums = {}
                state.save(self._checkpoint, step + 1, history)
            if self._progress is not None:
                self._progress("training", step + 1, recipe.steps)
        return recipe.steps - first, history

    def _hint(self, batch: Batch, generator: torch.Generator) -> Float[Tensor, "B 68 2"]:
        """True landmarks, nearly, for some pictures; NaN for the others."""
        wanted = torch.rand(len(batch.face), 1, 1, generator=generator) < self._recipe.hinted
        noise = self._recipe.hint_noise * torch.randn(batch.landmarks.shape, generator=generator)
        return torch.where(wanted, batch.landmarks + noise, torch.nan)

    def _tell(self, stage: str) -> Callable[[int, int], object]:
        return lambda done, total: None if self._progress is None else self._progress(stage, done, total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _State:
    """What a checkpoint holds."""

    network: InitializerNetwork
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    key: str

    def save(self, path: Path, step: int, history: list[dict[str, float | int]]) -> None:
        data = io.BytesIO()
        parts = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        torch.save({"key": self.key, "step": step, "history": history, **parts}, data)
        atomic_write_bytes(path, data.getvalue())

    def load(self, path: Path) -> tuple[int, list[dict[str, float | int]]]:
        """The step to go on with; 0 where there is no checkpoint of this training."""
        try:
            kept = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError):
            return 0, []
        if kept.get("key") != self.key:
            return 0, []
        self.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        return kept["step"], kept["history"]


def _add(sums: dict[str, float], terms: dict[str, Tensor]) -> None:
    for name, value in terms.items():
        sums[name] = sums.get(name, 0.0) + float(value.detach())


def _key(sha256: str, recipe: InitializerRecipe) -> str:
    """Changes whenever the network would come out differently."""
    values = {**to_dict(recipe), "threads": 0, "checkpoint_every": 0}
    return hashlib.sha256(json.dumps([sha256, values], sort_keys=True).encode()).hexdigest()
