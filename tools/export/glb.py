"""glTF 2.0 in one binary file: textured sheets with morph targets, written and read."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from prior.metrics import DISPLAY_GAMMA
from tools.export.layers import LayeredMesh

MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
FLOAT, UNSIGNED_INT = 5126, 5125
VERTEX_DATA, INDEX_DATA = 34962, 34963
LINEAR, CLAMP = 9729, 33071
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}


def write_glb(
    path: Path,
    mesh: LayeredMesh,
    normals: Float[np.ndarray, "V 3"],
    morphs: Sequence[tuple[str, Float[np.ndarray, "V 3"]]],
    about: dict[str, Any],
) -> None:
    """Write a mesh whole or not at all, in glTF's frame, which is the head frame: metres, y up, z out of the face.

    Every sheet is a primitive with a material of its own, from the inside out, which is the order to draw them in. The
    textures are radiance as it is, so materials are unlit; they are stored with the sRGB curve, as glTF wants them.

    Args:
        path: the file.
        mesh: its sheets and their textures.
        normals: [V, 3] unit, of every sheet.
        morphs: name and offsets [V, 3] at weight 1 of each target; all weights are 0 at first.
        about: facts for ``asset.extras``.
    """
    buffer = _Buffer()
    content: dict[str, Any] = {"name": "head", "primitives": _primitives(buffer, mesh, normals, morphs)}
    if morphs:
        content["weights"] = [0.0] * len(morphs)
        content["extras"] = {"targetNames": [name for name, _ in morphs]}
    images = [{"bufferView": buffer.view(_png(texture)), "mimeType": "image/png"} for texture in mesh.textures]
    document = {
        "asset": {"version": "2.0", "generator": "vrmm export", "extras": about},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [content],
        "materials": [_material(number) for number in range(len(mesh.points))],
        "textures": [{"source": number, "sampler": 0} for number in range(len(mesh.points))],
        "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR, "wrapS": CLAMP, "wrapT": CLAMP}],
        "images": images,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = _padded(json.dumps(document, allow_nan=False).encode(), b" ")
    body = struct.pack("<II", len(text), JSON_CHUNK) + text
    body += struct.pack("<II", len(buffer.data), BINARY_CHUNK) + bytes(buffer.data)
    atomic_write_bytes(path, struct.pack("<III", MAGIC, VERSION, 12 + len(body)) + body)


def _primitives(
    buffer: "_Buffer",
    mesh: LayeredMesh,
    normals: Float[np.ndarray, "V 3"],
    morphs: Sequence[tuple[str, Float[np.ndarray, "V 3"]]],
) -> list[dict[str, Any]]:
    """One a sheet; they share everything but their positions."""
    normal = buffer.accessor(normals.astype("<f4"), FLOAT, VERTEX_DATA)
    place = buffer.accessor(mesh.uv.astype("<f4"), FLOAT, VERTEX_DATA)
    indices = buffer.accessor(mesh.faces.astype("<u4").reshape(-1, 1), UNSIGNED_INT, INDEX_DATA)
    offsets = [buffer.accessor(offset.astype("<f4"), FLOAT, VERTEX_DATA, bounds=True) for _, offset in morphs]
    found = []
    for number, points in enumerate(mesh.points):
        position = buffer.accessor(points.astype("<f4"), FLOAT, VERTEX_DATA, bounds=True)
        primitive: dict[str, Any] = {
            "attributes": {"POSITION": position, "NORMAL": normal, "TEXCOORD_0": place},
            "indices": indices,
            "material": number,
        }
        if offsets:
            primitive["targets"] = [{"POSITION": offset} for offset in offsets]
        found.append(primitive)
    return found


def _material(sheet: int) -> dict[str, Any]:
    return {
        "name": f"sheet_{sheet}",
        "doubleSided": sheet == 0,
        "alphaMode": "OPAQUE" if sheet == 0 else "BLEND",
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": sheet},
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
        "extensions": {"KHR_materials_unlit": {}},
    }


def read_glb(path: Path) -> tuple[LayeredMesh, dict[str, Float[np.ndarray, "V 3"]]]:
    """The mesh of a file written by ``write_glb``, and its morph targets by name.

    Raises:
        VrmmError: it is none.
    """
    data = Path(path).read_bytes()
    try:
        magic, _, total = struct.unpack_from("<III", data)
        length, kind = struct.unpack_from("<II", data, 12)
        if magic != MAGIC or kind != JSON_CHUNK or total != len(data):
            raise ValueError("it is no binary glTF")
        document = json.loads(data[20 : 20 + length])
        binary = data[28 + length :]
        content = document["meshes"][0]
        sheets = content["primitives"]
        names = content.get("extras", {}).get("targetNames", [])
        images = [document["bufferViews"][image["bufferView"]] for image in document["images"]]
        pngs = [binary[image["byteOffset"] : image["byteOffset"] + image["byteLength"]] for image in images]
        mesh = LayeredMesh(
            points=np.stack([_read(document, binary, sheet["attributes"]["POSITION"]) for sheet in sheets]),
            uv=_read(document, binary, sheets[0]["attributes"]["TEXCOORD_0"]),
            faces=_read(document, binary, sheets[0]["indices"]).reshape(-1, 3),
            textures=np.stack([_texture(png) for png in pngs]),
        )
        offsets = [_read(document, binary, target["POSITION"]) for target in sheets[0].get("targets", [])]
    except (struct.error, ValueError, KeyError, IndexError, OSError) as error:
        raise VrmmError(f"{path} is not a mesh that vrmm export has written: {error}") from error
    return mesh, dict(zip(names, offsets, strict=True))


class _Buffer:
    """The binary part of a file, and what points into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, target: int | None = None) -> int:
        """Append bytes; the number of their view."""
        found: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(found if target is None else {**found, "target": target})
        self.data += _padded(content, b"\0")
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, component: int, target: int, *, bounds: bool = False) -> int:
        """Append rows of numbers; the number of their accessor."""
        found: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": _TYPES[values.shape[1]],
        }
        if bounds:
            found |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(found)
        return len(self.accessors) - 1


def _read(document: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    width = {name: size for size, name in _TYPES.items()}[accessor["type"]]
    kind = {FLOAT: "<f4", UNSIGNED_INT: "<u4"}[accessor["componentType"]]
    values = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
    return values.reshape(-1, width).astype(np.float64 if accessor["componentType"] == FLOAT else np.int64)


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % 4)


def _png(texture: Float[np.ndarray, "T T 4"]) -> bytes:
    linear = np.clip(texture[..., :3], 0.0, 1.0) ** DISPLAY_GAMMA
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    levels = (np.concatenate([srgb, np.clip(texture[..., 3:], 0.0, 1.0)], axis=-1) * 255.0).round().astype(np.uint8)
    file = io.BytesIO()
    opaque = bool((levels[..., 3] == 255).all())
    Image.fromarray(levels[..., :3] if opaque else levels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _texture(png: bytes) -> Float[np.ndarray, "T T 4"]:
    with Image.open(io.BytesIO(png)) as picture:
        levels = np.asarray(picture.convert("RGBA")).astype(np.float64) / 255.0
    srgb = levels[..., :3]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.concatenate([linear ** (1.0 / DISPLAY_GAMMA), levels[..., 3:]], axis=-1)
