"""A frame's description survives being written, exactly, and a broken one is named."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.capture import Frame, Light, Pose
from datasets.errors import VrmmError
from datasets.frames import LIGHT, META, frame_from_members, frame_members

finite = st.floats(-1e6, 1e6, allow_nan=False)
names = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zs"], blacklist_characters="./\\"), min_size=1)


@st.composite
def frames(draw: st.DrawFn) -> dict:
    """Values of a frame; the frame itself is built in the test, as the shape checker draws random numbers."""
    lamps = draw(st.integers(0, 4))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    array = hnp.arrays(dtype, (lamps, 3), elements=st.floats(-100, 100, width=32))
    vector = hnp.arrays(np.float64, 3, elements=finite)
    rotation = hnp.arrays(np.float64, (3, 3), elements=finite)
    return dict(
        subject=draw(names),
        sequence=draw(names),
        index=draw(st.integers(0, 10**7)),
        split=draw(st.sampled_from(["train", "held_out"])),
        light=(draw(array), draw(array)),
        light_pattern=draw(st.text(max_size=5)),
        full_on=draw(st.booleans()),
        nearest_full_on=draw(st.none() | names),
        pose=draw(st.none() | st.tuples(rotation, vector)),
        expression=draw(st.none() | st.lists(finite, max_size=4).map(tuple)),
    )


@settings(max_examples=60, deadline=None)
@given(frames())
def test_a_frame_survives_exactly(values: dict) -> None:
    light = Light(positions=values["light"][0], irradiance=values["light"][1])
    pose = values["pose"] and Pose(rotation=values["pose"][0], translation=values["pose"][1])
    frame = Frame(**{**values, "light": light, "pose": pose})
    members = frame_members(frame)
    back = frame_from_members({**members, "front.rgb.png": b"ignored"})
    assert _plain(back) == _plain(frame)
    assert back.light.positions.dtype == frame.light.positions.dtype
    assert frame_members(back) == members, "equal frames must give equal bytes, or shards are not reproducible"


@pytest.mark.parametrize("absent", [META, LIGHT])
def test_a_missing_part_is_named(absent: str) -> None:
    members = frame_members(_frame())
    del members[absent]
    with pytest.raises(VrmmError, match=rf"frame x lacks {absent}"):
        frame_from_members(members, "frame x")


@pytest.mark.parametrize(
    ("name", "data"),
    [(META, b"{"), (META, b"[]"), (META, b'{"subject": "s"}'), (LIGHT, b""), (LIGHT, b"PK\x03\x04"), (LIGHT, b"zip?")],
)
def test_unreadable_parts_are_named(name: str, data: bytes) -> None:
    with pytest.raises(VrmmError, match="frame x has an unreadable description"):
        frame_from_members({**frame_members(_frame()), name: data}, "frame x")


def test_pickles_are_refused() -> None:
    """Unpickling a stranger's file would run the stranger's code."""
    file = io.BytesIO()
    np.savez(file, positions=np.array([object()]), irradiance=np.zeros((1, 3)))
    with pytest.raises(VrmmError, match="unreadable"):
        frame_from_members({**frame_members(_frame()), LIGHT: file.getvalue()})


def _frame() -> Frame:
    return Frame(subject="s", sequence="t", index=1, light=Light(positions=np.ones((1, 3)), irradiance=np.ones((1, 3))))


def _plain(frame: Frame) -> dict:
    values = dataclasses.asdict(frame)
    values["light"] = {name: np.asarray(array).tolist() for name, array in values["light"].items()}
    if values["pose"] is not None:
        values["pose"] = {name: array.tolist() for name, array in values["pose"].items()}
    return values


def test_light_that_nobody_knows_is_not_darkness() -> None:
    unknown = dataclasses.replace(_frame(), light=Light.unknown())
    dark = dataclasses.replace(_frame(), light=Light(positions=np.zeros((0, 3)), irradiance=np.zeros((0, 3))))
    assert not frame_from_members(frame_members(unknown)).light.known
    assert frame_from_members(frame_members(dark)).light.known
    assert not (unknown.light + dark.light).known
    assert b"light_known" not in frame_members(dark)[META], "captures written before must stay byte for byte"


def test_lamps_of_unknown_light_are_damage() -> None:
    members = frame_members(_frame())
    meta = members[META].replace(b'"split"', b'"light_known": false, "split"')
    with pytest.raises(VrmmError, match="frame x has an unreadable description .*lamps of a light that nobody knows"):
        frame_from_members({**members, META: meta}, "frame x")
