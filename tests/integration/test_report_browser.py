"""A real browser opens the report page."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.browser import Browser, missing_browser
from tests.tools.made_up_demo import make_demo
from tools.report.page import write_report

pytestmark = pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))

PICTURES = """
document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; });
return Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)));
"""
VIDEOS = """
const ready = video => new Promise(done => {
    if (video.readyState >= 2) { done([video.videoWidth, video.videoHeight, video.duration]); }
    video.onloadeddata = () => done([video.videoWidth, video.videoHeight, video.duration]);
    video.onerror = () => done('error ' + video.error.message);
});
return Promise.all([...document.querySelectorAll('video')].map(ready));
"""
WIDEST = "return [document.documentElement.scrollWidth, window.innerWidth]"
FETCHED = "return performance.getEntriesByType('resource').map(entry => entry.name).filter(n => !n.startsWith('data:'))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_demo(tmp_path_factory.mktemp("report") / "demo")
    write_report(folder, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_report_opens_whole(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, height=900)
    assert browser.run("return document.title") == "vrmm demo"
    assert len(browser.run(PICTURES)) == 14
    assert min(browser.run(PICTURES)) > 0
    videos = browser.run(VIDEOS)
    assert [video[:2] for video in videos] == [[64, 32], [64, 32]]
    assert all(video[2] == pytest.approx(8 / 24, abs=0.1) for video in videos)
    assert browser.run(FETCHED) == []
    assert browser.messages() == []
    assert browser.run("return document.querySelectorAll('svg polyline').length") == 3


def test_the_report_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=500, height=900)  # the narrowest window of headless Chromium
    widest, window = browser.run(WIDEST)
    assert widest <= window


def test_the_report_follows_light_and_dark(browser: Browser, page: Path) -> None:
    browser.open(page, width=900, height=700)
    means = []
    for dark in (False, True):
        browser.dark(dark)
        means.append(np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L")).mean())
    assert means[0] > 180
    assert means[1] < 80
