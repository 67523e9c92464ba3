"""Directions of the expression code that a person can steer by: leading ones of a population, and named controls."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from prior.vrmm import VRMM
from tools.viewer.state import Amounts

LEADING = 8
"""Directions that get a slider."""
RIDGE = 0.05
"""Of the regression from controls to codes, in mean variances of a control: rare controls must not explode."""
FEWEST_FRAMES = 3
"""A control that moves in fewer training frames is not learnt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpressionSpace:
    """How sliders become an expression code.

    Attributes:
        rest: [E] the code that the sliders start from.
        directions: [K, E] one standard deviation along each leading direction, the largest first.
        controls: [E] by name, what a control at 1 adds.
        origin: one line for people: where the directions come from.
        without_controls: one line for people: why there are no named controls, or empty.
    """

    rest: Float[Tensor, "E"]
    directions: Float[Tensor, "K E"]
    controls: dict[str, Tensor]
    origin: str
    without_controls: str = ""

    def code(self, start: Float[Tensor, "E"], expression: Amounts, controls: Amounts) -> Float[Tensor, "E"]:
        """The start, moved along numbered directions and by named controls.

        Raises:
            VrmmError: a direction or a control that is not there.
        """
        code = start.clone()
        for name, amount in expression:
            number = int(name) if name.isdecimal() else 0
            if not 1 <= number <= len(self.directions):
                raise VrmmError(f"there is no expression direction {name}; there are 1 to {len(self.directions)}")
            code += amount * self.directions[number - 1]
        for name, amount in controls:
            if name not in self.controls:
                known = f"there are {', '.join(self.controls)}" if self.controls else self.without_controls
                raise VrmmError(f"there is no expression control {name}; {known}")
            code += amount * self.controls[name]
        return code


def leading_directions(codes: Float[Tensor, "N E"]) -> Float[Tensor, "K E"]:
    """One standard deviation along each principal direction of the codes; the largest component is positive."""
    centred = codes - codes.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    signs = torch.gather(directions, 1, directions.abs().argmax(dim=1, keepdim=True)).sign()
    scaled = signs * directions * (sizes / max(len(codes) - 1, 1) ** 0.5)[:, None]
    return scaled[: min(LEADING, codes.shape[1])]


def stored_space(
    codes: Float[Tensor, "N E"], values: Float[np.ndarray, "N C"] | None, names: Sequence[str], why_none: str
) -> ExpressionSpace:
    """Directions of stored codes, and controls where their values in the same frames are known.

    Args:
        codes: of training frames.
        values: of the head model's controls in those frames, or None.
        names: of the controls.
        why_none: one line for people, used where there are no values.
    """
    directions = leading_directions(codes)
    origin = f"principal directions of {len(codes)} training frames, in standard deviations"
    if values is None:
        return ExpressionSpace(
            rest=codes.mean(dim=0), directions=directions, controls={}, origin=origin, without_controls=why_none
        )
    rest, controls = fit_controls(codes, values, names)
    why = "" if controls else "no control moves in enough training frames"
    return ExpressionSpace(rest=rest, directions=directions, controls=controls, origin=origin, without_controls=why)


def plain_space(model: VRMM, why: str) -> ExpressionSpace:
    """The code's own axes, for a model without stored codes: the KL term keeps codes near a unit Gaussian."""
    count = model.config.expression
    return ExpressionSpace(
        rest=torch.zeros(count),
        directions=torch.eye(count)[: min(LEADING, count)],
        controls={},
        origin=f"axes of the expression code ({why})",
        without_controls=why,
    )


def fit_controls(
    codes: Float[Tensor, "N E"], values: Float[np.ndarray, "N C"], names: Sequence[str]
) -> tuple[Float[Tensor, "E"], dict[str, Tensor]]:
    """The code at rest and what each control adds to it, by ridge regression over frames.

    Controls that move together in every frame (say, of the left and the right eye) are one, named by what their
    names share.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for column in range(values.shape[1]):
        if np.count_nonzero(values[:, column]) >= FEWEST_FRAMES:
            groups[values[:, column].tobytes()].append(column)
    columns = [group[0] for group in groups.values()]
    if not columns:
        return codes.mean(dim=0), {}
    inputs, outputs = values[:, columns].astype(np.float64), codes.double().numpy()
    means = inputs.mean(axis=0), outputs.mean(axis=0)
    centred = inputs - means[0]
    penalty = RIDGE * len(inputs) * centred.var(axis=0).mean() * np.eye(len(columns))
    effect = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (outputs - means[1]))
    labels = [_shared_name([names[column] for column in group]) for group in groups.values()]
    rest = torch.tensor(means[1] - means[0] @ effect, dtype=codes.dtype)
    return rest, {label: torch.tensor(row, dtype=codes.dtype) for label, row in zip(labels, effect, strict=True)}


def _shared_name(names: Sequence[str]) -> str:
    """``eyeBlink`` for ``eyeBlink_L`` and ``eyeBlink_R``, otherwise the names with + between them."""
    stems = {name.rpartition("_")[0] or name for name in names}
    return stems.pop() if len(names) == 2 and len(stems) == 1 else "+".join(names)
