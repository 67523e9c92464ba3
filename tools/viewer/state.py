"""Everything that a picture of the viewer depends on, apart from the model's weights and its own size."""

import dataclasses
import enum
from typing import Any, TypeVar

Vector = tuple[float, float, float]
Colour = tuple[int, int, int]
Amounts = tuple[tuple[str, float], ...]
"""Values by name, in the order in which they were given."""

DECIMALS = 5
"""Numbers of a state are rounded to so many decimals before they are drawn: then they can be written down whole."""

_T = TypeVar("_T")


class Start(enum.Enum):
    """The expression that the sliders start from."""

    REST = "rest"
    PHOTO = "photo"


class LightKind(enum.Enum):
    """Where the light comes from: one lamp, an environment map, or what was fitted to the photos."""

    LAMP = "lamp"
    ENVIRONMENT = "environment"
    FITTED = "fitted"


class Show(enum.Enum):
    """The head, its primitives as boxes, or the head under the boxes' edges."""

    HEAD = "head"
    BOXES = "boxes"
    OUTLINES = "outlines"


class Compare(enum.Enum):
    """Nothing; a captured frame's model or truth; both with an edge between them; their difference."""

    OFF = "off"
    MODEL = "model"
    TRUTH = "truth"
    WIPE = "wipe"
    ERROR = "error"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orbit:
    """The camera, world frame.

    Attributes:
        eye, target: metres.
        up: any vector that does not look along the view.
        fov: angle across the picture's height, degrees.
    """

    eye: Vector = (0.0, 0.05, 1.0)
    target: Vector = (0.0, 0.0, 0.0)
    up: Vector = (0.0, 1.0, 0.0)
    fov: float = 19.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lighting:
    """The light, world frame.

    Attributes:
        kind: which of the following counts.
        azimuth, elevation: of the lamp, degrees; azimuth 0 is in front of the face, positive to its left.
        fill: share of the lamp's power that comes from everywhere instead; 0 is one light at a time.
        environment: name of a made-up place, or the path of a lat-long map.
        turn: of the environment about the vertical, degrees; what was ahead then comes from so far to the left.
        intensity: 1 is as bright as the training frames were lit.
        colour: sRGB, 0 to 255; multiplies the light.
    """

    kind: LightKind = LightKind.LAMP
    azimuth: float = 35.0
    elevation: float = 30.0
    fill: float = 0.25
    environment: str = "studio"
    turn: float = 0.0
    intensity: float = 1.0
    colour: Colour = (255, 255, 255)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A/B against a captured frame.

    Attributes:
        mode: what is shown.
        frame: key of the frame.
        camera: name.
        wipe: where the edge stands, 0 to 1 from the left; the model is to its left.
    """

    mode: Compare = Compare.OFF
    frame: str = ""
    camera: str = ""
    wipe: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewState:
    """What is shown and how.

    Attributes:
        identity: weight of each person; they are normalised. Empty: the first person.
        expression: standard deviations along numbered directions ("1" is the leading one), added to the start.
        controls: named controls, 0 to 1, added too.
        start: where the expression starts without a curve.
        frame: of the animation curve, which then gives the start and the head pose; None without.
        background: sRGB, 0 to 255.
    """

    orbit: Orbit = Orbit()
    lighting: Lighting = Lighting()
    comparison: Comparison = Comparison()
    identity: Amounts = ()
    expression: Amounts = ()
    controls: Amounts = ()
    start: Start = Start.REST
    frame: int | None = None
    show: Show = Show.HEAD
    background: Colour = (32, 33, 36)

    def snapped(self) -> "ViewState":
        """The same with every number rounded as the options write it, and without amounts of 0."""
        state = _rounded(self)
        kept = {name: _nonzero(getattr(state, name)) for name in ("identity", "expression", "controls")}
        return dataclasses.replace(state, **kept)


def _nonzero(amounts: Amounts) -> Amounts:
    return tuple((name, value) for name, value in amounts if value != 0.0)


def _rounded(value: _T) -> _T:
    result: Any = value
    if isinstance(value, float):
        result = round(value, DECIMALS) + 0.0  # no negative zero
    elif isinstance(value, tuple):
        result = tuple(_rounded(part) for part in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _rounded(getattr(value, field.name)) for field in dataclasses.fields(value)}
        result = type(value)(**parts)
    return result
