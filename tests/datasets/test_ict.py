"""The ICT Face Model: reading it, refusing what is not it, and the same place and size as the project's own head."""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.lightstage.geometry import vertex_normals
from datasets.lightstage.heads import load_head_model, make_subject
from datasets.lightstage.ict import NECK_RADIUS, ICTHead
from datasets.lightstage.ict_files import ICTArrays, read_ict

MODEL = Path(os.environ.get("VRMM_ICT_MODEL") or Path(__file__).parents[3] / "shared/data/ict_face_model.npz")
needs_model = pytest.mark.skipif(not MODEL.exists(), reason="set VRMM_ICT_MODEL to an ICT Face Model .npz")


@pytest.fixture(scope="module")
def head() -> ICTHead:
    model = load_head_model(str(MODEL))
    assert isinstance(model, ICTHead)
    return model


def small_arrays() -> dict[str, np.ndarray]:
    """A model of four vertices with every array of the real one."""
    return {
        "vertices": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
        "uv": np.array([[0, 0], [1, 0], [0, 1]], np.float32),
        "faces": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        "faces_uv": np.array([[0, 1, 2], [0, 1, 2]], np.int32),
        "face_material": np.zeros(2, np.uint8),
        "identity_basis": np.zeros((2, 4, 3), np.float16),
        "expression_basis": np.ones((1, 4, 3), np.float16),
        "expression_names": np.array(["jawOpen"]),
        "landmarks68": np.zeros(68, np.int32),
    }


def write(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "model.npz", **arrays)
    return folder / "model.npz"


def test_a_complete_file_is_read(tmp_path):
    arrays = read_ict(write(tmp_path, small_arrays()))
    assert arrays.expression_names == ("jawOpen",)
    np.testing.assert_array_equal(arrays.vertices, small_arrays()["vertices"])


@pytest.mark.parametrize("name", sorted(small_arrays()))
def test_a_missing_array_is_named(tmp_path, name):
    arrays = small_arrays()
    del arrays[name]
    with pytest.raises(VrmmError, match=f"lacks the array {name};"):
        read_ict(write(tmp_path, arrays))


@pytest.mark.parametrize("name", ["uv", "faces_uv", "face_material", "identity_basis", "expression_basis"])
def test_an_array_of_the_wrong_shape_is_named(tmp_path, name):
    arrays = small_arrays()
    arrays[name] = np.concatenate([arrays[name][..., None]] * 2, -1)
    with pytest.raises(VrmmError, match=f"array {name} has shape"):
        read_ict(write(tmp_path, arrays))


@pytest.mark.parametrize(("name", "value"), [("faces", 4), ("faces", -1), ("faces_uv", 3), ("landmarks68", 99)])
def test_an_index_out_of_range_is_named(tmp_path, name, value):
    arrays = small_arrays()
    arrays[name].flat[1] = value
    with pytest.raises(VrmmError, match=f"array {name} points outside"):
        read_ict(write(tmp_path, arrays))


def test_an_array_of_the_wrong_type_is_named(tmp_path):
    arrays = small_arrays()
    arrays["faces"] = arrays["faces"].astype(np.float32)
    with pytest.raises(VrmmError, match="array faces is of type float32"):
        read_ict(write(tmp_path, arrays))


def test_nan_is_named(tmp_path):
    arrays = small_arrays()
    arrays["identity_basis"][1, 2, 0] = np.nan
    with pytest.raises(VrmmError, match="array identity_basis holds NaN"):
        read_ict(write(tmp_path, arrays))


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.npz").write_text("not a zip file")
    with pytest.raises(VrmmError, match="is not an ICT Face Model") as error:
        read_ict(tmp_path / "text.npz")
    assert "\n" not in str(error.value)
    whole = write(tmp_path, small_arrays()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VrmmError, match="is not an ICT Face Model"):
        read_ict(tmp_path / "cut.npz")
    with pytest.raises(VrmmError, match="does not exist"):
        read_ict(tmp_path / "absent.npz")


def write_obj(path: Path, vertices: np.ndarray, faces: str = "") -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    path.write_text("\n".join(lines) + "\n" + faces)


def test_a_checkout_of_obj_files_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.lightstage.ict_files._LANDMARKS68", " ".join(["2"] * 68))
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    faces = "usemtl M_Face\nf 1/1 2/2 3/3 4/4\nusemtl M_EyeLashes\nf 1/1 2/2 3/3\n"
    write_obj(folder / "generic_neutral_mesh.obj", vertices, faces)
    write_obj(folder / "identity000.obj", vertices + [0.5, 0, 0])
    write_obj(folder / "jawOpen.obj", vertices - [0, 2, 0])
    arrays = read_ict(tmp_path)
    np.testing.assert_array_equal(arrays.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])  # a fan of the quad, then a triangle
    np.testing.assert_array_equal(arrays.faces_uv, arrays.faces)
    assert arrays.face_material[0] == arrays.face_material[1] == 0
    assert arrays.face_material[2] not in range(8)  # lashes are a shell that is left out
    np.testing.assert_allclose(arrays.identity_basis[0], np.tile([0.5, 0, 0], (4, 1)))
    np.testing.assert_allclose(arrays.expression_basis[0], np.tile([0, -2, 0], (4, 1)))
    assert arrays.expression_names == ("jawOpen",)
    write_obj(folder / "jawOpen.obj", vertices[:3])
    with pytest.raises(VrmmError, match=r"jawOpen\.obj has 3 vertices"):
        read_ict(tmp_path)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(VrmmError, match="lacks the identity or expression"):
        read_ict(tmp_path)


@needs_model
def test_it_lies_where_the_procedural_head_lies(head):
    own = load_head_model("procedural")
    shapes, points = [], []
    for model in (head, own):
        identity = np.zeros(len(model.identity_names))
        shapes.append(model.shape(identity, model.neutral_expression()))
        points.append(model.landmarks(identity, model.neutral_expression()))
    assert np.linalg.norm(points[0] - points[1], axis=1).max() < 0.02
    for shape in shapes:
        assert max(np.linalg.norm(vertices, axis=1).max() for vertices in shape.values()) < 0.155
        assert 0.105 < shape["skin"][:, 1].max() < 0.12


@needs_model
def test_parts_shapes_and_materials_agree(head):
    subject = make_subject(head, "a", 2, 0.6)
    shape = head.shape(subject.identity, head.neutral_expression())
    materials = head.materials(subject)
    assert set(shape) == {part.name for part in head.parts}
    for part in head.parts:
        assert part.faces.max() < len(part.uv) == len(shape[part.name])
        assert part.uv.min() >= 0.0
        assert part.uv.max() <= 1.0
        assert np.isfinite(materials[part.material].albedo).all()
    names = [part.name for part in head.parts]
    assert not any(shell in name for name in names for shell in ("lash", "lacrimal", "blend", "occlusion"))


@needs_model
def test_coefficients_are_the_models_own(head):
    arrays = read_ict(MODEL)
    identity = np.zeros(len(head.identity_names))
    at_rest = head.landmarks(identity, head.neutral_expression())
    identity[3] = 1.5
    expression = head.neutral_expression()
    jaw = arrays.expression_names.index("jawOpen")
    expression[jaw] = 0.5
    expected = 1.5 * arrays.identity_basis[3].astype(float) + 0.5 * arrays.expression_basis[jaw].astype(float)
    moved = head.landmarks(identity, expression) - at_rest
    face = slice(17, 68)
    np.testing.assert_allclose(moved[face], 0.01 * expected[arrays.landmarks68[face]], atol=1e-6)


@needs_model
def test_the_neck_ends_smoothly_in_the_same_place_for_everyone(head):
    for seed in (None, 1, 2):
        identity = np.zeros(len(head.identity_names)) if seed is None else make_subject(head, "a", seed, 0.5).identity
        end = head.shape(identity, np.full(len(head.expression_names), 0.3))["neck_end"][:-1]
        np.testing.assert_allclose(np.linalg.norm(end, axis=1), NECK_RADIUS, atol=5e-4)


@needs_model
def test_skin_looks_outwards_and_eyes_forwards(head):
    subject = make_subject(head, "a", 3, 0.2)
    shape = head.shape(np.zeros(len(head.identity_names)), head.neutral_expression())
    skin = next(part for part in head.parts if part.name == "skin")
    assert vertex_normals(shape["skin"], skin.faces)[np.argmax(shape["skin"][:, 2]), 2] > 0.8
    materials = head.materials(subject)
    for name in ("eye_left", "eye_right"):
        part = next(part for part in head.parts if part.name == name)
        front = np.argmax(shape[name][:, 2])
        albedo = materials[part.material].albedo
        column, row = (np.array([part.uv[front, 0], 1.0 - part.uv[front, 1]]) * (len(albedo) - 1)).astype(int)
        assert albedo[row, column].max() < 0.05  # the pupil
        assert np.median(albedo.mean(-1)) > 0.2  # the rest is mostly sclera


@needs_model
def test_the_same_seed_makes_the_same_person(head):
    subject, again = (make_subject(head, "a", 5, 0.3) for _ in range(2))
    expression = np.linspace(0.0, 0.5, len(head.expression_names))
    for name, points in head.shape(subject.identity, expression).items():
        assert np.isfinite(points).all()
        np.testing.assert_array_equal(points, head.shape(again.identity, expression)[name])


def test_arrays_of_a_model_are_complete():
    assert set(small_arrays()) == set(ICTArrays.__annotations__)
