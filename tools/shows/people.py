"""Who can be shown: training identities, fitted avatars, random heads, and everyone between them."""

import copy
import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Light, Pose
from datasets.errors import VrmmError
from fitting.avatar import DESCRIPTION, Avatar, display_name, prior_sha256
from fitting.bank import TrainingBank
from prior.preview import spread
from prior.render import RenderConfig
from prior.sampling import draw_gaussian
from prior.vrmm import VRMM
from prior.weights import load_weights

RANDOM = re.compile(r"random(\d*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """Someone who can be shown.

    Attributes:
        name: for captions.
        model, rendering: that show them.
        z_id: [1, I].
        z_e: [1, E] at rest.
        pose: of the model's head frame at rest.
        prior: what tells their prior from others: only codes of one prior mean the same.
        bank: expressions and lights that the prior has seen; empty for an avatar.
        photo_expression: [1, E] as in the photo of an avatar.
        photo_light: as in the photo of an avatar, for a head at rest.
    """

    name: str
    model: VRMM
    rendering: RenderConfig
    z_id: Float[Tensor, "1 I"]
    z_e: Float[Tensor, "1 E"]
    pose: Pose
    prior: str
    bank: TrainingBank
    photo_expression: Float[Tensor, "1 E"] | None = None
    photo_light: Light | None = None

    @property
    def light_level(self) -> float:
        """Mean radiance of the light that this person is used to."""
        if self.bank.has_lights:
            return float(np.exp(self.bank.light_level()[0]))
        if self.photo_light is not None:
            return float(self.photo_light.irradiance.mean(axis=1).sum() / (4.0 * np.pi))
        return 1.0

    def expressions(self, count: int, *, temperature: float, seed: int) -> Float[Tensor, "S E"]:
        """Random expressions: of the training frames' distribution, or of the prior's own where no bank is known."""
        if len(self.bank.codes) > 1:
            return draw_gaussian(self.bank.codes, count, temperature=temperature, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        return temperature * self.bank.draw_codes(count, generator)


class Cast:
    """Opens people by their names on the command line; every folder is read once. Final.

    Args:
        seed: of random heads.
        temperature: of random heads.
    """

    def __init__(self, *, seed: int = 0, temperature: float = 1.0) -> None:
        self._seed, self._temperature = seed, temperature
        self._runs: dict[Path, tuple[VRMM, RenderConfig, str, TrainingBank]] = {}

    def person(self, text: str) -> Person:
        """``AVATAR``, ``RUN`` (its first subject), ``RUN:SUBJECT``, ``RUN:random`` or ``RUN:random7``.

        Raises:
            VrmmError: nothing of that name; what there is is said.
        """
        folder, name = _parted(text)
        if (folder / DESCRIPTION).is_file():
            if name:
                raise VrmmError(f"{folder} is an avatar, which holds one person; leave out :{name}")
            return avatar_person(Avatar.load(folder), folder)
        model = self._run(folder)[0]
        if match := RANDOM.fullmatch(name):
            return self._random(folder, int(match[1] or 0))
        return self._subject(folder, name or model.subjects[0])

    def people(self, texts: Sequence[str], most: int) -> list[Person]:
        """All of ``texts``; a run alone stands for up to ``most`` of its subjects, evenly."""
        if len(texts) == 1:
            folder, name = _parted(texts[0])
            if most > 1 and not name and not (folder / DESCRIPTION).is_file():
                subjects = self._run(folder)[0].subjects
                return [self._subject(folder, subjects[index]) for index in spread(len(subjects), most)]
        return [self.person(text) for text in texts]

    def heads(self, folder: Path, count: int) -> list[Person]:
        """The first random heads of a run, each with a random expression."""
        people = [self._random(run_folder(folder), index) for index in range(count)]
        codes = people[0].expressions(count, temperature=self._temperature, seed=self._seed + 1)
        return [dataclasses.replace(person, z_e=codes[index : index + 1]) for index, person in enumerate(people)]

    def _run(self, folder: Path) -> tuple[VRMM, RenderConfig, str, TrainingBank]:
        if folder not in self._runs:
            model, rendering, _ = load_weights(folder, "a run folder or an avatar")
            bank = TrainingBank.of_prior(folder, model)
            self._runs[folder] = model.requires_grad_(False), rendering, prior_sha256(folder), bank
        return self._runs[folder]

    def _subject(self, folder: Path, name: str) -> Person:
        model = self._run(folder)[0]
        if name not in model.subjects:
            near = difflib.get_close_matches(name, [*model.subjects, "random"], n=1)
            some = ", ".join(model.subjects[:8]) + (", …" if len(model.subjects) > 8 else "")
            hint = f"did you mean {near[0]}?" if near else f"there are {some} and random"
            raise VrmmError(f"{folder} has no subject {name}; {hint}")
        return self._with_code(folder, name, model.identity_code(torch.tensor([model.subjects.index(name)])))

    def _random(self, folder: Path, index: int) -> Person:
        codes = self._run(folder)[0].identity_codes.weight
        drawn = draw_gaussian(codes, index + 1, temperature=self._temperature, seed=self._seed)
        return self._with_code(folder, f"random {index}", drawn[-1:])

    def _with_code(self, folder: Path, name: str, z_id: Tensor) -> Person:
        model, rendering, prior, bank = self._run(folder)
        return Person(
            name=name,
            model=model,
            rendering=rendering,
            z_id=z_id.detach(),
            z_e=torch.zeros(1, model.config.expression),
            pose=Pose.identity(),
            prior=prior,
            bank=bank,
        )


class Tour:
    """People who turn into one another and back to the first. Final.

    Raises:
        VrmmError: people of different priors.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        check_one_prior(people)
        self._people = list(people)
        self._scratch: VRMM | None = None

    def at(self, place: float) -> Person:
        """At ``place`` in [0, 1) of the closed tour, which rests a little at each of them."""
        where = place * len(self._people)
        index = int(where) % len(self._people)
        first, second = self._people[index], self._people[(index + 1) % len(self._people)]
        share = float(np.clip((where - int(where) - 0.15) / 0.7, 0.0, 1.0))
        return self._between(first, second, share * share * (3.0 - 2.0 * share))

    def _between(self, first: Person, second: Person, share: float) -> Person:
        return dataclasses.replace(
            first,
            name=first.name if share < 0.5 else second.name,
            model=self._model(first.model, second.model, share),
            z_id=torch.lerp(first.z_id, second.z_id, share),
            z_e=torch.lerp(first.z_e, second.z_e, share),
        )

    def _model(self, first: VRMM, second: VRMM, share: float) -> VRMM:
        """Fine-tuned weights of one prior lie so near to each other that their means are heads, too."""
        if first is second:
            return first
        if self._scratch is None:
            self._scratch = copy.deepcopy(first)
        starts, ends = first.state_dict(), second.state_dict()
        with torch.no_grad():
            for name, value in self._scratch.state_dict().items():
                floating = value.is_floating_point()
                value.copy_(torch.lerp(starts[name], ends[name], share) if floating else starts[name])
        return self._scratch


def avatar_person(avatar: Avatar, folder: Path) -> Person:
    """A fitted person at rest: the code 0, upright at the origin."""
    model, solution = avatar.model, avatar.solution
    return Person(
        name=display_name(folder),
        model=model,
        rendering=avatar.rendering,
        z_id=solution.z_id.detach(),
        z_e=torch.zeros_like(solution.z_e[:1]),
        pose=Pose.identity(),
        prior=avatar.description["prior"]["sha256"],
        bank=TrainingBank(
            codes=torch.zeros(0, model.config.expression), lights=torch.zeros(0, model.config.light_directions, 3)
        ),
        photo_expression=solution.z_e[:1].detach(),
        photo_light=Light(
            positions=model.light_sphere.directions.double().numpy(),
            irradiance=(solution.light.detach() * model.light_sphere.solid_angle).double().numpy(),
        ),
    )


def check_one_prior(people: Sequence[Person]) -> None:
    """Raises VrmmError where the codes of the people do not mean the same."""
    for person in people[1:]:
        if person.prior != people[0].prior:
            raise VrmmError(
                f"{people[0].name} and {person.name} are of different priors (weights {people[0].prior[:12]}… and "
                f"{person.prior[:12]}…), whose codes have nothing in common; fit or train them with one"
            )


def run_folder(folder: Path) -> Path:
    """The run that a folder stands for: itself, or the prior of a demo."""
    return folder / "prior" if (folder / "demo.json").is_file() else folder


def _parted(text: str) -> tuple[Path, str]:
    """Folder and name of ``FOLDER`` or ``FOLDER:NAME``. Raises VrmmError where there is no such folder."""
    folder, colon, name = text.rpartition(":")
    if Path(text).exists() or not colon:
        folder, name = text, ""
    if not Path(folder).is_dir():
        raise VrmmError(f"{folder} does not exist; name a run folder, RUN:SUBJECT, RUN:random or an avatar")
    return run_folder(Path(folder)), name
