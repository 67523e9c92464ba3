"""People half-way between two subjects: what an interpolation is compared with must lie between the two."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.lightstage.appearance import skin_reflectance
from datasets.lightstage.blend import Blend
from datasets.lightstage.head import Material, Subject
from datasets.lightstage.heads import load_head_model, make_subject
from datasets.lightstage.rig import RigConfig
from datasets.lightstage.stage import LightStage, StageConfig
from tests.datasets.test_lightstage import Ball

ICT = Path(os.environ.get("VRMM_ICT_MODEL") or Path(__file__).parents[3] / "shared/data/ict_face_model.npz")
needs_ict = pytest.mark.skipif(not ICT.exists(), reason="set VRMM_ICT_MODEL to an ICT Face Model .npz")


class Painted(Ball):
    """A ball with skin of the subject's tone below a scalp that reaches as low as the identity says."""

    def materials(self, subject: Subject) -> dict[str, Material]:
        rows = np.arange(16)[:, None, None]
        albedo = np.where(rows < 8 + subject.identity[0], 0.01, skin_reflectance(subject.tone)) * np.ones((16, 4, 3))
        return {"skin": Material(albedo=albedo, roughness=0.2 + 0.4 * subject.tone, specular=subject.tone)}


def painted_subject(scalp: float, tone: float) -> Subject:
    return Subject(name="a", identity=np.array([scalp]), appearance_seed=3, tone=tone)


def test_half_way_between_two_tones_is_the_tone_half_way_and_the_scalp_is_one() -> None:
    blend = Blend(first=painted_subject(-4.0, 0.42), second=painted_subject(2.0, 0.58))
    wanted = Painted().materials(painted_subject(-1.0, 0.5))["skin"]
    found = blend.materials(Painted())["skin"]
    np.testing.assert_allclose(found.albedo, wanted.albedo, rtol=1e-9)
    assert (found.roughness, found.specular) == (pytest.approx(wanted.roughness), pytest.approx(wanted.specular))


def test_nobody_changes_on_the_way_to_themselves() -> None:
    subject = painted_subject(1.0, 0.3)
    blend = Blend(first=subject, second=subject)
    np.testing.assert_array_equal(blend.identity, subject.identity)
    wanted = subject.materials(Painted())["skin"].albedo
    np.testing.assert_allclose(blend.materials(Painted())["skin"].albedo, wanted, rtol=1e-12)


@pytest.mark.parametrize("spec", ["procedural", pytest.param(str(ICT), marks=needs_ict, id="ict")])
def test_every_texel_of_a_real_head_is_between_the_two_looks(spec: str) -> None:
    head = load_head_model(spec)
    first, second = make_subject(head, "a", 1, 0.1), make_subject(head, "b", 2, 0.9)
    blend = Blend(first=first, second=second)
    np.testing.assert_allclose(blend.identity, 0.5 * (first.identity + second.identity))
    looks = [head.materials(dataclasses.replace(subject, identity=blend.identity)) for subject in (first, second)]
    for name, material in blend.materials(head).items():
        a, b = (look[name].albedo for look in looks)
        assert (material.albedo >= np.minimum(a, b) - 1e-9).all(), name
        assert (material.albedo <= np.maximum(a, b) + 1e-9).all(), name
    rest = head.neutral_expression()
    shapes = [head.shape(person.identity, rest)["skin"] for person in (first, second, blend)]
    # Both head models are linear in the skin's shape, but for the hair that grows on it.
    np.testing.assert_allclose(shapes[2], 0.5 * (shapes[0] + shapes[1]), atol=2e-4)


@pytest.fixture(scope="module")
def stage() -> LightStage:
    rig = RigConfig(image_size=32, train_cameras=2, held_out_cameras=0, lamps=8)
    return LightStage(StageConfig(train_subjects=2, held_out_subjects=0, frames=3, held_out_frames=0, rig=rig))


def test_the_picture_lies_between_in_either_order(stage: LightStage) -> None:
    lightest, darkest = sorted(stage.info.subjects, key=lambda name: stage.subject(name).tone)
    frame, camera = stage.frames(lightest)[0], stage.info.cameras[0]

    def picture(subject: str, other: str = "") -> tuple[np.ndarray, np.ndarray]:
        found = stage.truth_image(subject, np.array(frame.expression), frame.light, camera, samples=16, other=other)
        return found.image, found.mask

    light, between, dark = picture(lightest), picture(lightest, darkest), picture(darkest)
    assert 1.2 * dark[0].mean() < between[0].mean() < light[0].mean() / 1.2
    # Where both heads are, so is the one between, but for a pixel on the outline.
    both, neither = (light[1] > 0.5) & (dark[1] > 0.5), (light[1] < 0.5) & (dark[1] < 0.5)
    assert (between[1] > 0.5)[both].mean() > 0.99
    assert (between[1] < 0.5)[neither].mean() > 0.99
    assert stage.blend(lightest, darkest) is stage.blend(darkest, lightest)
    with pytest.raises(VrmmError, match="no subject p99"):
        picture(lightest, "p99")


def test_the_surface_is_the_true_one(stage: LightStage) -> None:
    names = stage.model.expression_names
    opened = np.eye(len(names))[names.index("jawOpen")]
    rest, moved = (stage.surface("p01", controls) for controls in (np.zeros(len(names)), opened))
    assert rest.shape == moved.shape
    assert np.linalg.norm(moved - rest, axis=1).max() > 0.01  # a jaw opens by more than a centimetre
    assert np.abs(stage.surface("p00", opened) - moved).max() > 1e-3
