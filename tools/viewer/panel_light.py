"""Controls of the light."""

from collections.abc import Callable
from typing import Any

import numpy as np

from datasets.lightstage.environment import environment_names
from tools.viewer.lights import angles, toward
from tools.viewer.source import Source
from tools.viewer.state import Lighting, LightKind


class LightPanel:
    """Lamp, environment map or the photos' light; its intensity and colour. Final."""

    def __init__(self, gui: Any, source: Source, light: Lighting, changed: Callable[[], None]) -> None:
        kinds = [kind.value for kind in LightKind if kind is not LightKind.FITTED or source.fitted_light is not None]
        self._kind = gui.add_dropdown("Light", kinds, initial_value=light.kind.value)
        self._intensity = gui.add_slider("Intensity", 0.0, max(4.0, light.intensity), 0.01, float(light.intensity))
        self._colour = gui.add_rgb("Colour", light.colour)
        self._lamp = gui.add_folder("Lamp")
        with self._lamp:
            gui.add_markdown("*Click on the mirror ball: the lamp stands where its highlight is.*")
            self._azimuth = _angle(gui, "Azimuth", 180.0, light.azimuth)
            self._elevation = _angle(gui, "Elevation", 90.0, light.elevation)
            self._fill = gui.add_slider("From everywhere", 0.0, 1.0, 0.01, float(light.fill))
        self._map = gui.add_folder("Environment map")
        with self._map:
            places = list(dict.fromkeys([*environment_names(), light.environment]))
            self._environment = gui.add_dropdown("Place", places, initial_value=light.environment)
            self._turn = _angle(gui, "Turn", 180.0, light.turn)
        self._changed = changed
        for control in self._every():
            control.on_update(lambda _: self._updated())
        self._fold()

    def read(self) -> Lighting:
        red, green, blue = self._colour.value
        return Lighting(
            kind=LightKind(self._kind.value),
            azimuth=float(self._azimuth.value),
            elevation=float(self._elevation.value),
            fill=float(self._fill.value),
            environment=self._environment.value,
            turn=float(self._turn.value),
            intensity=float(self._intensity.value),
            colour=(red, green, blue),
        )

    @property
    def lamp(self) -> np.ndarray | None:
        """Unit vector towards the lamp, or None where no lamp burns."""
        if LightKind(self._kind.value) is not LightKind.LAMP:
            return None
        return toward(self._azimuth.value, self._elevation.value)

    def place_lamp(self, direction: np.ndarray) -> None:
        """Put the lamp somewhere else, and switch to it."""
        azimuth, elevation = angles(direction)
        self._kind.value = LightKind.LAMP.value
        self._azimuth.value, self._elevation.value = round(azimuth, 1), round(elevation, 1)

    def _every(self) -> tuple[Any, ...]:
        lamp = self._azimuth, self._elevation, self._fill
        return (self._kind, self._intensity, self._colour, *lamp, self._environment, self._turn)

    def _updated(self) -> None:
        self._fold()
        self._changed()

    def _fold(self) -> None:
        """Only what counts is shown."""
        kind = LightKind(self._kind.value)
        self._lamp.visible = kind is LightKind.LAMP
        self._map.visible = kind is LightKind.ENVIRONMENT


def _angle(gui: Any, label: str, reach: float, value: float) -> Any:
    return gui.add_slider(f"{label} (°)", min(-reach, value), max(reach, value), 0.1, float(value))
