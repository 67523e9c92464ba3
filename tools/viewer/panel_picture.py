"""Controls of the picture: what is shown, A/B against captured frames, screenshot and command line."""

import html
from collections.abc import Callable
from typing import Any

from tools.viewer.source import Source
from tools.viewer.state import Colour, Compare, Comparison, Show, ViewState

COPY = (
    "const words=this.previousElementSibling,range=document.createRange();range.selectNodeContents(words);"
    "getSelection().removeAllRanges();getSelection().addRange(range);"
    "this.textContent=document.execCommand('copy')?'Copied':'Press ctrl-C';"
)
"""Runs in the browser; works without https, where the clipboard interface is not there."""


class ComparePanel:
    """A captured frame beside the model; nothing where there is no capture. Final."""

    def __init__(self, gui: Any, source: Source, state: Comparison, changed: Callable[[], None]) -> None:
        self._captured, self._changed = source.captured, changed
        if source.captured is None:
            gui.add_markdown(f"*Nothing to compare with: {source.without_captured}.*")
            return
        keys = source.captured.keys
        subject, place = self._locate(state.frame)
        self._mode = gui.add_dropdown("Show", [mode.value for mode in Compare], initial_value=state.mode.value)
        self._wipe = gui.add_slider("Edge", 0.0, 1.0, 0.01, float(state.wipe))
        self._subject = gui.add_dropdown("Captured person", list(keys), initial_value=subject)
        longest = max(len(frames) for frames in keys.values())
        self._place = gui.add_slider("Captured frame", 0, max(longest - 1, 1), 1, place)
        cameras = source.captured.cameras
        camera = state.camera if state.camera in cameras else cameras[0]
        self._camera = gui.add_dropdown("Captured by", list(cameras), initial_value=camera)
        gui.add_markdown("*Camera, lamps, expression and pose are then those of the captured frame.*")
        for control in (self._mode, self._wipe, self._subject, self._place, self._camera):
            control.on_update(lambda _: changed())

    def read(self) -> Comparison:
        if self._captured is None or Compare(self._mode.value) is Compare.OFF:
            return Comparison()
        frames = self._captured.keys[self._subject.value]
        return Comparison(
            mode=Compare(self._mode.value),
            frame=frames[min(int(self._place.value), len(frames) - 1)],
            camera=self._camera.value,
            wipe=float(self._wipe.value),
        )

    def _locate(self, key: str) -> tuple[str, int]:
        """Subject and number of a frame; the first where there is no such frame."""
        assert self._captured is not None
        for subject, frames in self._captured.keys.items():
            if key in frames:
                return subject, frames.index(key)
        return next(iter(self._captured.keys)), 0


class PicturePanel:
    """Head or boxes, background, and what can be taken away. Final."""

    def __init__(
        self,
        gui: Any,
        state: ViewState,
        changed: Callable[[], None],
        *,
        screenshot: Callable[[], None],
        command: Callable[[], str],
        reset_camera: Callable[[], None],
    ) -> None:
        self._show = gui.add_dropdown("Primitives", [show.value for show in Show], initial_value=state.show.value)
        self._background = gui.add_rgb("Background", state.background)
        self._status = gui.add_markdown("")
        gui.add_button("Reset camera").on_click(lambda _: reset_camera())
        gui.add_button("Screenshot").on_click(lambda _: screenshot())
        button = gui.add_button("Command line of this picture")
        words = gui.add_html("", visible=False)

        def write(_: Any) -> None:
            words.content = _copyable(command())
            words.visible = True

        button.on_click(write)
        self._show.on_update(lambda _: changed())
        self._background.on_update(lambda _: changed())

    @property
    def show(self) -> Show:
        return Show(self._show.value)

    @property
    def background(self) -> Colour:
        red, green, blue = self._background.value
        return red, green, blue

    def tell(self, line: str) -> None:
        """A line of status."""
        self._status.content = line


def _copyable(line: str) -> str:
    code = (
        '<code id="vrmm-command" style="display:block;user-select:all;white-space:pre-wrap;word-break:break-all;'
        f'font-size:0.8em;padding:0.5em">{html.escape(line)}</code>'
    )
    return f'{code}<button style="margin:0 0.5em 0.5em" onclick="{html.escape(COPY)}">Copy</button>'
