"""Lights of shows: where they stand, how they move, how bright they are, and which files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.lightstage.bitmaps import write_bitmap
from datasets.lightstage.environment import EnvironmentMap, load_environment, make_environment
from datasets.lightstage.mitsuba_scene import mitsuba
from prior.vrmm import VRMM
from tests.fitting.tiny import tiny_model
from tests.tools.shows.people import person
from tools.shows.lights import LightOptions, MovingLamp, TurningLight, make_light, panorama

LEVEL = LightOptions(level=0.5)


@pytest.fixture(scope="module")
def model() -> VRMM:
    return tiny_model()


def bright_at(column: int, row: int = 16, height: int = 32) -> EnvironmentMap:
    radiance = np.full((height, 2 * height, 3), 1e-4, np.float32)
    radiance[row, column] = 50.0
    return EnvironmentMap(radiance=radiance)


def mean_direction(light) -> np.ndarray:
    mean = light.irradiance.mean(axis=1) @ light.directions
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("name", ["key", "flat", "studio", "sky"])
def test_every_light_is_as_bright_as_heads_are_used_to(model: VRMM, name: str) -> None:
    light = make_light(name, LEVEL, person(model)).at(0.3)
    power = light.irradiance @ [0.2126, 0.7152, 0.0722]
    assert power.sum() == pytest.approx(4 * np.pi * 0.5, rel=1e-6)
    twice = make_light(name, LightOptions(level=0.5, stops=1.0), person(model)).at(0.3)
    np.testing.assert_allclose(twice.irradiance, 2.0 * light.irradiance)


def test_a_panorama_turns_as_its_map_would() -> None:
    """What is ahead goes to the left; lamps turned are the lamps of the turned map."""
    environment = bright_at(31)
    path = panorama(environment, LightOptions(level=1.0, turns=1.0))
    np.testing.assert_allclose(mean_direction(path.at(0.0)), [0, 0, 1], atol=0.1)
    np.testing.assert_allclose(mean_direction(path.at(0.25)), [1, 0, 0], atol=0.1)
    turned = panorama(environment.rotated(np.radians(90.0)), LightOptions(level=1.0)).at(0.0)
    np.testing.assert_allclose(mean_direction(path.at(0.25)), mean_direction(turned), atol=0.05)


def test_a_sweep_visits_every_lamp_once_and_goes_to_neighbours(model: VRMM) -> None:
    path = make_light("olat", LightOptions(level=1.0, lamps=48), person(model))
    steps = [path.at((index + 0.5) / 48) for index in range(48)]
    assert all(len(light.positions) == 1 for light in steps)
    places = np.concatenate([light.directions for light in steps])
    assert len(np.unique(places.round(6), axis=0)) == 48
    angles = np.degrees(np.arccos(np.clip((places[1:] * places[:-1]).sum(axis=1), -1, 1)))
    assert np.median(angles) < 50.0, "lamps in the order of the lattice would jump by the golden angle, 137°"


def test_a_near_lamp_falls_with_the_square_of_its_distance(tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    file.write_text(json.dumps({"positions": [[0, 0, 0.5], [0, 0, 1.0]], "intensity": [2.0, 1.0, 0.5]}))
    path = MovingLamp.read(file, 1.0)
    np.testing.assert_allclose(path.at(0.0).irradiance, [[8.0, 4.0, 2.0]])
    np.testing.assert_allclose(path.at(0.5).irradiance, np.array([[2.0, 1.0, 0.5]]) / 0.75**2)
    file.write_text(json.dumps({"positions": [[0, 0, 0.5], [0, 0, 0.5]]}))
    np.testing.assert_allclose(MovingLamp.read(file, 3.0).at(0.7).irradiance, [[3.0, 3.0, 3.0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not a lamp path"),
        ('{"positions": [[0, 0]]}', "positions must be lists of three"),
        ('{"positions": [[0, 0, 0.01]]}', "5 cm or more"),
        ('{"positions": [[0, 0, 1], [1, 0, 1]], "intensity": [[1, 1, 1], [1, 1, 1], [1, 1, 1]]}', "one for each"),
        ('{"positions": [[0, 0, 1]], "intensity": [-1, 1, 1]}', "never negative"),
        ('{"positions": [[0, 0, NaN]]}', "three finite numbers"),
        ('{"positions": "x"}', "lists of three numbers"),
    ],
)
def test_what_is_no_lamp_path_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(VrmmError, match=message) as caught:
        MovingLamp.read(tmp_path / "p.json", 1.0)
    assert "p.json" in str(caught.value)


def test_unknown_lights_and_photos_of_nobody(model: VRMM) -> None:
    with pytest.raises(VrmmError, match="no light moon"):
        make_light("moon", LEVEL, person(model))
    with pytest.raises(VrmmError, match="is no avatar"):
        make_light("photo", LEVEL, person(model))
    with pytest.raises(VrmmError, match="does not exist"):
        make_light("nowhere.hdr", LEVEL, person(model))


def write_map(path: Path, radiance: np.ndarray) -> Path:
    if path.suffix != ".jpg":
        write_bitmap(path, radiance)
        return path
    mi = mitsuba()
    bitmap = mi.Bitmap(np.ascontiguousarray(radiance, np.float32))
    bitmap.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True).write(str(path))
    return path


@pytest.mark.parametrize("suffix", [".hdr", ".exr", ".jpg"])
def test_panoramas_are_read_as_linear_radiance(tmp_path: Path, suffix: str) -> None:
    radiance = np.full((16, 32, 3), 0.2, np.float32)
    radiance[:, 16:] = 0.6
    found = load_environment(write_map(tmp_path / f"map{suffix}", radiance)).radiance
    tolerance = {".hdr": 0.01, ".exr": 1e-6, ".jpg": 0.02}[suffix]  # 8 bits of mantissa; none; 8 bits and a transform
    np.testing.assert_allclose(found[4, 4], 0.2, atol=tolerance)
    np.testing.assert_allclose(found[4, 28], 0.6, atol=tolerance)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (-0.1, "negative")])
def test_impossible_panoramas_are_refused_by_name(tmp_path: Path, value: float, message: str) -> None:
    radiance = np.full((16, 32, 3), 0.2, np.float32)
    radiance[3, 3, 1] = value
    with pytest.raises(VrmmError, match=message) as caught:
        load_environment(write_map(tmp_path / "map.exr", radiance))
    assert "map.exr" in str(caught.value)
    with pytest.raises(VrmmError, match="black"):
        panorama(EnvironmentMap(radiance=np.zeros((8, 16, 3))), LEVEL)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.integers(8, 119))
def test_a_smaller_panorama_has_the_same_power_in_the_same_place(column: int, row: int) -> None:
    environment = bright_at(column, row, height=128)
    small = environment.reduced(32)
    assert small.radiance.shape == (32, 64, 3)
    np.testing.assert_allclose(small.flux, environment.flux, rtol=1e-3)
    toward = (small.radiance * small.solid_angles[..., None]).sum(axis=2)
    found = (toward[..., None] * small.directions).sum(axis=(0, 1))
    angle = np.degrees(np.arccos(found / np.linalg.norm(found) @ environment.directions[row, column]))
    assert angle < 5.0, "the diagonal of a texel of 5.6 degrees, halved"


def test_made_up_places_need_no_reduction() -> None:
    environment = make_environment("sky")
    assert environment.reduced() is environment


def test_a_held_light_stands_still(model: VRMM) -> None:
    light = make_light("key", LEVEL, person(model))
    assert isinstance(light, TurningLight)
    np.testing.assert_array_equal(light.at(0.0).positions, light.at(0.9).positions)
