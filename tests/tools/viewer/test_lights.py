"""The light of a state: power, direction, colour, environment maps."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.capture import Light
from datasets.errors import VrmmError
from datasets.lightstage.environment import make_environment
from prior.lighting import LightSphere
from tools.viewer.lights import angles, lamps, linear, toward
from tools.viewer.state import Lighting, LightKind


def field(light: Light) -> torch.Tensor:
    sphere = LightSphere(64)
    directions, irradiance = (
        torch.tensor(value, dtype=torch.float32)[None] for value in (light.directions, light.irradiance)
    )
    return sphere.radiance(directions, irradiance, torch.eye(3)[None])[0]


@given(st.floats(-179.0, 179.0), st.floats(-89.0, 89.0))
def test_angles_are_those_of_the_direction(azimuth: float, elevation: float) -> None:
    assert angles(toward(azimuth, elevation)) == pytest.approx((azimuth, elevation), abs=1e-6)


def test_the_face_looks_ahead_and_its_left_is_positive() -> None:
    assert toward(0, 0) == pytest.approx([0, 0, 1])
    assert toward(90, 0) == pytest.approx([1, 0, 0], abs=1e-12)
    assert toward(0, 90) == pytest.approx([0, 1, 0], abs=1e-12)


@pytest.mark.parametrize("kind", [LightKind.LAMP, LightKind.ENVIRONMENT])
def test_power_is_as_in_training_and_follows_intensity_and_colour(kind: LightKind) -> None:
    plain = Lighting(kind=kind)
    usual = lamps(plain, 9.0).irradiance.sum(axis=0)
    assert usual.mean() == pytest.approx(9.0)
    brighter = dataclasses.replace(plain, intensity=2.5, colour=(255, 128, 0))
    changed = lamps(brighter, 9.0).irradiance.sum(axis=0)
    assert changed == pytest.approx(2.5 * usual * linear((255, 128, 0)))
    assert linear((255, 128, 0)) == pytest.approx([1.0, 0.2158605, 0.0], abs=1e-6)  # sRGB's own table


def test_one_light_at_a_time_has_no_other() -> None:
    light = lamps(Lighting(azimuth=90.0, elevation=0.0, fill=0.0), 9.0)
    burning = light.irradiance.sum(axis=1) > 0
    assert burning.sum() == 1
    assert light.directions[burning][0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_a_turned_environment_is_the_turned_map() -> None:
    turned = lamps(Lighting(kind=LightKind.ENVIRONMENT, environment="neon", turn=70.0), 11.0)
    reference = make_environment("neon").rotated(np.radians(70.0)).to_light(256)
    reference = reference.scaled(11.0 / float(reference.irradiance.mean(axis=1).sum()))
    straight = lamps(Lighting(kind=LightKind.ENVIRONMENT, environment="neon"), 11.0)
    error = (field(turned) - field(reference)).abs().sum() / field(reference).sum()
    assert error < 0.1, "256 lamps gather the map in other cells once it is turned"
    assert (field(straight) - field(reference)).abs().sum() / field(reference).sum() > 0.5


def test_a_map_from_a_file_is_read_at_any_size(tmp_path: Path) -> None:
    fine = make_environment("studio", height=64).radiance.repeat(4, axis=0).repeat(4, axis=1)
    cv2.imwrite(str(tmp_path / "studio.hdr"), fine[:, :, ::-1].astype(np.float32))
    found = lamps(Lighting(kind=LightKind.ENVIRONMENT, environment=str(tmp_path / "studio.hdr")), 11.0)
    made = lamps(Lighting(kind=LightKind.ENVIRONMENT, environment="studio"), 11.0)
    # RGBE keeps 8 bits
    assert (field(found) - field(made)).abs().sum() / field(made).sum() < 0.02


def test_a_map_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="absent.hdr does not exist"):
        lamps(Lighting(kind=LightKind.ENVIRONMENT, environment=str(tmp_path / "absent.hdr")), 11.0)
