"""The procedural head: what a broken mesh, lid, lip or landmark would do to every picture of the project."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from datasets.lightstage.appearance import draw_look, skin_reflectance
from datasets.lightstage.appearance_uv import bake
from datasets.lightstage.geometry import boundary_loop, vertex_normals
from datasets.lightstage.hair import HIDDEN, hair_offset
from datasets.lightstage.head import HeadModel
from datasets.lightstage.heads import load_head_model, make_subject

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
MIRROR = np.array([-1.0, 1.0, 1.0])
MIRRORED_LANDMARKS = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
EYES = (("eye_right", -1.0), ("eye_left", 1.0))
EYE_RADIUS_METRES = 0.012


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model("procedural")


def average(head: HeadModel) -> np.ndarray:
    return np.zeros(len(head.identity_names))


def controls(head: HeadModel, **values: float) -> np.ndarray:
    """Control values by name; a name without its side sets both sides."""
    expression = head.neutral_expression()
    for name, value in values.items():
        places = [i for i, full in enumerate(head.expression_names) if full in (name, f"{name}_L", f"{name}_R")]
        assert places, f"no control {name}"
        expression[places] = value
    return expression


def part(head: HeadModel, name: str):
    return next(part for part in head.parts if part.name == name)


def person(head: HeadModel, seed: int) -> np.ndarray:
    return make_subject(head, "someone", seed, 0.5).identity


def signed_volume(points: np.ndarray, faces: np.ndarray) -> float:
    first, second, third = points[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", first, np.cross(second, third)).sum() / 6.0)


def hits(origins: np.ndarray, directions: np.ndarray, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Whether each ray meets the mesh in front of its origin (Möller and Trumbore 1997)."""
    corner, edge, other = points[faces[:, 0]], *(points[faces[:, k]] - points[faces[:, 0]] for k in (1, 2))
    found = np.zeros(len(origins), bool)
    for index, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
        across = np.cross(direction, other)
        volume = np.einsum("ij,ij->i", edge, across)
        scale = 1.0 / np.where(np.abs(volume) < 1e-18, np.inf, volume)
        offset = origin - corner
        u = np.einsum("ij,ij->i", offset, across) * scale
        turned = np.cross(offset, edge)
        v = turned @ direction * scale
        distance = np.einsum("ij,ij->i", other, turned) * scale
        slack = 1e-9
        found[index] = ((u >= -slack) & (v >= -slack) & (u + v <= 1 + slack) & (distance > 0) & (scale != 0)).any()
    return found


def uncovered(head: HeadModel, identity: np.ndarray, expression: np.ndarray, eye: str) -> float:
    """Share of the front of an eyeball that a viewer in front of the face sees past the lids."""
    shape = head.shape(identity, expression)
    ball, skin = shape[eye], shape["skin"]
    center = 0.5 * (ball.min(0) + ball.max(0))
    front = ball[ball[:, 2] > center[2] + 0.4 * EYE_RADIUS_METRES]
    near = np.linalg.norm(skin - center, axis=1) < 0.035
    faces = part(head, "skin").faces
    faces = faces[near[faces].any(1)]
    return 1.0 - hits(front, np.tile([0.0, 0.0, 1.0], (len(front), 1)), skin, faces).mean()


def test_the_same_seed_makes_the_same_person(head):
    subject, again = (make_subject(head, "a", 7, 0.3) for _ in range(2))
    expression = controls(head, jawOpen=0.4)
    np.testing.assert_array_equal(subject.identity, again.identity)
    assert subject.appearance_seed == again.appearance_seed
    fresh = load_head_model("procedural")
    shape, same = head.shape(subject.identity, expression), fresh.shape(again.identity, expression)
    for name, points in shape.items():
        np.testing.assert_array_equal(points, same[name])
    materials, equal = head.materials(subject), head.materials(again)
    for name, material in materials.items():
        np.testing.assert_array_equal(material.albedo, equal[name].albedo)


def test_people_differ_and_stay_within_two_deviations(head):
    people = [person(head, seed) for seed in range(6)]
    assert all(np.abs(identity).max() <= 2.0 for identity in people)
    shapes = [head.shape(identity, head.neutral_expression())["skin"] for identity in people]
    for first in range(6):
        for second in range(first):
            apart = np.linalg.norm(shapes[first] - shapes[second], axis=1)
            assert apart.mean() > 0.001  # a millimetre over the whole head is a visibly different person
    assert make_subject(head, "a", 1, 0.2).appearance_seed != make_subject(head, "a", 2, 0.2).appearance_seed


def test_every_identity_direction_is_visible_and_human(head):
    at_rest = head.shape(average(head), head.neutral_expression())
    for index, name in enumerate(head.identity_names):
        for value in (-2.0, 2.0):
            identity = average(head)
            identity[index] = value
            moved = head.shape(identity, head.neutral_expression())
            most = max(np.linalg.norm(moved[part] - at_rest[part], axis=1).max() for part in at_rest)
            assert 0.0008 < most < 0.020, name  # two deviations: from an eyelid's thickness to thick or no hair


def test_parts_shapes_and_materials_agree(head):
    subject = make_subject(head, "a", 3, 0.4)
    shape, materials = head.shape(subject.identity, controls(head, mouthSmile=1.0)), head.materials(subject)
    assert set(shape) == {part.name for part in head.parts}
    assert sum(map(len, shape.values())) <= 32_000
    for piece in head.parts:
        assert len(shape[piece.name]) == len(piece.uv)
        assert piece.faces.min() >= 0
        assert piece.faces.max() < len(piece.uv)
        assert piece.uv.min() >= 0.0
        assert piece.uv.max() <= 1.0
        albedo = materials[piece.material].albedo
        assert max(albedo.shape) <= 512
        assert albedo.min() > 0.0
        assert albedo.max() <= 0.9


def test_names_are_unique_and_there_are_enough(head):
    assert len(set(head.identity_names)) == len(head.identity_names) >= 20
    assert len(set(head.expression_names)) == len(head.expression_names) >= 15


def test_faces_look_outwards(head):
    shape = head.shape(average(head), head.neutral_expression())
    for name in ("eye_left", "eye_right", "caruncle_left", "caruncle_right", "teeth", "tongue", "skin"):
        assert signed_volume(shape[name], part(head, name).faces) > 0.0, name
    normals = vertex_normals(shape["skin"], part(head, "skin").faces)
    assert normals[np.argmax(shape["skin"][:, 2]), 2] > 0.9  # the tip of the nose
    hair = vertex_normals(shape["hair"], part(head, "hair").faces)
    assert hair[np.argmax(shape["hair"][:, 1]), 1] > 0.7
    for name, side in (("ear_left", 1.0), ("ear_right", -1.0)):
        outer = np.argmax(side * shape[name][:, 0])
        assert side * vertex_normals(shape[name], part(head, name).faces)[outer, 0] > 0.5


def test_neighbouring_faces_agree_about_the_outside(head):
    for piece in head.parts:
        edges = np.concatenate([piece.faces[:, [0, 1]], piece.faces[:, [1, 2]], piece.faces[:, [2, 0]]])
        assert len(np.unique(edges, axis=0)) == len(edges), f"{piece.name}: two faces run along an edge the same way"


def test_skin_texture_coordinates_do_not_overlap(head):
    """Each texel of the template belongs to one place, which the primitives of the prior rely on."""
    skin = part(head, "skin")
    corners = skin.uv[skin.faces]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0])
    assert area.min() > -1e-9
    assert 0.97 < area.sum() <= 1.0 + 1e-6  # the faces tile the square once


def test_the_average_head_has_its_documented_size_and_place(head):
    shape = head.shape(average(head), head.neutral_expression())
    skin = shape["skin"]
    chin = head.landmarks(average(head), head.neutral_expression())[8, 1]
    assert 0.21 < skin[:, 1].max() - chin < 0.24
    assert 0.14 < np.ptp(skin[:, 0]) < 0.16
    assert max(np.linalg.norm(points, axis=1).max() for points in shape.values()) < 0.155


def test_landmarks_are_symmetric_ordered_and_on_the_skin(head):
    identity = average(head)
    identity[: len(identity) - 4] = np.clip(np.random.default_rng(0).normal(size=len(identity) - 4), -1.5, 1.5)
    points = head.landmarks(identity, controls(head, mouthSmile=0.6, jawOpen=0.3))
    np.testing.assert_allclose(points[MIRRORED_LANDMARKS] * MIRROR, points, atol=2e-5)
    assert points[0, 0] < -0.05 < 0.05 < points[16, 0]  # the subject's right first
    assert (np.diff(points[1:9, 0]) > 0).all()
    assert (np.diff(points[:9, 1]) < 0).all()
    assert (np.diff(points[17:27, 0]) > 0).all()
    assert (np.diff(points[27:31, 1]) < 0).all()
    assert points[36, 0] < points[39, 0] < 0 < points[42, 0] < points[45, 0]
    assert points[51, 1] > points[62, 1] > points[66, 1] > points[57, 1]
    skin = head.shape(identity, controls(head, mouthSmile=0.6, jawOpen=0.3))["skin"]
    gaps = np.linalg.norm(points[:, None] - skin[None], axis=-1).min(1)
    assert gaps.max() < 1e-12
    assert len(np.unique(points.round(6), axis=0)) == 68


def test_the_head_is_symmetric(head):
    skin = head.shape(average(head), controls(head, jawOpen=0.5, eyeBlink=0.3, mouthPucker=0.2))["skin"]
    order = np.lexsort(np.round(skin * [1, 1, 1], 5).T)
    image = np.lexsort(np.round(skin * MIRROR, 5).T)
    np.testing.assert_allclose(np.sort(skin[order, 1]), np.sort(skin[image, 1]), atol=1e-6)
    np.testing.assert_allclose(np.sort(skin[:, 0]), np.sort(-skin[:, 0]), atol=1e-5)


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("gaze", ["none", "eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut"])
def test_blinking_covers_the_eyes_whatever_the_gaze(head, seed, gaze):
    identity = average(head) if seed is None else person(head, seed)
    look = {} if gaze == "none" else {gaze: 1.0}
    for eye, _ in EYES:
        assert uncovered(head, identity, controls(head, eyeBlink=1.0, **look), eye) == 0.0
    if seed is None and gaze == "none":
        assert uncovered(head, identity, controls(head), "eye_left") > 0.15  # open eyes do show the eyeball


def test_no_lid_cuts_into_an_eyeball(head):
    random = np.random.default_rng(5)
    for seed in range(3):
        expression = random.uniform(0.0, 1.0, len(head.expression_names))
        shape = head.shape(person(head, seed), expression)
        skin = shape["skin"]
        outside = np.setdiff1d(np.arange(len(skin)), head_margins(head))
        for eye, _ in EYES:
            sphere = shape[eye]
            axis_end, back = sphere[0], sphere[-1]
            size = np.linalg.norm(axis_end - back) / (2 * EYE_RADIUS_METRES + 0.0009)
            center = back + (axis_end - back) * EYE_RADIUS_METRES / (2 * EYE_RADIUS_METRES + 0.0009)
            distance = np.linalg.norm(skin[outside] - center, axis=1)
            # the cornea reaches 12.9 mm on an eye of average size
            assert distance.min() > 0.0129 * size


def head_margins(head: HeadModel) -> np.ndarray:
    """Lid margins lead into the eyeball on purpose: they are the skin inside it at rest."""
    shape = head.shape(average(head), head.neutral_expression())
    margins = []
    for eye, _ in EYES:
        ball = shape[eye]
        center = ball[-1] + np.array([0.0, 0.0, EYE_RADIUS_METRES])
        margins.append(np.where(np.linalg.norm(shape["skin"] - center, axis=1) < 0.0128)[0])
    return np.concatenate(margins)


def test_gaze_turns_the_pupils(head):
    ahead = head.shape(average(head), controls(head))
    for control, axis, sign in (("eyeLookUp", 1, 1.0), ("eyeLookDown", 1, -1.0)):
        moved = head.shape(average(head), controls(head, **{control: 1.0}))
        for eye, _ in EYES:
            assert sign * (moved[eye][0] - ahead[eye][0])[axis] > 0.003
    inwards = head.shape(average(head), controls(head, eyeLookIn=1.0))
    for eye, side in EYES:
        assert side * (inwards[eye][0] - ahead[eye][0])[0] < -0.003


def test_the_mouth_opens_wide_and_closes_tightly(head):
    for identity in (average(head), person(head, 4), person(head, 9)):
        for name, least, most in (("jawOpen", 0.015, 0.045), (None, 0.0, 0.001)):
            points = head.landmarks(identity, controls(head, **({name: 1.0} if name else {})))
            gap = np.linalg.norm(points[[61, 62, 63]] - points[[67, 66, 65]], axis=1)
            assert least <= gap[1] <= most
            assert gap.max() <= most


def test_lower_teeth_and_tongue_follow_the_jaw(head):
    closed, opened = (head.shape(average(head), controls(head, jawOpen=value)) for value in (0.0, 1.0))
    moved = opened["teeth"][:, 1] - closed["teeth"][:, 1]
    half = len(moved) // 2
    assert np.abs(moved[:half]).max() == 0.0
    assert moved[half:].max() < -0.01
    assert (opened["tongue"][:, 1] - closed["tongue"][:, 1]).min() < -0.01


def test_closed_lips_hide_teeth_tongue_and_cavity(head):
    shape = head.shape(average(head), head.neutral_expression())
    random = np.random.default_rng(1)
    for name in ("teeth", "tongue", "cavity"):
        chosen = random.choice(len(shape[name]), 25, replace=False)
        if name == "cavity":
            chosen = chosen[chosen > len(shape[name]) // 4]  # its first rings lie on the skin
        ahead = np.tile([0.0, 0.0, 1.0], (len(chosen), 1))
        assert hits(shape[name][chosen], ahead, shape["skin"], part(head, "skin").faces).all(), name


def test_every_control_is_visible(head):
    at_rest = head.shape(average(head), head.neutral_expression())
    for name in head.expression_names:
        moved = head.shape(average(head), controls(head, **{name: 1.0}))
        most = max(np.linalg.norm(moved[part] - at_rest[part], axis=1).max() for part in at_rest)
        assert 0.0015 < most < 0.06, name


def test_expressions_leave_the_back_of_the_head_and_the_neck_alone(head):
    expression = np.ones(len(head.expression_names))
    at_rest = head.shape(average(head), head.neutral_expression())["skin"]
    moved = head.shape(average(head), expression)["skin"]
    still = (at_rest[:, 2] < -0.03) | (at_rest[:, 1] < -0.1255)
    assert np.linalg.norm(moved - at_rest, axis=1)[still].max() < 0.0005


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1), busy=st.floats(0.0, 1.0))
def test_any_person_with_any_expression_is_finite_and_bounded(head, seed, busy):
    random = np.random.default_rng(seed)
    identity = np.clip(random.normal(size=len(head.identity_names)), -2.0, 2.0)
    expression = random.uniform(0.0, 1.0, len(head.expression_names))
    expression *= random.uniform(size=expression.shape) < busy
    shape = head.shape(identity, expression)
    at_rest = head.shape(average(head), head.neutral_expression())
    for name, points in shape.items():
        assert np.isfinite(points).all()
        assert np.linalg.norm(points, axis=1).max() < 0.175
        assert np.linalg.norm(points - at_rest[name], axis=1).max() < 0.06


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1))
def test_shape_is_smooth_in_its_arguments(head, seed):
    """A step of 1e-4 in every coefficient moves nothing by more than 0.1 mm: no jumps for the fitting to fall into.

    The edge of the hair is round: it rises like a square root, by up to 0.4 mm for a step of the hairline that small.
    """
    random = np.random.default_rng(seed)
    identity = np.clip(random.normal(size=len(head.identity_names)), -1.9, 1.9)
    expression = random.uniform(0.05, 0.95, len(head.expression_names))
    first = head.shape(identity, expression)
    second = head.shape(
        identity + 1e-4 * random.uniform(-1, 1, identity.shape),
        expression + 1e-4 * random.uniform(-1, 1, expression.shape),
    )
    for name, points in first.items():
        assert np.linalg.norm(points - second[name], axis=1).max() < (4e-4 if name == "hair" else 1e-4), name


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), tone=st.floats(0.0, 0.99))
def test_skin_darkens_with_tone(seed, tone):
    assert skin_reflectance(tone) @ LUMINANCE > skin_reflectance(tone + 0.01) @ LUMINANCE
    light, dark = draw_look(seed, tone), draw_look(seed, tone + 0.01)
    assert light.skin @ LUMINANCE > dark.skin @ LUMINANCE
    assert light.lip @ LUMINANCE < light.skin @ LUMINANCE


def test_skin_covers_the_range_of_people(head):
    lightest, darkest = (make_subject(head, "a", 1, tone) for tone in (0.0, 1.0))
    face = np.s_[180:330, 200:300]
    bright, dark = ((head.materials(s)["skin"].albedo[face] @ LUMINANCE).mean() for s in (lightest, darkest))
    assert bright > 0.35
    assert dark < 0.07


def test_appearance_does_not_depend_on_the_name_or_the_other_seed(head):
    subject = make_subject(head, "a", 1, 0.4)
    other = dataclasses.replace(subject, name="b")
    np.testing.assert_array_equal(head.materials(subject)["skin"].albedo, head.materials(other)["skin"].albedo)
    changed = dataclasses.replace(subject, appearance_seed=subject.appearance_seed + 1)
    assert not np.array_equal(head.materials(subject)["skin"].albedo, head.materials(changed)["skin"].albedo)


def test_hair_hides_under_the_skin_where_none_grows():
    chin, crown = np.array([[0.0, -0.1, 0.08]]), np.array([[0.0, 0.11, -0.02]])
    style = np.zeros(4)
    assert hair_offset(chin, style)[0] == pytest.approx(HIDDEN)
    assert hair_offset(crown, style)[0] > 0.005
    assert hair_offset(crown, np.array([0.0, 2.0, 0.0, 0.0]))[0] == pytest.approx(HIDDEN)  # bald on top
    assert hair_offset(crown, np.array([1.5, 0, 0, 0]))[0] > hair_offset(crown, np.array([-1.5, 0, 0, 0]))[0]


def test_bake_interpolates_linearly_and_fills_the_rest():
    uv = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    texture = bake(uv, np.array([[0, 1, 2]]), uv, 64)
    assert np.isfinite(texture).all()
    column, row = 20, 64 - 1 - 15
    np.testing.assert_allclose(texture[row, column], [(column + 0.5) / 64, (15 + 0.5) / 64], atol=1 / 64)


def test_boundary_loop_caps_outwards():
    """An open cylinder: the cap that follows the lower loop looks down."""
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(turn), 0 * turn, -np.sin(turn)], 1)
    points = np.concatenate([ring, ring + [0, 1, 0]])
    after = (np.arange(12) + 1) % 12
    faces = np.concatenate(
        [np.stack([np.arange(12), after, after + 12], 1), np.stack([np.arange(12), after + 12, np.arange(12) + 12], 1)]
    )
    assert signed_volume(points - [0, 0.5, 0], faces) > 0
    loop = boundary_loop(faces, points, lowest=True)
    assert sorted(loop) == list(range(12))
    fan = np.cross(points[loop[1]] - points[loop[0]], -points[loop[0]])
    assert fan[1] < 0
    with pytest.raises(VrmmError, match="no open neck"):
        boundary_loop(np.array([[0, 1, 2], [0, 2, 1]]), points, lowest=True)


def test_an_unknown_head_is_one_clear_line(tmp_path):
    with pytest.raises(VrmmError, match="procedural"):
        load_head_model(str(tmp_path / "absent.npz"))
    with pytest.raises(VrmmError, match=r"generic_neutral_mesh\.obj"):
        load_head_model(str(tmp_path))
