"""The ICT Face Model (ICT-FaceKit, USC Institute for Creative Technologies, MIT licence) as a head model.

The model is not part of this project: it is read through a path, either converted to one ``.npz`` or as the
OBJ files of an ICT-FaceKit checkout (see ``ict_files``). Its centimetres become metres, and the origin moves to
the centre of the bounding sphere of the head without neck and shoulders, (0, 3.2, 1.9) cm in its own frame, which
puts it where ``ProceduralHead`` is: the same cameras frame both. The neck ends on a sphere around the origin.
Thin transparent shells (lacrimal fluid, eye blend, eye occlusion, lashes) are left out, and a shell of hair that
``hair`` describes is added over the scalp.
"""

import functools

import numpy as np
from jaxtyping import Float

from datasets.lightstage.appearance import TEETH_ROUGHNESS, TEETH_SPECULAR, draw_look
from datasets.lightstage.appearance_parts import eye_material, hair_material, skin_material, wet_material
from datasets.lightstage.appearance_skin import SkinMap, map_skin, paint_skin
from datasets.lightstage.appearance_uv import bake
from datasets.lightstage.geometry import boundary_loop, vertex_normals
from datasets.lightstage.hair import HAIR_NAMES, hair_cover, hair_offset
from datasets.lightstage.head import HeadModel, Material, Part, Subject
from datasets.lightstage.ict_files import ICTArrays

ORIGIN_CM = np.array([0.0, 3.2, 1.9])
NECK_RADIUS = 0.148
"""Metres from the origin at which the neck ends."""

_SKIN_VERTICES = 11248
_TEXTURE = 512
_IRIS_ANGLE = 0.41
_EYE_RADIUS = 0.0153


class ICTHead(HeadModel):
    """The ICT Face Model with a hair shell.

    Identity: the model's 100 principal components, then ``hair.HAIR_NAMES``. Expression: its 57 ARKit-like shapes.
    """

    def __init__(self, arrays: ICTArrays) -> None:
        self._arrays = arrays
        faces = arrays.faces
        skin = (faces < _SKIN_VERTICES).all(1) & (arrays.face_material <= 1)
        self._used = np.unique(np.concatenate([faces[_kept(arrays)].ravel(), arrays.landmarks68]))
        self._mean = ((arrays.vertices[self._used] - ORIGIN_CM) * 0.01).astype(np.float64)
        self._identity = arrays.identity_basis[:, self._used].astype(np.float32, order="C") * np.float32(0.01)
        self._expression = arrays.expression_basis[:, self._used].astype(np.float32, order="C") * np.float32(0.01)
        self._landmarks = np.searchsorted(self._used, arrays.landmarks68)
        self._sources: dict[str, np.ndarray] = {}
        self._parts: list[Part] = []
        self._build(skin)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self._parts)

    @property
    def identity_names(self) -> tuple[str, ...]:
        return tuple(f"component_{index:03d}" for index in range(len(self._identity))) + HAIR_NAMES

    @property
    def expression_names(self) -> tuple[str, ...]:
        return self._arrays.expression_names

    def shape(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> dict[str, Float[np.ndarray, "V 3"]]:
        points = self._points(identity, expression)
        shape = {name: points[source] for name, source in self._sources.items()}
        style = np.asarray(identity)[len(self._identity) :]
        shape["hair"] = self._hair(shape["skin"], style)
        loop = shape["skin"][self._neck_loop]
        shape["neck_end"] = np.concatenate([loop, loop.mean(0, keepdims=True)])
        return shape

    def landmarks(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> Float[np.ndarray, "68 3"]:
        return self._points(identity, expression)[self._landmarks]

    def materials(self, subject: Subject) -> dict[str, Material]:
        look = draw_look(subject.appearance_seed, subject.tone)
        style = np.asarray(subject.identity)[len(self._identity) :]
        skin_map, hair_positions = self._textures
        skin = paint_skin(skin_map, style, look)
        teeth = np.broadcast_to(look.teeth, (8, 8, 3)).copy()
        return {
            "skin": skin_material(skin),
            "eye_left": eye_material(*self._gaze_angles("eye_left"), _IRIS_ANGLE, look),
            "eye_right": eye_material(*self._gaze_angles("eye_right"), _IRIS_ANGLE, look),
            "teeth": Material(albedo=teeth, roughness=TEETH_ROUGHNESS, specular=TEETH_SPECULAR),
            "tongue": wet_material(look.gum, look),
            "mouth": wet_material(0.35 * look.gum, look),
            "hair": hair_material(hair_positions, look),
        }

    def _points(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """All used vertices, head frame, metres."""
        coefficients = np.asarray(identity, np.float32)[: len(self._identity)]
        controls = np.asarray(expression, np.float32)
        offset = np.tensordot(coefficients, self._identity, 1) + np.tensordot(controls, self._expression, 1)
        return self._mean + offset

    def _build(self, skin: np.ndarray) -> None:
        arrays = self._arrays
        material = arrays.face_material
        inner = (material <= 1) & ~skin & (arrays.faces.min(1) >= 0)
        self._add("skin", "skin", skin & self._above_neck(), np.array([0.5, 1.0]))
        self._snap_neck()
        self._add("cavities", "mouth", inner)
        self._add("tongue", "tongue", material == 2)
        self._add("teeth", "teeth", material == 3)
        self._add("eye_left", "eye_left", material == 4)
        self._add("eye_right", "eye_right", material == 6)
        self._add_hair()
        self._add_neck_end()

    def _add(self, name: str, material: str, chosen: np.ndarray, scale: np.ndarray | None = None) -> None:
        """A part of the chosen faces; every (vertex, texture coordinate) pair becomes one vertex."""
        pairs = np.stack([self._arrays.faces[chosen].ravel(), self._arrays.faces_uv[chosen].ravel()], 1)
        unique, faces = np.unique(pairs, axis=0, return_inverse=True)
        uv = self._arrays.uv[unique[:, 1]].astype(np.float64)
        uv = uv - np.floor(uv.min(0)) if scale is None else uv * scale
        self._sources[name] = np.searchsorted(self._used, unique[:, 0])
        self._parts.append(Part(name=name, material=material, faces=faces.reshape(-1, 3), uv=np.clip(uv, 0.0, 1.0)))

    def _above_neck(self) -> np.ndarray:
        points = (self._arrays.vertices - ORIGIN_CM) * 0.01
        inside = (np.linalg.norm(points, axis=1) < NECK_RADIUS) | (points[:, 1] > -0.05)
        return inside[self._arrays.faces].all(1)

    def _snap_neck(self) -> None:
        """Make the jagged cut of the neck a smooth one, the same for every subject and expression."""
        skin = self._parts[0]
        self._neck_loop = boundary_loop(self._weld(skin), self._mean[self._sources["skin"]], lowest=True)
        ring = self._sources["skin"][self._neck_loop]
        self._mean[ring] *= NECK_RADIUS / np.linalg.norm(self._mean[ring], axis=1, keepdims=True)
        loose = 1.0 - _neck_end(self._mean)
        loose[ring] = 0.0
        self._identity *= loose[:, None]
        self._expression *= loose[:, None]

    def _weld(self, part: Part) -> np.ndarray:
        """The part's faces with the copies of a vertex along texture seams made one."""
        source = self._sources[part.name]
        _, first, inverse = np.unique(source, return_index=True, return_inverse=True)
        return first[inverse][part.faces]

    def _add_hair(self) -> None:
        skin = self._parts[0]
        mean = self._mean[self._sources["skin"]]
        widest = hair_cover(mean, np.array([0.0, -2.0, 2.0, 0.0])) > -0.006
        self._welded_skin = self._weld(skin)
        chosen = widest[skin.faces].all(1) & _outside_ears(mean, skin.faces)
        self._hair_source, faces = np.unique(self._welded_skin[chosen], return_inverse=True)
        uv = _polar_uv(mean[self._hair_source])
        self._parts.append(Part(name="hair", material="hair", faces=faces.reshape(-1, 3), uv=uv))

    def _hair(self, skin: np.ndarray, style: np.ndarray) -> np.ndarray:
        source = self._hair_source
        normals = vertex_normals(skin, self._welded_skin)[source]
        offset = hair_offset(self._mean[self._sources["skin"]][source], style)
        return skin[source] + offset[:, None] * normals

    def _add_neck_end(self) -> None:
        count = len(self._neck_loop)
        faces = np.stack([np.arange(count), np.roll(np.arange(count), -1), np.full(count, count)], 1)
        uv = self._parts[0].uv[self._neck_loop[:1]].repeat(count + 1, 0)
        self._parts.append(Part(name="neck_end", material="skin", faces=faces, uv=uv, smooth=False))

    @functools.cached_property
    def _textures(self) -> tuple[SkinMap, np.ndarray]:
        """The masks of the skin, and where the texels of the hair lie on the average head (metres)."""
        by_name = {part.name: part for part in self._parts}
        skin, hair = by_name["skin"], by_name["hair"]
        mean = self._mean[self._sources["skin"]]
        positions = bake(skin.uv, skin.faces, mean, _TEXTURE)
        skin_map = map_skin(positions, self._mean[self._landmarks])
        return skin_map, bake(hair.uv, hair.faces, mean[self._hair_source], _TEXTURE)

    def _gaze_angles(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Angle from and around the gaze axis of each texel of an eyeball."""
        part = next(part for part in self._parts if part.name == name)
        points = self._mean[self._sources[name]]
        center = np.array([*(0.5 * (points.min(0) + points.max(0)))[:2], points[:, 2].min() + _EYE_RADIUS])
        direction = bake(part.uv, part.faces, points - center, 256)
        angle = np.arctan2(np.linalg.norm(direction[..., :2], axis=-1), direction[..., 2])
        return angle, np.arctan2(direction[..., 1], direction[..., 0])


def _kept(arrays: ICTArrays) -> np.ndarray:
    """Faces of opaque parts: skin, mouth, gums, teeth and the outer eyeballs."""
    return np.isin(arrays.face_material, (0, 1, 2, 3, 4, 6))


def _outside_ears(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces that are not on the ears."""
    x, y, z = np.abs(points[faces].mean(1) - np.array([0.0, -0.005, -0.015])).T
    return ~((x > 0.072) & (y < 0.035) & (z < 0.03))


def _neck_end(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    """1 where the neck ends, fading to 0 above."""

    def step(value: np.ndarray, start: float, end: float) -> np.ndarray:
        t = np.clip((value - start) / (end - start), 0.0, 1.0)
        return t * t * (3.0 - 2.0 * t)

    distance = np.linalg.norm(points, axis=1)
    below_chin = step(points[:, 1], -0.05, -0.08) * step(points[:, 2], 0.075, 0.045)
    return (step(distance, 0.122, 0.147) * below_chin).astype(np.float32)


def _polar_uv(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
    """A disc around the crown: radius is the angle from the vertical, no seam."""
    angle = np.arctan2(np.linalg.norm(points[:, [0, 2]], axis=1), points[:, 1]) / np.pi
    turn = np.arctan2(points[:, 0], points[:, 2])
    return 0.5 + 0.6 * angle[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1)
