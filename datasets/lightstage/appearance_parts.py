"""Textures of everything that is not skin: eyes, teeth, mouth, hair."""

import numpy as np
from jaxtyping import Float

from datasets.lightstage import appearance
from datasets.lightstage.appearance import Look
from datasets.lightstage.head import Material


def paint_eye(
    angle: Float[np.ndarray, "H W"], turn: Float[np.ndarray, "H W"], iris_angle: float, look: Look
) -> Float[np.ndarray, "H W 3"]:
    """Sclera, iris with fibres and limbal ring, pupil.

    Args:
        angle: angle (radians) between the texel's direction from the eyeball's centre and the gaze axis.
        turn: angle around the gaze axis.
        iris_angle: half-angle (radians) that the iris spans, seen from the centre of the eyeball.
    """
    random = np.random.default_rng([look.noise_seed, 1])
    waves = [0.5 * np.sin(n * turn + random.uniform(0.0, 6.3) + 5.0 * angle) for n in (7, 11, 17, 23)]
    veins = np.sum(waves, axis=0)
    redness = np.clip((angle - 0.6) / 0.8, 0.0, 1.0)[..., None] * np.array([0.0, -0.35, -0.35])
    albedo = look.sclera * np.exp(redness * (1.0 + 0.15 * veins[..., None]))
    fibres = sum(np.sin(n * turn + random.uniform(0.0, 6.3)) for n in (19, 31, 47, 71)) / 4.0
    radius = angle / iris_angle
    collarette = np.exp(-(((radius - 0.5) / 0.12) ** 2))
    iris = look.iris * (1.0 + 0.35 * fibres + 0.5 * collarette - 0.25 * radius)[..., None]
    ring = 1.0 - 0.75 * np.exp(-(((radius - 0.98) / 0.10) ** 2))
    inside = np.clip((1.0 - radius) / 0.08 + 0.5, 0.0, 1.0)
    albedo = (albedo + inside[..., None] * (iris - albedo)) * ring[..., None]
    pupil = np.clip((0.38 - radius) / 0.05 + 0.5, 0.0, 1.0)
    return np.clip(albedo * (1.0 - 0.985 * pupil[..., None]), 0.002, 0.9)


def eye_material(
    angle: Float[np.ndarray, "H W"], turn: Float[np.ndarray, "H W"], iris_angle: float, look: Look
) -> Material:
    """The wet eyeball; arguments as ``paint_eye``."""
    albedo = paint_eye(angle, turn, iris_angle, look)
    return Material(albedo=albedo, roughness=appearance.EYE_ROUGHNESS, specular=appearance.EYE_SPECULAR)


def skin_material(albedo: Float[np.ndarray, "H W 3"]) -> Material:
    """Skin with a painted albedo."""
    return Material(albedo=albedo, roughness=appearance.SKIN_ROUGHNESS, specular=appearance.SKIN_SPECULAR)


def wet_material(colour: Float[np.ndarray, "3"], look: Look, size: int = 64) -> Material:
    """Tongue, gums, mouth lining: a slightly uneven wet colour."""
    random = np.random.default_rng([look.noise_seed, 2])
    albedo = colour * np.exp(0.06 * random.normal(size=(size, size)))[..., None]
    return Material(albedo=albedo, roughness=appearance.WET_ROUGHNESS, specular=appearance.WET_SPECULAR)


def teeth_material(albedo: Float[np.ndarray, "H W 3"]) -> Material:
    """Enamel with a painted albedo."""
    return Material(albedo=albedo, roughness=appearance.TEETH_ROUGHNESS, specular=appearance.TEETH_SPECULAR)


def hair_material(positions: Float[np.ndarray, "H W 3"], look: Look) -> Material:
    """Strands that run from the crown downwards.

    Args:
        positions: where each texel of the hair shell lies on the average head, head frame, metres.
    """
    random = np.random.default_rng([look.noise_seed, 3])
    azimuth = np.arctan2(positions[..., 0], positions[..., 2])
    strands = np.zeros(positions.shape[:2])
    for frequency in (37, 61, 97, 149, 211, 307):
        bend = random.uniform(-40.0, 40.0)
        phase = random.uniform(0.0, 6.3)
        strands += np.sin(
            frequency * azimuth + bend * positions[..., 1] + 2.0 * np.sin(55.0 * positions[..., 1]) + phase
        )
    log_albedo = 0.16 * strands + 0.15 * random.normal(size=strands.shape)
    albedo = np.clip(look.hair * np.exp(log_albedo)[..., None], 0.004, 0.8)
    return Material(albedo=albedo, roughness=appearance.HAIR_ROUGHNESS, specular=appearance.HAIR_SPECULAR)
