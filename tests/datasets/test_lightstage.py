"""The light stage against what is known without it: a sphere, its shadowless shading, its outline, and repetition."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.capture import Light, Pose
from datasets.errors import VrmmError
from datasets.lightstage.head import HeadModel, Material, Part, Subject
from datasets.lightstage.mitsuba_scene import Window, lamp_strata
from datasets.lightstage.render import HeadRenderer
from datasets.lightstage.rig import look_at_origin
from datasets.lightstage.stage import LightStage, StageConfig
from tests.prior.small_model import sphere_template

RADIUS = 0.1
ALBEDO = (0.6, 0.3, 0.1)
SUBJECT = Subject(name="ball", identity=np.zeros(0), appearance_seed=0, tone=0.5)


class Ball(HeadModel):
    """A matt sphere as a head."""

    def __init__(self) -> None:
        self._template = sphere_template(65, RADIUS)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part(name="skin", material="skin", faces=self._template.faces, uv=self._template.uv),)

    @property
    def identity_names(self) -> tuple[str, ...]:
        return ()

    @property
    def expression_names(self) -> tuple[str, ...]:
        return ()

    def shape(self, identity, expression):
        return {"skin": self._template.vertices.astype(np.float64)}

    def landmarks(self, identity, expression):
        return self._template.landmarks

    def materials(self, subject: Subject) -> dict[str, Material]:
        return {"skin": Material(albedo=np.full((4, 4, 3), ALBEDO), roughness=1.0, specular=0.0)}


@pytest.fixture(scope="module")
def renderer() -> HeadRenderer:
    renderer = HeadRenderer(Ball(), threads=1)
    renderer.place(SUBJECT, np.zeros(0), Pose.identity())
    return renderer


def camera(position=(0.0, 0.0, 1.0), size=48, field_of_view=0.35):
    return look_at_origin(
        name="cam", position=np.array(position), field_of_view=field_of_view, size=size, split="train"
    )


def lamp(direction, irradiance=(1.0, 1.0, 1.0), distance=50.0) -> Light:
    unit = np.array(direction, float) / np.linalg.norm(direction)
    return Light(positions=unit[None] * distance, irradiance=np.array([irradiance], float))


def test_a_patch_that_faces_lamp_and_camera_has_the_radiance_of_the_rendering_equation(renderer):
    renderer.illuminate(lamp((0.0, 0.0, 1.0), irradiance=(2.0, 1.0, 0.5)))
    image = renderer.image(camera(), samples=64, seed=0).image
    # Burley's diffuse lobe at normal incidence and exitance is Lambert's; within a few degrees it differs by 2 %
    expected = np.array(ALBEDO) * (2.0, 1.0, 0.5) / np.pi
    np.testing.assert_allclose(image[:, 23:25, 23:25].mean(axis=(1, 2)), expected, rtol=0.03)


def test_light_comes_from_where_the_lamp_is_and_the_far_side_is_dark(renderer):
    renderer.illuminate(lamp((1.0, 0.0, 0.0)))
    image = renderer.image(camera(), samples=16, seed=0).image.sum(axis=0)
    assert image[:, 26:].mean() > 50 * image[:, :22].mean(), "x is to the right of the picture"
    renderer.illuminate(lamp((0.0, 1.0, 0.0)))
    image = renderer.image(camera(), samples=16, seed=0).image.sum(axis=0)
    assert image[:22].mean() > 50 * image[26:].mean(), "y is up"


def test_mask_is_the_coverage_of_the_sphere(renderer):
    renderer.illuminate(lamp((0.0, 0.0, 1.0)))
    mask = renderer.image(camera(size=64), samples=64, seed=0).mask[0]
    # the outline of a sphere: a cone that touches it; the template's 65² grid is 0.1 % smaller
    angle = np.arcsin(RADIUS / 1.0)
    area = np.pi * (64 / 2 * np.tan(angle) / np.tan(0.35 / 2)) ** 2
    assert mask.sum() == pytest.approx(area, rel=0.005)


@pytest.mark.parametrize("size", [(48, 48), (48, 64), (64, 48)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.0, -4.0)])
def test_the_principal_point_may_lie_anywhere(renderer, size, shift):
    """Whole, and where the camera projects it: real cameras are not centred."""
    centred = camera()
    intrinsics = centred.intrinsics.copy()
    intrinsics[:2, 2] = np.array(size) / 2 + shift
    view = dataclasses.replace(centred, intrinsics=intrinsics, width=size[0], height=size[1])
    mask, whole = (renderer.geometry(c, samples=16).mask[0] for c in (view, centred))
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    middle = np.array([(mask * x).sum(), (mask * y).sum()]) / mask.sum()
    np.testing.assert_allclose(
        middle, view.project(np.zeros((1, 3)))[0], atol=0.02
    )  # the template is no perfect sphere
    assert mask.sum() == pytest.approx(whole.sum(), rel=1e-3)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.05, -0.03, 0.0), (0.14, 0.0, 0.0), (0.9, 0.0, 0.0)])
def test_the_window_around_a_head_holds_all_of_it(renderer, shift):
    renderer.place(SUBJECT, np.zeros(0), Pose(rotation=np.eye(3), translation=np.array(shift)))
    renderer.illuminate(lamp((0.0, 0.0, 1.0)))
    view = camera()
    geometry = renderer.geometry(view, samples=16)
    window = Window.around(Ball().shape(None, None)["skin"] + np.array(shift), view)
    covered = np.argwhere(geometry.mask[0] > 0)
    whole = camera(size=48, field_of_view=1.2)
    seen = renderer.image(whole, samples=16, seed=0).mask[0]
    renderer.place(SUBJECT, np.zeros(0), Pose.identity())
    assert 1 <= window.width <= 48
    assert 1 <= window.height <= 48
    if len(covered):
        assert (covered.min(axis=0) >= (window.top, window.left)).all()
        assert (covered.max(axis=0) < (window.top + window.height, window.left + window.width)).all()
    # through a wide camera nothing is cut off, and the near camera must see the part of it that it can
    inside = abs(shift[0]) < 0.17 + RADIUS
    assert (seen.sum() > 0) == (abs(shift[0]) < 0.6)
    assert bool(len(covered)) == inside


def test_a_camera_inside_the_head_renders_the_whole_image():
    points = np.array([[0.0, 0.0, -0.1], [0.0, 0.0, 2.0]])
    window = Window.around(points, camera())
    assert (window.left, window.top, window.width, window.height) == (0, 0, 48, 48)


def test_a_picture_is_a_function_of_its_seed(renderer):
    renderer.illuminate(lamp((1.0, 1.0, 1.0)))
    pictures = [renderer.image(camera(), samples=4, seed=seed).image for seed in (3, 3, 4)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).max() > 0


def test_impossible_light_is_refused(renderer):
    renderer.illuminate(lamp((0.0, 0.0, 1.0), irradiance=(-1.0, 0.0, 0.0)))
    with pytest.raises(VrmmError, match="lights only add"):
        renderer.image(camera(), samples=4, seed=0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=64),
    st.integers(1, 600),
)
def test_strata_share_all_samples_and_give_every_lamp_some(power, samples):
    strata = lamp_strata(np.array(power), samples)
    assert (strata > 0).all()
    assert strata.sum() == pytest.approx(samples, rel=1e-9)


TINY = StageConfig(
    name="tiny", train_subjects=1, held_out_subjects=1, frames=5, held_out_frames=1, held_out_subject_frames=1
)


def test_photos_of_people_held_out_are_as_clean_as_asked():
    config = dataclasses.replace(
        TINY, held_out_subject_samples=9, full_on_samples=4, rig=dataclasses.replace(TINY.rig, image_size=32)
    )
    stage, noisy = LightStage(config, threads=1), dataclasses.replace(config, held_out_subject_samples=0)
    frame = stage.frames("q00")[0]
    camera = stage.info.cameras[0]
    assert (
        np.abs(
            stage.render_frame(frame, camera).image - LightStage(noisy, threads=1).render_frame(frame, camera).image
        ).max()
        > 0
    )
    with pytest.raises(VrmmError, match="held_out_subject_samples"):
        dataclasses.replace(TINY, held_out_subject_samples=-1)
