"""The report page: whole, self-contained, honest about what is missing."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import VrmmError
from tests.tools.made_up_demo import make_demo, make_prior
from tools.evaluate import LABELS
from tools.report.charts import Line, line_chart, ticks
from tools.report.page import write_report
from tools.report.sections import verdict

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks that elements close, and collects what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "poster", "data", "action")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_demo(tmp_path_factory.mktemp("report") / "demo")
    write_report(folder, folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def text(demo: Path) -> str:
    return (demo / "report.html").read_text()


def test_nothing_is_fetched_from_anywhere(text: str) -> None:
    page = Page(text)
    assert page.links
    for link in page.links:
        assert link.startswith(("data:", "#")), link[:80]
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")


def test_every_picture_and_video_is_inside(text: str) -> None:
    jpegs = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", text)
    assert len(jpegs) == len(LABELS) + 4 + 1 + 1  # sheets, comparisons, transfer, the last preview
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in jpegs]
    assert sizes.count((90, 60)) == len(LABELS)
    videos = re.findall(r"data:video/mp4;base64,([A-Za-z0-9+/=]+)", text)
    assert [base64.b64decode(data)[4:8] for data in videos] == [b"ftyp", b"ftyp"]


def test_numbers_and_what_they_should_be(text: str) -> None:
    words = " ".join(Page(text).words)
    for expected in ("27.25", "20.5", "5.50", "22.00", "11 min 52 s", "12.5 s", "within 1.5° and 2.0 mm"):
        assert expected in words, expected
    assert 'class="met">≥ 27.0 ✓' in text
    assert 'class="missed">≥ 0.98 ✗' in text  # the mask IoU of 0.975
    assert 'class="missed">≥ +1.5 ✗' in text  # transfer is 0.75 dB above neutral
    assert 'class="met">≥ +5.0 ✓' in text  # held-out lights are 6.75 dB above the mean light


def test_names_from_files_cannot_become_markup(text: str) -> None:
    assert "&lt;b&gt;&amp;p01" in text
    assert "<b>&p01" not in text


def test_commands_name_real_files(text: str, demo: Path) -> None:
    words = "".join(Page(text).words)
    assert f"vrmm fit {demo}/fit/one_image/photos/q00_cam00.png --prior {demo}/prior" in words
    assert "--cameras" in words
    assert "vrmm train configs/prior/demo.yaml" in words


def test_a_run_that_was_only_trained_has_a_report_too(tmp_path: Path) -> None:
    make_prior(tmp_path / "run")
    with pytest.raises(VrmmError, match="neither a demo nor a run folder"):
        write_report(tmp_path / "run", tmp_path / "r.html")
    (tmp_path / "run" / "model.json").write_text("{}")
    write_report(tmp_path / "run", tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    titles = [link for link in page.links if link.startswith("#")]
    assert titles == ["#training", "#commands"]


def test_a_damaged_part_is_named(demo: Path, tmp_path: Path) -> None:
    folder = make_demo(tmp_path / "demo")
    (folder / "evaluation.json").write_text('{"training_view": ')
    with pytest.raises(VrmmError, match=r"evaluation.json is not a part of the report"):
        write_report(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert len(found) <= 7
    if high - low > 1e-9 * max(abs(low), 1.0):
        assert len(found) >= 2
        slack = 1e-6 * (high - low)
        assert low - slack <= found[0] < found[-1] <= high + slack


@given(st.lists(st.one_of(st.floats(), st.just(0.0)), max_size=40), st.booleans())
def test_charts_survive_any_curve(values: list[float], logarithmic: bool) -> None:
    line = Line(name="loss", x=list(range(len(values))), y=values)
    svg = line_chart([line], x_label="step", y_label="loss", logarithmic=logarithmic)
    if svg:
        Page(svg)
        numbers = re.findall(r'points="([^"]*)"', svg)[0].replace(",", " ").split()
        assert np.isfinite(np.array(numbers, float)).all()


def test_curves_go_down_when_values_fall() -> None:
    svg = line_chart([Line(name="a", x=[0, 1, 2], y=[10.0, 1.0, 0.1])], x_label="x", y_label="y", logarithmic=True)
    points = [point.split(",") for point in re.findall(r'points="([^"]*)"', svg)[0].split()]
    heights = np.array([float(y) for _, y in points])
    assert (np.diff(heights) > 0).all()  # SVG's y axis points down
    assert np.diff(heights)[0] == pytest.approx(np.diff(heights)[1], abs=0.2)  # equal factors, equal steps


def test_verdicts() -> None:
    assert verdict(27.0, 27.0, ".1f") == '<span class="met">≥ 27.0 ✓</span>'
    assert verdict(26.99, 27.0, ".1f") == '<span class="missed">≥ 27.0 ✗</span>'
