"""The interface of parametric heads that the light stage can render."""

import dataclasses
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One mesh of a head with one material.

    Attributes:
        name: for example ``"skin"``, ``"eye_left"``, ``"teeth"``, ``"tongue"``, ``"hair"``.
        material: key of ``Appearance.materials``.
        faces: [F, 3] vertex indices, counter-clockwise from outside.
        uv: [V, 2] texture coordinates in [0, 1] (vertices on a seam are duplicated).
        smooth: average normals over faces.
    """

    name: str
    material: str
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "V 2"]
    smooth: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """A rough dielectric over a diffuse base (Mitsuba's ``principled``), textures are linear RGB.

    Attributes:
        albedo: [H, W, 3] linear reflectance; row 0 is v = 1 (the top of the image).
        roughness: microfacet roughness in (0, 1].
        specular: strength of the dielectric lobe in [0, 1].
    """

    albedo: Float[np.ndarray, "H W 3"]
    roughness: float
    specular: float


@runtime_checkable
class Person(Protocol):
    """Whoever a head model can show: a ``Subject``, or someone between two of them."""

    @property
    def identity(self) -> Float[np.ndarray, "I"]:
        """Shape coefficients."""
        ...

    def materials(self, model: "HeadModel") -> dict[str, Material]:
        """Materials by name."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A person of a head model: shape coefficients, and the seed of the appearance.

    Attributes:
        name: unique in a capture.
        identity: [I] coefficients, standard normal over the population.
        appearance_seed: skin tone, lips, brows, irises and hair follow from it.
        tone: skin tone in [0, 1] from the lightest to the darkest, so that a capture can cover the range evenly.
    """

    name: str
    identity: Float[np.ndarray, "I"]
    appearance_seed: int
    tone: float

    def materials(self, model: "HeadModel") -> dict[str, Material]:
        """Those that the model paints from the seed and the tone."""
        return model.materials(self)


class HeadModel(ABC):
    """Neutral head + identity basis + expression basis, with landmarks, UVs and materials.

    Shapes are in the head frame, metres (see ``datasets.capture``).
    """

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Topology of every mesh; fixed for all subjects and expressions."""

    @property
    @abstractmethod
    def identity_names(self) -> tuple[str, ...]:
        """Name of each identity direction; coefficients are standard normal."""

    @property
    @abstractmethod
    def expression_names(self) -> tuple[str, ...]:
        """Name of each expression control; values lie in [0, 1]. ARKit names where they apply."""

    @abstractmethod
    def shape(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> dict[str, Float[np.ndarray, "V 3"]]:
        """Vertices of every part by name, head frame, metres."""

    @abstractmethod
    def landmarks(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> Float[np.ndarray, "68 3"]:
        """The Multi-PIE 68 points on the surface, head frame, metres."""

    @abstractmethod
    def materials(self, subject: Subject) -> dict[str, Material]:
        """The subject's materials by name; a pure function of the subject."""

    def neutral_expression(self) -> Float[np.ndarray, "E"]:
        """All controls at rest."""
        return np.zeros(len(self.expression_names))
