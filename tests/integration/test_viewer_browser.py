"""``vrmm view`` in a real browser: pictures, controls, reloads, several clients, what cannot work."""

import dataclasses
import io
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.fitting.tiny import tiny_model
from tests.integration.browser import Browser, missing_browser
from tests.prior.test_animation import make_curve
from tests.tools.viewer.made_up_run import make_run, save_model
from tools.main import COMMANDS, build_app
from tools.viewer.command import source_words
from tools.viewer.picture import Painter
from tools.viewer.server import ViewServer
from tools.viewer.session_config import SessionConfig
from tools.viewer.source import open_source
from tools.viewer.source_config import SourceConfig
from tools.viewer.state import ViewState
from tools.viewer.watch import Current, Watch

pytestmark = pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))

SOFTWARE_WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-features=BackForwardCache",  # it keeps the connections of pages that were left
)
END, HOME = "\ue010", "\ue011"
PATIENCE = 180.0
WIDTH, HEIGHT = 900, 700

TEXT = "return document.body.innerText"
CENTRE = """
const found = [...document.querySelectorAll(arguments_selector)].find(arguments_test);
if (!found) { return null; }
found.scrollIntoView({block: 'center'});
const box = found.getBoundingClientRect();
return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Page:
    """A browser that looks at a server."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        browser.visit(address, width=WIDTH, height=HEIGHT)
        self.wait_until_refined()

    def text(self) -> str:
        return self.browser.run(TEXT)

    def wait_for_text(self, wanted: str) -> None:
        wait_for(lambda: wanted in self.text(), f"{wanted!r} never came: {self.text()}")

    def wait_until_refined(self) -> None:
        wait_for(lambda: " × " in self.text(), "no finest picture came")
        self.settle()

    def settle(self) -> np.ndarray:
        """The picture once it stands still: the page decodes pictures some time after it was told of them."""
        seen = [self.picture()]

        def still() -> bool:
            time.sleep(0.5)
            seen.append(self.picture())
            return np.abs(seen[-1] - seen[-2]).max() < 5

        wait_for(still, "the picture never stands still")
        return seen[-1]

    def check(self, label: str) -> None:
        """Press the checkbox of that label."""
        self.browser.run(
            f"let e = [...document.querySelectorAll('label, div, span')].find(e => !e.closest('[role=tab]') && "
            f"e.children.length === 0 && e.textContent.trim() === {label!r});"
            "while (e && !e.querySelector('input[type=checkbox]')) { e = e.parentElement; }"
            "e.querySelector('input[type=checkbox]').click();"
        )

    def click(self, selector: str, label: str) -> None:
        """With the mouse, on what has that text, title or accessible name."""
        script = CENTRE.replace("arguments_selector", repr(selector)).replace(
            "arguments_test", f"e => [e.textContent.trim(), e.title].includes({label!r})"
        )
        place: list[int] = []

        def find() -> bool:
            place[:] = self.browser.run(script) or []
            return bool(place)

        wait_for(find, f"there is no {label!r}")
        self.browser.click(place[0], place[1])

    def slide(self, number: int, key: str) -> None:
        """A key on a slider of the tab that is open."""
        self.browser.run(f"document.querySelectorAll('[role=slider]')[{number}].focus()")
        self.browser.press(key)

    def picture(self) -> np.ndarray:
        """What is seen left of the panel."""
        seen = np.asarray(Image.open(io.BytesIO(self.browser.screenshot())).convert("RGB")).astype(int)
        return seen[200:, 100 : WIDTH - 350]

    def wait_for_another(self, before: np.ndarray) -> np.ndarray:
        wait_for(lambda: np.abs(self.picture() - before).max() > 25, "the picture never changed")
        return self.settle()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    server: ViewServer
    current: Current
    watch: Watch
    config: SourceConfig


def shared(config: SourceConfig) -> SessionConfig:
    return SessionConfig(name="run", state=ViewState(), finest=400, threads=1, words=source_words(config, 1))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("viewer")
    run = make_run(folder)
    make_curve(frames=40).save(folder / "curve.npz")
    config = SourceConfig(folder=run, curve=folder / "curve.npz")
    watch_stamp = config.stamp()
    current = Current(open_source(config))
    with ViewServer(shared(config), "127.0.0.1", 0) as server:
        server.show(current)
        yield Served(server=server, current=current, watch=Watch(current, watch_stamp), config=config)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), *SOFTWARE_WEBGL) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    yield Page(browser, served.server.address)
    browser.visit("about:blank", width=WIDTH, height=HEIGHT)
    wait_for(lambda: not served.server.sessions, "the client's session stayed")


def test_the_page_opens_with_a_head(page: Page, served: Served) -> None:
    assert "step 7 · " in page.text()
    for word in ("Person 1", "Expression", "Play", "Light", "A/B", "Screenshot"):
        assert word in page.text()
    seen = page.picture()
    assert np.abs(seen - seen[0, -1]).max() > 60, "there is only background"
    assert len(served.server.sessions) == 1
    assert [message for message in page.browser.messages() if "Error" in message] == []


def test_a_page_that_is_opened_before_the_weights_are_read_waits_for_them(browser: Browser, served: Served) -> None:
    with ViewServer(shared(served.config), "127.0.0.1", 0) as server:
        browser.visit(server.address, width=WIDTH, height=HEIGHT)
        wait_for(lambda: "Opening run" in browser.run(TEXT), "the page does not say that it waits")
        browser.visit(server.address, width=WIDTH, height=HEIGHT)  # the first client leaves without a picture
        wait_for(lambda: "Opening run" in browser.run(TEXT), "the page does not say that it waits")
        assert server.sessions == []
        server.show(served.current)
        wait_for(lambda: " × " in browser.run(TEXT), "no finest picture came")
        assert "Opening run" not in browser.run(TEXT)
        assert len(server.sessions) == 1
        browser.visit("about:blank", width=WIDTH, height=HEIGHT)
        wait_for(lambda: not server.sessions, "the client's session stayed")


def test_a_slider_changes_the_picture(page: Page) -> None:
    before = page.picture()
    page.slide(1, END)  # the second person joins
    blended = page.wait_for_another(before)
    page.slide(0, HOME)  # and the first one leaves
    page.wait_for_another(blended)


def test_a_reloaded_page_begins_anew(page: Page, served: Served) -> None:
    before = page.picture()
    page.slide(1, END)
    page.wait_for_another(before)
    page.browser.reload()
    page.wait_until_refined()
    wait_for(lambda: np.abs(page.picture() - before).max() < 25, "the first view did not come back")
    wait_for(lambda: len(served.server.sessions) == 1, "the old session stayed")


def test_the_lamp_goes_where_the_ball_is_clicked(page: Page, served: Served) -> None:
    (session,) = served.server.sessions
    before, lamp = page.picture(), session.state().lighting
    ball = page.browser.run(
        "const c = document.querySelector('canvas').getBoundingClientRect(); return [c.x, c.y, c.width, c.height]"
    )
    radius = 0.055 * ball[3]
    middle = ball[0] + ball[2] / 2 - 0.92 * (ball[2] / 2 - radius), ball[1] + ball[3] / 2 + 0.8 * ball[3] / 2
    page.browser.click(round(middle[0] - 0.6 * radius), round(middle[1]))
    page.wait_for_another(before)
    found = session.state().lighting
    # 0.6 radii to the left the normal is turned by asin(0.6), and the lamp twice as far, from where the eye is:
    # to the ball's right, by as much as the ball hangs beside the middle of the view
    eye = np.degrees(np.arctan(0.92 * ball[2] / ball[3] * np.tan(np.radians(9.5))))
    assert found.azimuth == pytest.approx(eye - 2 * np.degrees(np.arcsin(0.6)), abs=8.0)
    assert found != lamp


def test_a_screenshot_and_its_command_line_are_the_same_pixels(page: Page, tmp_path: Path) -> None:
    before = page.picture()
    page.slide(1, END)
    page.wait_for_another(before)
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.command("Browser.setDownloadBehavior", behaviour)
    page.click("button", "Screenshot")
    wait_for((tmp_path / "picture.png").exists, "no screenshot came")
    page.click("button", "Command line of this picture")
    wait_for(lambda: page.browser.run("return !!document.getElementById('vrmm-command')"), "no command came")
    words = shlex.split(page.browser.run("return document.getElementById('vrmm-command').textContent"))
    assert words[:2] == ["vrmm", "view"]
    again = tmp_path / "again.png"
    words = [word.replace("picture.png", str(again)) if word.startswith("--render") else word for word in words]
    found = CliRunner().invoke(build_app(COMMANDS, "view"), words[1:], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    pictures = [np.asarray(Image.open(path)) for path in (tmp_path / "picture.png", again)]
    assert np.array_equal(*pictures)
    page.click("button", "Copy")
    page.wait_for_text("Copied")


@pytest.mark.long
def test_a_curve_plays_and_stops(page: Page, served: Served) -> None:
    (session,) = served.server.sessions
    page.click("[role=tab]", "Play")
    page.wait_for_text("Follow the curve")
    page.check("Play")
    wait_for(lambda: session.state().frame not in (None, 0), "it does not play")
    first = session.state().frame
    wait_for(lambda: session.state().frame != first, "it stands still")
    page.check("Play")
    time.sleep(1.0)
    stopped = session.state().frame
    time.sleep(0.5)
    assert session.state().frame == stopped


@pytest.mark.long
def test_the_truth_stands_beside_the_model(page: Page, served: Served) -> None:
    (session,) = served.server.sessions
    before = page.picture()
    session._compare._mode.value = "wipe"  # a list of the page cannot be driven by keys
    page.wait_for_another(before)
    page.wait_for_text("dB in the mask")


@pytest.mark.long
def test_two_clients_have_pictures_of_their_own(page: Page, served: Served, tmp_path: Path) -> None:
    with Browser(tmp_path / "second", *SOFTWARE_WEBGL) as other:
        second = Page(other, served.server.address)
        wait_for(lambda: len(served.server.sessions) == 2, "the second client has no session")
        before = page.picture()
        assert np.abs(before - second.picture()).max() < 25
        page.slide(1, END)
        page.wait_for_another(before)
        assert np.abs(second.picture() - before).max() < 25, "one client's slider moved another's"
        second.slide(2, END)
        second.wait_for_another(before)
    wait_for(lambda: len(served.server.sessions) == 1, "the second client's session stayed")


@pytest.mark.long
def test_a_client_may_leave_mid_render(
    page: Page, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint, begun = Painter.paint, []

    def slow(self: Painter, state: ViewState, *rest):
        if state.lighting.intensity == 2.5:
            begun.append(state)
            time.sleep(2.0)
        return paint(self, state, *rest)

    monkeypatch.setattr(Painter, "paint", slow)
    (first,) = served.server.sessions
    with Browser(tmp_path / "second", *SOFTWARE_WEBGL) as other:
        Page(other, served.server.address)
        (leaving,) = (session for session in served.server.sessions if session is not first)
        leaving._light._intensity.value = 2.5
        wait_for(lambda: begun, "the slow picture was never begun")
    wait_for(lambda: served.server.sessions == [first], "the session of the client that left stayed")
    wait_for(lambda: not leaving._drawing.is_alive(), "its thread stayed")
    assert len(begun) == 1, "it was drawn for after it had left"
    before = page.picture()
    page.slide(1, END)
    page.wait_for_another(before)


@pytest.mark.long
def test_the_newest_weights_of_a_run_in_training_are_shown(page: Page, served: Served) -> None:
    before = page.picture()
    assert served.config.folder is not None
    shards = served.config.folder.parent / "shards"
    save_model(tiny_model(seed=9, subjects=3), served.config.folder, 8, shards)
    assert served.watch.look()
    page.wait_for_text("step 8 · ")
    page.wait_for_another(before)


def test_a_browser_without_webgl_says_so(served: Served, tmp_path: Path) -> None:
    with Browser(tmp_path / "plain", "--disable-3d-apis") as browser:
        browser.visit(served.server.address, width=WIDTH, height=HEIGHT)
        wait_for(lambda: "WebGL is unavailable" in browser.run(TEXT), "the page does not say what is missing")
