"""Controls of the person: identity blend, expression, playback."""

import time
from collections.abc import Callable
from typing import Any

from prior.animation import AnimationCurve
from tools.viewer.source import Source
from tools.viewer.state import Amounts, Start, ViewState

Changed = Callable[[], None]

SLOTS = 3
"""Identities that can be blended at once."""
REACH = 3.0
"""Standard deviations to each side."""


class IdentityPanel:
    """A few people and their weights. Final."""

    def __init__(self, gui: Any, source: Source, state: ViewState, changed: Changed) -> None:
        names = list(source.identities)
        shown = list(state.identity) or [(names[0], 1.0)]
        spare = [name for name in names if name not in dict(shown)]
        shown += [(name, 0.0) for name in spare[: max(SLOTS - len(shown), 0)]]
        self._rows: list[tuple[Any, Any]] = []
        for index, (name, weight) in enumerate(shown):
            person = gui.add_dropdown(f"Person {index + 1}", names, initial_value=name)
            low, high = min(0.0, weight), max(1.0, weight)
            amount = gui.add_slider(f"Weight {index + 1}", low, high, 0.01, float(weight))
            self._rows.append((person, amount))
            for control in (person, amount):
                control.on_update(lambda _: changed())

    def read(self) -> Amounts:
        """The weights; nothing where all are 0, which means the first person."""
        return tuple((person.value, float(amount.value)) for person, amount in self._rows if amount.value)


class ExpressionPanel:
    """Where the expression starts, sliders along leading directions, named controls. Final."""

    def __init__(self, gui: Any, source: Source, state: ViewState, changed: Changed) -> None:
        space, self._changed = source.expressions, changed
        starts = [Start.REST.value] + ([Start.PHOTO.value] if source.photo is not None else [])
        self._start = gui.add_dropdown("Start", starts, initial_value=state.start.value)
        self._start.on_update(lambda _: changed())
        gui.add_markdown(f"*{space.origin}*")
        given, controls = dict(state.expression), dict(state.controls)
        self._directions = {
            str(number): self._slider(gui, f"Direction {number}", REACH, float(given.get(str(number), 0.0)))
            for number in range(1, len(space.directions) + 1)
        }
        self._controls: dict[str, Any] = {}
        with gui.add_folder("Named controls", expand_by_default=bool(controls)):
            if space.without_controls:
                gui.add_markdown(f"*None: {space.without_controls}.*")
            for name in space.controls:
                value = float(controls.get(name, 0.0))
                self._controls[name] = self._slider(gui, name, 1.0, value, lowest=0.0)
        gui.add_button("Reset expression").on_click(lambda _: self._reset())

    def _slider(self, gui: Any, label: str, reach: float, value: float, lowest: float | None = None) -> Any:
        low = min(-reach if lowest is None else lowest, value)
        slider = gui.add_slider(label, low, max(reach, value), 0.01, value)
        slider.on_update(lambda _: self._changed())
        return slider

    def _reset(self) -> None:
        for slider in (*self._directions.values(), *self._controls.values()):
            slider.value = 0.0

    @property
    def start(self) -> Start:
        return Start(self._start.value)

    def expression(self) -> Amounts:
        return tuple((name, float(slider.value)) for name, slider in self._directions.items())

    def controls(self) -> Amounts:
        return tuple((name, float(slider.value)) for name, slider in self._controls.items())


class PlaybackPanel:
    """The frame of an animation curve, by hand or by the clock; nothing where there is no curve. Final."""

    def __init__(self, gui: Any, source: Source, state: ViewState, changed: Changed) -> None:
        self._player = None if source.curve is None else _Player(gui, source.curve, state, changed)
        if source.curve is None:
            gui.add_markdown("*Name a curve with `--curve FILE.npz` to play it.*")

    @property
    def seconds(self) -> float:
        """Between two frames while it plays, else 0."""
        return 0.0 if self._player is None else self._player.seconds

    def frame(self) -> int | None:
        """The frame to show now, or None where the curve is not followed."""
        return None if self._player is None else self._player.frame()


class _Player:
    def __init__(self, gui: Any, curve: AnimationCurve, state: ViewState, changed: Changed) -> None:
        self._curve, self._changed, self._began = curve, changed, 0.0
        self._use = gui.add_checkbox("Follow the curve", state.frame is not None)
        self._play = gui.add_checkbox("Play", False)
        self._frame = gui.add_slider("Frame", 0, max(len(curve) - 1, 1), 1, state.frame or 0)
        gui.add_markdown(f"*{len(curve)} frames, {curve.seconds:.1f} s at {curve.fps:g} a second*")
        self._use.on_update(lambda _: changed())
        self._frame.on_update(lambda _: changed())
        self._play.on_update(lambda _: self._switched())

    @property
    def seconds(self) -> float:
        return 1.0 / self._curve.fps if self._play.value else 0.0

    def frame(self) -> int | None:
        if not self._use.value:
            return None
        if self._play.value:
            return self._curve.frame_at(time.monotonic() - self._began)
        return min(int(self._frame.value), len(self._curve) - 1)

    def _switched(self) -> None:
        """On: go on from the slider. Off: the slider shows where it stopped."""
        now = time.monotonic()
        if self._play.value:
            self._began = now - self._frame.value / self._curve.fps
            self._use.value = True
        else:
            self._frame.value = self._curve.frame_at(now - self._began)
        self._changed()
