"""A real browser opens an exported page, turns the head and lights it anew."""

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitting.avatar import Avatar
from fitting.locality import look_at_head
from tests.integration.browser import Browser, missing_browser
from tests.tools.made_up_avatar import make_avatar
from tools.export.build import ExportSettings, export_html
from tools.export.light import chosen_light
from tools.export.page import read_page
from tools.export.source import Source

pytestmark = pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))

SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
DRAWN = """
const drawn = Number(document.body.dataset.drawn || 0);
return new Promise(done => {
    const look = () => Number(document.body.dataset.drawn || 0) > BEFORE ? done(true) : setTimeout(look, 20);
    look();
});
"""
PICTURE = "return document.getElementById('view').toDataURL('image/png')"
BOX = "const b = document.getElementById('NAME').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
FETCHED = "return performance.getEntriesByType('resource').map(entry => entry.name).filter(n => !n.startsWith('data:'))"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    avatar = Avatar.load(make_avatar(tmp_path_factory.mktemp("avatar") / "avatar"))
    return Source.of_avatar(avatar, chosen_light(avatar, "photo"))


@pytest.fixture(scope="module")
def page(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "head.html"
    export_html(source, out, ExportSettings(size=48, views=10, steps=10), "a <head> & more")
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), *SOFTWARE_WEBGL) as browser:
        yield browser


def complaints(browser: Browser) -> list[str]:
    """What the page has written to the console, but for remarks on how slow it is to read pictures back."""
    return [message for message in browser.messages() if "Performance" not in message]


def drawn(browser: Browser) -> int:
    return int(browser.run("return Number(document.body.dataset.drawn || 0)"))


def picture(browser: Browser, after: int = 0) -> np.ndarray:
    """[H, W, 4] of the view, once it has been drawn more often than ``after``."""
    browser.run(DRAWN.replace("BEFORE", str(after)))
    data = base64.b64decode(browser.run(PICTURE).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(np.float64) / 255.0


def center(browser: Browser, name: str) -> tuple[float, float, float]:
    """Of an element: x, y and half its width."""
    left, top, width, height = browser.run(BOX.replace("NAME", name))
    return left + width / 2, top + height / 2, width / 2


def test_the_page_shows_what_was_measured(browser: Browser, page: Path, source: Source) -> None:
    """WebGL draws what the reference renderer draws, whose PSNR the command prints."""
    browser.open(page, width=560, height=520)
    shown = picture(browser)
    assert browser.run("return document.title") == "a <head> & more"
    height, width = shown.shape[:2]
    place = source.distance * torch.tensor([0.0, math.sin(0.06), math.cos(0.06)])
    radius = source.rendering.radius
    camera = look_at_head(place, 0.5 * min(width, height) * math.sqrt(source.distance**2 - radius**2) / radius, width)
    lens = camera.intrinsics.clone()
    lens[:, 1, 2] = height / 2
    camera = type(camera)(world_to_camera=camera.world_to_camera, intrinsics=lens, height=height, width=width)
    values, alpha = read_page(page).render(source.light, camera)
    wanted = values.permute(1, 2, 0).numpy()
    premultiplied = shown[..., :3] * shown[..., 3:]
    seen = alpha[0].numpy() > 0.02
    assert seen.mean() > 0.1
    error = float(((premultiplied - wanted)[seen] ** 2).mean())
    assert -10 * math.log10(error) > 35, "8 bits a layer, and sorting by depth along the axis"
    assert complaints(browser) == []
    assert browser.run(FETCHED) == []


def test_it_turns_and_relights(browser: Browser, page: Path) -> None:
    browser.open(page, width=560, height=520)
    first = picture(browser)
    x, y, _ = center(browser, "view")
    before = drawn(browser)
    browser.drag((x, y), (x + 120, y))
    turned = picture(browser, before)
    assert np.abs(turned - first).mean() > 0.005
    ball_x, ball_y, radius = center(browser, "ball")
    sides = {}
    for name, sign in (("left", -1), ("right", 1)):
        before = drawn(browser)
        place = (ball_x + sign * 0.6 * radius, ball_y)
        browser.drag(place, place)
        lit = picture(browser, before)
        half = lit.shape[1] // 2
        light = lit[..., :3].mean(axis=2) * lit[..., 3]
        sides[name] = (light[:, :half].sum(), light[:, half:].sum())
    assert sides["left"][0] > 1.1 * sides["right"][0], "a lamp on the left lights the left side"
    assert sides["right"][1] > 1.1 * sides["left"][1]
    before = drawn(browser)
    browser.run("document.getElementById('baked').click()")
    assert np.abs(picture(browser, before) - turned).max() < 0.02, "and back to the exported light"
    assert complaints(browser) == []


def test_it_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=500, height=400)  # the narrowest window of headless Chromium
    picture(browser)
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    left, top, width, _ = browser.run(BOX.replace("NAME", "panel"))
    assert top >= 0
    assert left + width <= browser.run("return window.innerWidth")


def test_a_browser_without_webgl_says_so(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile", "--disable-3d-apis") as plain:
        plain.open(page, width=560, height=520)
        message = plain.run("return document.getElementById('message').innerText")
        assert message.startswith("This page needs WebGL 2: turn on hardware acceleration")
        assert "\n" not in message
        assert plain.run("return document.getElementById('panel').hidden") is True
