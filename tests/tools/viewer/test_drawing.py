"""The drawing thread: the newest wish wins, nothing is shown after closing, trouble ends nothing."""

import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from tools.viewer.drawing import Drawing, Wish
from tools.viewer.picture import Painter, Picture
from tools.viewer.source import Source
from tools.viewer.state import Lighting, ViewState

PATIENCE = 60.0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


class Client:
    """What one client wishes and is shown."""

    def __init__(self, source: Source) -> None:
        self.wish = Wish(source=source, state=ViewState(), width=240, height=200)
        self.seen: list[tuple[Wish, Picture, bool]] = []
        self.complaints: list[str] = []
        self.drawing = Drawing(lambda: self.wish, self._show, self.complaints.append, threads=1)
        self.drawing.start()

    def _show(self, wish: Wish, picture: Picture, finest: bool) -> None:
        self.seen.append((wish, picture, finest))

    def want(self, state: ViewState, seconds: float = 0.0) -> None:
        self.wish = dataclasses.replace(self.wish, state=state, seconds=seconds)
        self.drawing.poke()

    def finest_of(self, state: ViewState) -> bool:
        return any(wish.state is state and finest for wish, _, finest in list(self.seen))


@pytest.fixture
def client(source: Source):
    client = Client(source)
    yield client
    client.drawing.close()
    client.drawing.join(PATIENCE)
    assert not client.drawing.is_alive()


def lit_from(azimuth: float) -> ViewState:
    return ViewState(lighting=Lighting(azimuth=azimuth))


def test_coarse_first_and_the_finest_is_exact(client: Client, source: Source) -> None:
    client.drawing._pace.ray_seconds = 1e-4  # a slow machine
    state = lit_from(10.0)
    client.want(state)
    wait_for(lambda: client.finest_of(state))
    sizes = [picture.pixels.shape[:2] for _, picture, _ in client.seen]
    assert len(sizes) > 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == (200, 240)
    exact = Painter(source).paint(state, 240, 200)
    assert exact is not None
    assert np.array_equal(client.seen[-1][1].pixels, exact.pixels)


def test_the_newest_wish_is_the_last_picture(client: Client) -> None:
    states = [lit_from(float(azimuth)) for azimuth in range(40)]
    for state in states:
        client.want(state)
        time.sleep(0.002)
    wait_for(lambda: client.finest_of(states[-1]))
    shown = [states.index(wish.state) for wish, _, _ in client.seen]
    assert shown == sorted(shown), "an older wish was drawn after a newer one"
    assert shown[-1] == 39


def test_refinement_is_given_up_for_a_new_wish(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.drawing._pace.ray_seconds = 1e-4
    first, second = lit_from(1.0), lit_from(2.0)
    paint = Painter.paint

    def disturbed(self: Painter, state: ViewState, width: int, height: int, *rest):
        if state is first and width == 240:
            client.want(second)  # while the finest picture of the first is being drawn
        return paint(self, state, width, height, *rest)

    monkeypatch.setattr(Painter, "paint", disturbed)
    client.want(first)
    wait_for(lambda: client.finest_of(second))
    assert not client.finest_of(first)


def test_a_wish_that_cannot_be_drawn_is_told_and_the_next_one_is_drawn(client: Client) -> None:
    client.want(ViewState(identity=(("nobody", 1.0),)))
    wait_for(lambda: client.complaints)
    assert "no identity nobody" in client.complaints[0]
    good = lit_from(5.0)
    client.want(good)
    wait_for(lambda: client.finest_of(good))


def test_a_bug_is_told_to_the_client_and_the_terminal(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Painter, "paint", lambda *arguments: 1 / 0)
    client.want(lit_from(3.0))
    wait_for(lambda: client.complaints)
    assert "terminal" in client.complaints[0]
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.undo()
    good = lit_from(4.0)
    client.want(good)
    wait_for(lambda: client.finest_of(good))


def test_nothing_is_shown_to_a_client_that_left_mid_render(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    paint, inside = Painter.paint, threading.Event()

    def slow(self: Painter, *arguments):
        picture = paint(self, *arguments)
        client.drawing.close()
        inside.set()
        return picture

    monkeypatch.setattr(Painter, "paint", slow)
    client.want(lit_from(6.0))
    assert inside.wait(PATIENCE)
    client.drawing.join(PATIENCE)
    assert not client.drawing.is_alive()
    assert client.seen == []
    assert client.complaints == []


def test_a_playback_goes_on_by_itself_and_stays_coarse(client: Client) -> None:
    client.drawing._pace.ray_seconds = 1e-4
    client.want(lit_from(7.0), seconds=0.001)
    wait_for(lambda: len(client.seen) > 5)
    assert not any(finest for _, _, finest in client.seen)
    rest = lit_from(8.0)
    client.want(rest)
    wait_for(lambda: client.finest_of(rest))
