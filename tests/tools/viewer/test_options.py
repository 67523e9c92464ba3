"""A state written as a command line is read back as the same state."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tools.main import COMMANDS, build_app
from tools.viewer import command
from tools.viewer.options import arguments
from tools.viewer.state import Compare, Comparison, Lighting, LightKind, Orbit, Show, Start, ViewState

numbers = st.floats(-200.0, 200.0)
vectors = st.tuples(numbers, numbers, numbers)
colours = st.tuples(*[st.integers(0, 255)] * 3)
names = st.text(string.ascii_letters + string.digits + "=-_,;$' é", min_size=1, max_size=8).filter(
    lambda name: name.strip() == name
)
amounts = st.lists(st.tuples(names, numbers), max_size=4).map(tuple)
states = st.builds(
    ViewState,
    orbit=st.builds(Orbit, eye=vectors, target=vectors, up=vectors, fov=numbers),
    lighting=st.builds(
        Lighting,
        kind=st.sampled_from(LightKind),
        azimuth=numbers,
        elevation=numbers,
        fill=numbers,
        environment=names,
        turn=numbers,
        intensity=numbers,
        colour=colours,
    ),
    comparison=st.builds(Comparison, mode=st.sampled_from(Compare), frame=names, camera=names, wipe=numbers),
    identity=amounts,
    expression=amounts,
    controls=amounts,
    start=st.sampled_from(Start),
    frame=st.none() | st.integers(0, 10000),
    show=st.sampled_from(Show),
    background=colours,
)


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[ViewState | None, str]:
    """The state that the command takes from a command line, and what it says."""
    seen: list[ViewState] = []
    monkeypatch.setattr(command, "_serve", lambda config, state, *rest: seen.append(state))
    found = CliRunner().invoke(build_app(COMMANDS, "view"), ["view", "folder", *words])
    return (seen[0] if seen else None), found.output


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(state=states)
def test_a_state_survives_its_command_line(state: ViewState, monkeypatch: pytest.MonkeyPatch) -> None:
    snapped = state.snapped()
    found, output = parse(arguments(snapped), monkeypatch)
    assert found == snapped, output


def test_the_first_view_needs_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments(ViewState().snapped()) == []
    assert parse([], monkeypatch)[0] == ViewState().snapped()


def test_amounts_of_nothing_are_left_out() -> None:
    state = ViewState(expression=(("1", 0.0), ("2", 1e-9), ("3", -0.5)), identity=(("a", 0.0),)).snapped()
    assert arguments(state) == ["--expression=3=-0.5"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--eye", "1,2"], "--eye 1,2"),
        (["--eye", "1,2,nan"], "--eye 1,2,nan"),
        (["--lamp", "left"], "--lamp left"),
        (["--identity", "p00"], "--identity p00"),
        (["--identity", "p00=much"], "--identity much"),
        (["--colour", "red"], "--colour red"),
        (["--render", "x.png", "--size", "512"], "--size 512"),
        (["--render", "x.png", "--size", "512x100000"], "--size 512x100000"),
    ],
)
def test_what_cannot_be_read_is_named(words: list[str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, output = parse(words, monkeypatch)
    assert state is None
    assert output.startswith("error: ")
    assert named in output
    assert output.count("\n") == 1


def test_source_options_are_part_of_the_line() -> None:
    from tools.viewer.source_config import SourceConfig

    config = SourceConfig(folder=Path("a b"), prior=Path("p"), curve=Path("c.npz"))
    assert command.source_words(config, 2) == ["vrmm", "view", "a b", "--prior=p", "--curve=c.npz", "--threads=2"]
