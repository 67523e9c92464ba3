"""Head models by name, and people drawn from them."""

from pathlib import Path

import numpy as np

from datasets.lightstage.head import HeadModel, Subject

PROCEDURAL = "procedural"


def load_head_model(spec: str) -> HeadModel:
    """A head model for the light stage.

    Args:
        spec: ``"procedural"`` for the project's own head, or the path of an ICT Face Model ``.npz`` or of an
            ICT-FaceKit checkout.

    Raises:
        VrmmError: the path does not exist or does not hold an ICT Face Model.
    """
    if spec == PROCEDURAL:
        from datasets.lightstage.procedural import ProceduralHead

        return ProceduralHead()
    from datasets.lightstage.ict import ICTHead
    from datasets.lightstage.ict_files import read_ict

    return ICTHead(read_ict(Path(spec).expanduser()))


def expression_names(spec: str) -> tuple[str, ...]:
    """The controls of a head model, as ``load_head_model(spec).expression_names``, without building the head.

    Raises:
        VrmmError: as ``load_head_model``.
    """
    if spec == PROCEDURAL:
        from datasets.lightstage.procedural_expressions import NAMES

        return NAMES
    return load_head_model(spec).expression_names


def make_subject(model: HeadModel, name: str, seed: int, tone: float) -> Subject:
    """A person: standard normal identity clipped to ±2, a pure function of the arguments.

    Args:
        model: where the identity lives.
        name: unique in a capture.
        seed: draws the identity and the appearance.
        tone: skin tone in [0, 1], lightest to darkest.
    """
    random = np.random.default_rng(seed)
    identity = np.clip(random.standard_normal(len(model.identity_names)), -2.0, 2.0)
    return Subject(name=name, identity=identity, appearance_seed=int(random.integers(2**31)), tone=float(tone))
