"""Reading the ICT Face Model from one ``.npz`` or from the OBJ files of an ICT-FaceKit checkout."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from datasets.errors import VrmmError

_LANDMARKS68 = (
    "1225 1888 1052 367 1719 1722 2199 1447 966 3661 4390 3927 3924 2608 3272 4088 3443 268 493 1914 2044 1401 3615 "
    "4240 4114 2734 2509 978 4527 4942 4857 1140 2075 1147 4269 3360 1507 1542 1537 1528 1518 1511 3742 3751 3756 "
    "3721 3725 3732 5708 5695 2081 0 4275 6200 6213 6346 6461 5518 5957 5841 5702 5711 5533 6216 6207 6470 5517 5966"
)
# Opaque materials first in the order of the npz; anything else in an OBJ is a transparent shell.
_MATERIALS = ("M_Face", "M_BackHead", "M_GumsTongue", "M_Teeth", "M_ScleraLeft", "M_IrisLeft", "M_ScleraRight")
_SHELL = 255
_INDEX_ARRAYS = ("faces", "faces_uv", "face_material", "landmarks68")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ICTArrays:
    """The model as it is distributed: centimetres, x to the head's left, y up, z out of the face."""

    vertices: Float[np.ndarray, "V 3"]
    uv: Float[np.ndarray, "T 2"]
    faces: Int[np.ndarray, "F 3"]
    faces_uv: Int[np.ndarray, "F 3"]
    face_material: Integer[np.ndarray, "F"]
    identity_basis: Float[np.ndarray, "I V 3"]
    expression_basis: Float[np.ndarray, "E V 3"]
    expression_names: tuple[str, ...]
    landmarks68: Int[np.ndarray, "68"]


def read_ict(path: Path) -> ICTArrays:
    """Read a converted ``.npz`` or a folder of OBJ files.

    Raises:
        VrmmError: the path does not exist, or what lies there is not the model (the message names the array or file).
    """
    if path.is_dir():
        return _read_objs(path)
    if not path.is_file():
        raise VrmmError(f"{path} does not exist; give 'procedural', an ICT .npz or an ICT-FaceKit folder")
    return _read_npz(path)


def _read_npz(path: Path) -> ICTArrays:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise VrmmError(f"{path} is not an ICT Face Model .npz: {str(error).splitlines()[0]}") from error
    names = [field.name for field in dataclasses.fields(ICTArrays)]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise VrmmError(f"{path} lacks the array {missing[0]}; convert the ICT Face Model again")
    return _checked(path, {name: arrays[name] for name in names})


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> ICTArrays:
    """The model, once shapes fit together, indices are in range and numbers are finite."""
    count, coordinates, faces = (len(np.atleast_1d(arrays[name])) for name in ("vertices", "uv", "faces"))
    names = tuple(str(name) for name in np.atleast_1d(arrays["expression_names"]))
    expected = {
        "vertices": (count, 3),
        "uv": (coordinates, 2),
        "faces": (faces, 3),
        "faces_uv": (faces, 3),
        "face_material": (faces,),
        "identity_basis": (len(np.atleast_1d(arrays["identity_basis"])), count, 3),
        "expression_basis": (len(names), count, 3),
        "landmarks68": (68,),
    }
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise VrmmError(f"{path}: array {name} has shape {array.shape}, not {shape}; convert the model again")
        kind = np.integer if name in _INDEX_ARRAYS else np.floating
        if not np.issubdtype(array.dtype, kind):
            raise VrmmError(f"{path}: array {name} is of type {array.dtype}; convert the model again")
        if not np.isfinite(array).all():
            raise VrmmError(f"{path}: array {name} holds NaN or infinity; convert the model again")
    for name, limit in (("faces", count), ("faces_uv", coordinates), ("landmarks68", count)):
        if arrays[name].min() < 0 or arrays[name].max() >= limit:
            raise VrmmError(f"{path}: array {name} points outside 0..{limit - 1}; convert the model again")
    return ICTArrays(**{**arrays, "expression_names": names})


def _read_objs(folder: Path) -> ICTArrays:
    model = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral_path = model / "generic_neutral_mesh.obj"
    if not neutral_path.is_file():
        raise VrmmError(f"{folder} holds no FaceXModel/generic_neutral_mesh.obj; give an ICT-FaceKit checkout")
    vertices, uv, faces, faces_uv, material = _read_obj(neutral_path)
    identities = sorted(model.glob("identity[0-9][0-9][0-9].obj"))
    others = {path.stem: path for path in sorted(model.glob("*.obj"))}
    names = [name for name in others if not name.startswith(("identity", "generic_neutral"))]
    if not identities or not names:
        raise VrmmError(f"{model} lacks the identity or expression OBJ files; check the ICT-FaceKit checkout")
    offsets = [_offset(path, vertices) for path in identities]
    expressions = [_offset(others[name], vertices) for name in names]
    return _checked(
        model,
        {
            "vertices": vertices,
            "uv": uv,
            "faces": faces,
            "faces_uv": faces_uv,
            "face_material": material,
            "identity_basis": np.stack(offsets),
            "expression_basis": np.stack(expressions),
            "expression_names": np.array(names),
            "landmarks68": np.array(_LANDMARKS68.split(), int),
        },
    )


def _offset(path: Path, neutral: np.ndarray) -> np.ndarray:
    points = _vertices(path.read_text().splitlines())
    if points.shape != neutral.shape:
        raise VrmmError(f"{path} has {len(points)} vertices, the neutral mesh {len(neutral)}; check the checkout")
    return (points - neutral).astype(np.float32)


def _vertices(lines: list[str]) -> np.ndarray:
    return np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float32).reshape(-1, 3)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, texture coordinates, triangles into both (fans of polygons) and a material number a triangle."""
    lines = path.read_text().splitlines()
    uv = np.array([line.split()[1:3] for line in lines if line.startswith("vt ")], np.float32).reshape(-1, 2)
    triangles, materials, current = [], [], _SHELL
    for line in lines:
        if line.startswith("usemtl "):
            name = line.split()[1]
            current = _MATERIALS.index(name) if name in _MATERIALS else _SHELL
        elif line.startswith("f "):
            corners = [[int(number) - 1 for number in corner.split("/")[:2]] for corner in line.split()[1:]]
            fan = [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
            triangles += fan
            materials += [current] * len(fan)
    if not triangles or any(len(corner) < 2 for corner in triangles[0]):
        raise VrmmError(f"{path} holds no textured faces; it is not the neutral mesh of ICT-FaceKit")
    indices = np.array(triangles)
    return _vertices(lines), uv, indices[..., 0], indices[..., 1], np.array(materials, np.uint8)
