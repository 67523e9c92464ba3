"""One client: its controls, its camera, its pictures."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from prior.pictures import png_bytes
from tools.viewer.ball import MirrorBall
from tools.viewer.drawing import Drawing, Wish
from tools.viewer.options import arguments, command_line
from tools.viewer.panel_light import LightPanel
from tools.viewer.panel_person import ExpressionPanel, IdentityPanel, PlaybackPanel
from tools.viewer.panel_picture import ComparePanel, PicturePanel
from tools.viewer.picture import Painter, Picture
from tools.viewer.session_config import SessionConfig
from tools.viewer.state import Compare, Orbit, ViewState
from tools.viewer.watch import Current

if TYPE_CHECKING:
    import viser

COARSE_QUALITY, FINE_QUALITY = 80, 95
"""Of the JPEGs that the page shows; a screenshot is a PNG."""
BALL, LAMP = "/vrmm/ball", "/vrmm/lamp"
LAMP_SIZE = 0.14
"""Of the highlight, in radii of the ball."""


class Session:
    """Everything of one client, until it is closed. Final.

    Args:
        client: connected.
        current: what is looked at.
        config: shared by all clients.
    """

    def __init__(self, client: "viser.ClientHandle", current: Current, config: SessionConfig) -> None:
        self._client, self._current, self._config = client, current, config
        self._drawing = Drawing(self._wish, self._show, self._complain, config.threads)
        self._complaint: Any = None
        self._lock = threading.Lock()
        self._ball: MirrorBall | None = None
        self._build()
        self._make_ball()
        self.reset_camera()
        client.camera.on_update(lambda _: self._moved())
        current.listen(self._drawing.poke)
        self._drawing.start()
        self._moved()

    def close(self) -> None:
        """Stop drawing; does not wait for the band that is under way."""
        self._current.forget(self._drawing.poke)
        self._drawing.close()

    def state(self) -> ViewState:
        """What the client's controls and camera say now."""
        return ViewState(
            orbit=self._orbit(),
            lighting=self._light.read(),
            comparison=self._compare.read(),
            identity=self._identity.read(),
            expression=self._expression.expression(),
            controls=self._expression.controls(),
            start=self._expression.start,
            frame=self._playback.frame(),
            show=self._picture.show,
            background=self._picture.background,
        ).snapped()

    def size(self) -> tuple[int, int]:
        """Of the finest picture: the page's, with at most ``finest`` rows."""
        camera = self._client.camera
        height = max(min(camera.image_height, self._config.finest), 16)
        return max(round(height * camera.aspect), 16), height

    def command(self) -> str:
        """The command line that draws what the client sees."""
        width, height = self.size()
        words = [*self._config.words, *arguments(self.state()), f"--size={width}x{height}", "--render=picture.png"]
        return command_line(words)

    def reset_camera(self) -> None:
        """Look as at the beginning."""
        camera, orbit = self._client.camera, self._config.state.orbit
        camera.up_direction, camera.fov = orbit.up, float(np.radians(orbit.fov))
        camera.position, camera.look_at = orbit.eye, orbit.target

    def _build(self) -> None:
        gui, source, state = self._client.gui, self._current.source, self._config.state
        tabs = gui.add_tab_group()
        changed: Callable[[], None] = self._drawing.poke
        with tabs.add_tab("Person"):
            self._identity = IdentityPanel(gui, source, state, changed)
        with tabs.add_tab("Expression"):
            self._expression = ExpressionPanel(gui, source, state, changed)
        with tabs.add_tab("Play"):
            self._playback = PlaybackPanel(gui, source, state, changed)
        with tabs.add_tab("Light"):
            self._light = LightPanel(gui, source, state.lighting, self._moved)
        with tabs.add_tab("A/B"):
            self._compare = ComparePanel(gui, source, state.comparison, self._moved)
        self._picture = PicturePanel(
            gui,
            state,
            changed,
            screenshot=self._screenshot,
            command=self.command,
            reset_camera=self.reset_camera,
        )

    def _orbit(self) -> Orbit:
        camera = self._client.camera
        eye, target, up = (
            (float(x), float(y), float(z)) for x, y, z in (camera.position, camera.look_at, camera.up_direction)
        )
        return Orbit(eye=eye, target=target, up=up, fov=float(np.degrees(camera.fov)))

    def _wish(self) -> Wish:
        width, height = self.size()
        return Wish(
            source=self._current.source,
            state=self.state(),
            width=width,
            height=height,
            seconds=self._playback.seconds,
        )

    def _show(self, wish: Wish, picture: Picture, finest: bool) -> None:
        quality = FINE_QUALITY if finest else COARSE_QUALITY
        self._client.scene.set_background_image(picture.pixels, format="jpeg", jpeg_quality=quality)
        self._withdraw()
        if finest or wish.seconds:
            self._picture.tell(_status(wish, picture))
        self._client.flush()

    def _complain(self, message: str) -> None:
        self._withdraw()
        self._complaint = self._client.add_notification("vrmm view", message, color="red", with_close_button=True)

    def _withdraw(self) -> None:
        if self._complaint is not None:
            self._complaint.remove()
            self._complaint = None

    def _screenshot(self) -> None:
        picture = Painter(self._current.source).paint(self.state(), *self.size())
        if picture is not None:
            self._client.send_file_download("picture.png", png_bytes(picture.pixels), save_immediately=True)

    def _moved(self) -> None:
        """Camera or lamp are elsewhere: the ball follows, and the picture."""
        with self._lock:
            self._hang_ball()
        self._drawing.poke()

    def _hang_ball(self) -> None:
        camera = self._client.camera
        distance = float(np.linalg.norm(camera.look_at - camera.position))
        self._ball = ball = MirrorBall(camera.position, _matrix(camera.wxyz), distance, camera.fov, camera.aspect)
        lamp, comparing = self._light.lamp, self._compare.read().mode is not Compare.OFF
        self._ball_node.visible = self._lamp_node.visible = lamp is not None and not comparing
        self._ball_node.position, self._ball_node.scale = tuple(ball.center), ball.radius
        if lamp is not None:
            self._lamp_node.position, self._lamp_node.scale = tuple(ball.highlight(lamp)), LAMP_SIZE * ball.radius

    def _make_ball(self) -> None:
        scene = self._client.scene
        self._ball_node = scene.add_icosphere(BALL, 1.0, color=(70, 72, 78), cast_shadow=False)
        self._lamp_node = scene.add_icosphere(LAMP, 1.0, color=(255, 214, 120), cast_shadow=False)
        self._ball_node.on_click(self._ball_clicked)

    def _ball_clicked(self, event: Any) -> None:
        ball = self._ball
        lamp = None if ball is None else ball.lamp(np.array(event.ray_origin), np.array(event.ray_direction))
        if lamp is not None:
            self._light.place_lamp(lamp)


def _status(wish: Wish, picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    words = [f"{width} × {height}"]
    if wish.source.step:
        words.insert(0, f"step {wish.source.step}")
    if picture.psnr is not None:
        words.append(f"{picture.psnr:.1f} dB in the mask")
    return "*" + " · ".join(words) + "*"


def _matrix(wxyz: np.ndarray) -> np.ndarray:
    """[3, 3] of a unit quaternion."""
    w, x, y, z = (float(value) for value in wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
