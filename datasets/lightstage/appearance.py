"""What a subject looks like: colours drawn from the appearance seed and the skin tone. All colours are linear RGB."""

import dataclasses

import numpy as np
from jaxtyping import Float

SKIN_ROUGHNESS, SKIN_SPECULAR = 0.45, 0.35
EYE_ROUGHNESS, EYE_SPECULAR = 0.08, 0.5
TEETH_ROUGHNESS, TEETH_SPECULAR = 0.25, 0.5
WET_ROUGHNESS, WET_SPECULAR = 0.35, 0.5
HAIR_ROUGHNESS, HAIR_SPECULAR = 0.5, 0.35

# Diffuse reflectance of human skin from the lightest to the darkest, equally spaced in tone.
_SKIN = np.array(
    [
        [0.660, 0.455, 0.365],
        [0.575, 0.360, 0.260],
        [0.455, 0.262, 0.172],
        [0.315, 0.170, 0.104],
        [0.180, 0.093, 0.057],
        [0.082, 0.046, 0.033],
    ]
)
# Reflectance of hair: black, dark brown, brown, auburn, red, blond, grey, white.
_HAIR = np.array(
    [
        [0.012, 0.010, 0.009],
        [0.030, 0.019, 0.013],
        [0.085, 0.046, 0.024],
        [0.110, 0.040, 0.018],
        [0.260, 0.085, 0.025],
        [0.380, 0.240, 0.105],
        [0.240, 0.235, 0.230],
        [0.520, 0.510, 0.490],
    ]
)
_HAIR_ODDS_LIGHT = np.array([0.06, 0.18, 0.26, 0.10, 0.10, 0.18, 0.08, 0.04])
_HAIR_ODDS_DARK = np.array([0.74, 0.14, 0.02, 0.01, 0.00, 0.00, 0.06, 0.03])
# Reflectance of irises: dark brown, brown, hazel, green, grey, blue.
_IRIS = np.array(
    [
        [0.050, 0.022, 0.010],
        [0.120, 0.055, 0.022],
        [0.170, 0.110, 0.040],
        [0.130, 0.165, 0.075],
        [0.200, 0.225, 0.235],
        [0.120, 0.220, 0.340],
    ]
)
_IRIS_ODDS_LIGHT = np.array([0.08, 0.20, 0.18, 0.16, 0.16, 0.22])
_IRIS_ODDS_DARK = np.array([0.70, 0.26, 0.04, 0.00, 0.00, 0.00])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """The colours and densities of one person.

    Attributes:
        skin, lip, hair, iris, sclera, teeth, gum: [3] linear RGB reflectance.
        brow, stubble, freckles, blush: strengths in [0, 1].
        noise_seed: seed of the fine texture.
    """

    skin: Float[np.ndarray, "3"]
    lip: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    iris: Float[np.ndarray, "3"]
    sclera: Float[np.ndarray, "3"]
    teeth: Float[np.ndarray, "3"]
    gum: Float[np.ndarray, "3"]
    brow: float
    stubble: float
    freckles: float
    blush: float
    noise_seed: int


def skin_reflectance(tone: float) -> Float[np.ndarray, "3"]:
    """Linear RGB reflectance of skin, geometric between measured-like anchors; tone 0 lightest, 1 darkest."""
    stations = np.linspace(0.0, 1.0, len(_SKIN))
    return np.exp([np.interp(np.clip(tone, 0.0, 1.0), stations, np.log(_SKIN[:, c])) for c in range(3)])


def draw_look(appearance_seed: int, tone: float) -> Look:
    """A person's colours: a pure function of the seed and the tone, monotone in tone for a fixed seed."""
    random = np.random.default_rng([appearance_seed, 7001])
    undertone = random.normal(0.0, 0.035)
    skin = skin_reflectance(tone) * np.exp([undertone, -0.3 * undertone, -undertone])
    lip_strength = random.uniform(0.75, 1.25)
    lip = skin * np.exp(lip_strength * np.array([-0.16, -0.62, -0.50]))
    hair = _draw(random, _HAIR, _HAIR_ODDS_LIGHT, _HAIR_ODDS_DARK, tone) * np.exp(random.normal(0.0, 0.12))
    iris = _draw(random, _IRIS, _IRIS_ODDS_LIGHT, _IRIS_ODDS_DARK, tone) * np.exp(random.normal(0.0, 0.1))
    stubble, freckles = random.uniform(size=2)
    return Look(
        skin=skin,
        lip=lip,
        hair=np.clip(hair, 0.008, 0.7),
        iris=iris,
        sclera=np.array([0.66, 0.62, 0.58]) * random.uniform(0.9, 1.05),
        teeth=np.array([0.66, 0.61, 0.50]) * random.uniform(0.85, 1.08),
        gum=np.array([0.42, 0.15, 0.14]) * (0.75 + 0.25 * (1.0 - tone)) * random.uniform(0.85, 1.1),
        brow=random.uniform(0.75, 1.0),
        stubble=max(0.0, stubble - 0.55) / 0.45,
        freckles=max(0.0, freckles - 0.7) / 0.3 * float(np.clip(1.4 - 2.5 * tone, 0.0, 1.0)),
        blush=random.uniform(0.4, 1.0),
        noise_seed=int(random.integers(2**31)),
    )


def _draw(
    random: np.random.Generator, colours: np.ndarray, light: np.ndarray, dark: np.ndarray, tone: float
) -> np.ndarray:
    """A colour whose odds go from those of light to those of dark skin, by inverting the cumulative odds."""
    weight = float(np.clip((tone - 0.25) / 0.4, 0.0, 1.0))
    odds = (1.0 - weight) * light + weight * dark
    return colours[min(int(np.searchsorted(np.cumsum(odds), random.uniform())), len(colours) - 1)]
