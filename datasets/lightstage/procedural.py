"""The project's own parametric head: it needs no data, and is the template of the prior.

The average head is a signed distance field (``procedural_surface``), covered by one sheet of skin that is cut open at
lids and lips (``procedural_sheet``). Identity is a smooth warp of space (``procedural_identity``), expressions are
displacement fields, a hinged jaw, turning eyeballs and sliding lids (``procedural_expressions``, ``procedural_lids``).
"""

import functools

import numpy as np
from jaxtyping import Float

from datasets.lightstage import procedural_expressions as expressions
from datasets.lightstage import procedural_identity as identities
from datasets.lightstage.appearance import draw_look
from datasets.lightstage.appearance_parts import (
    eye_material,
    hair_material,
    skin_material,
    teeth_material,
    wet_material,
)
from datasets.lightstage.appearance_skin import SkinMap, map_skin, paint_skin
from datasets.lightstage.appearance_uv import bake
from datasets.lightstage.geometry import vertex_normals
from datasets.lightstage.hair import HAIR_NAMES, hair_offset
from datasets.lightstage.head import HeadModel, Material, Part, Subject
from datasets.lightstage.procedural_landmarks import find_landmarks
from datasets.lightstage.procedural_lids import build_lids
from datasets.lightstage.procedural_mouth import build_cavity, build_teeth, build_tongue, paint_teeth
from datasets.lightstage.procedural_parts import (
    IRIS_ANGLE,
    build_caruncle,
    build_ear,
    build_eyeball,
    build_scalp,
    eye_texel_angles,
    scalp_weld,
)
from datasets.lightstage.procedural_sheet import build_sheet

_TEXTURE = 512
_EXTRA = ("eye_size", "eye_tilt", "eye_openness", "ear_size", "ear_angle")
_SHAVED = np.array([0.0, 9.0, 0.0, 0.0])
_SIDES = {"eye_right": -1.0, "eye_left": 1.0}


class ProceduralHead(HeadModel):
    """A stylised human head of about 28 000 vertices."""

    def __init__(self) -> None:
        self._sheet = build_sheet()
        sheet = self._sheet
        self._skin = expressions.Skin(points=sheet.points[sheet.parent], below_mouth=sheet.below_mouth)
        self._jaw = expressions.jaw_weight(self._skin)
        self._lids = tuple(build_lids(self._sheet, side) for side in _SIDES.values())
        self._eyeball = build_eyeball()
        self._caruncles = {f"caruncle_{name[4:]}": build_caruncle(side) for name, side in _SIDES.items()}
        self._cavity, self._cavity_loop = build_cavity(self._sheet, self._jaw)
        self._inside = {"teeth": build_teeth(), "tongue": build_tongue(), "cavity": self._cavity}
        self._ears = {"ear_right": build_ear(-1.0), "ear_left": build_ear(1.0)}
        self._scalp = build_scalp()
        self._scalp_weld = scalp_weld()
        self._identity_fields = identities.displacement(self._sheet.points).astype(np.float32)
        self._expression_fields = expressions.displacement(self._skin).astype(np.float32)
        rest = self._shape_skin(np.zeros(len(self.identity_names)), self.neutral_expression())
        self._landmarks = find_landmarks(self._sheet, rest)
        self._rest = rest

    @functools.cached_property
    def parts(self) -> tuple[Part, ...]:
        ball = self._eyeball
        hair = Part(name="hair", material="hair", faces=self._scalp.faces, uv=self._scalp.uv)
        return (
            Part(name="skin", material="skin", faces=self._sheet.faces, uv=self._sheet.uv),
            *(Part(name=name, material="ear", faces=ear.faces, uv=ear.uv) for name, ear in self._ears.items()),
            *(Part(name=name, material="eye", faces=ball.faces, uv=ball.uv) for name in _SIDES),
            *(Part(name=name, material="tongue", faces=c.faces, uv=c.uv) for name, c in self._caruncles.items()),
            *(Part(name=name, material=name, faces=part.faces, uv=part.uv) for name, part in self._inside.items()),
            hair,
        )

    @property
    def identity_names(self) -> tuple[str, ...]:
        return (*identities.FIELDS, *_EXTRA, *HAIR_NAMES)

    @property
    def expression_names(self) -> tuple[str, ...]:
        return expressions.NAMES

    def shape(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> dict[str, Float[np.ndarray, "V 3"]]:
        identity, expression = np.asarray(identity, np.float64), np.asarray(expression, np.float64)
        shape = {"skin": self._shape_skin(identity, expression)}
        for name, ear in self._ears.items():
            shape[name] = self._shape_ear(ear.points, identity)
        for name, side in _SIDES.items():
            center, size = self._eye(identity, side)
            shape[name] = center + size * self._eyeball.points @ expressions.gaze(expression, side).T
            corner = f"caruncle_{name[4:]}"
            shape[corner] = center + size * self._caruncles[corner].points
        for name, part in self._inside.items():
            shape[name] = expressions.move_jaw(self._warp(part.points, identity), part.jaw, expression)
        shape["cavity"][: len(self._cavity_loop)] = shape["skin"][self._cavity_loop]
        shape["hair"] = self._shape_hair(identity)
        return {name: 0.001 * points for name, points in shape.items()}

    def landmarks(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> Float[np.ndarray, "68 3"]:
        return 0.001 * self._shape_skin(np.asarray(identity), np.asarray(expression))[self._landmarks]

    def materials(self, subject: Subject) -> dict[str, Material]:
        look = draw_look(subject.appearance_seed, subject.tone)
        style = np.asarray(subject.identity)[-len(HAIR_NAMES) :]
        skin_map, ear_map, hair_positions, margins = self._textures
        skin = paint_skin(skin_map, style, look) * (1.0 - 0.85 * _nostrils(skin_map.positions)[..., None])
        skin += margins[..., None] * (0.5 * look.skin + 0.5 * look.gum - skin)
        ear = paint_skin(ear_map, _SHAVED, look) * np.array([1.0, 0.94, 0.95])
        return {
            "skin": skin_material(skin),
            "ear": skin_material(ear),
            "eye": eye_material(*eye_texel_angles(256), IRIS_ANGLE, look),
            "teeth": teeth_material(paint_teeth(look.teeth, look.gum)),
            "tongue": wet_material(look.gum, look),
            "cavity": wet_material(0.30 * look.gum, look),
            "hair": hair_material(hair_positions, look),
        }

    def _coefficient(self, identity: np.ndarray, name: str) -> float:
        return float(identity[self.identity_names.index(name)])

    def _warp(self, points: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Points of the average head on this person's."""
        return points + np.tensordot(identity[: len(identities.FIELDS)], identities.displacement(points), 1)

    def _eye(self, identity: np.ndarray, side: float) -> tuple[np.ndarray, float]:
        """Centre (mm) and relative size of an eyeball."""
        center = self._lids[0 if side < 0 else 1].center
        return self._warp(center[None], identity)[0], 1.0 + 0.04 * self._coefficient(identity, "eye_size")

    def _shape_skin(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        rest = self._sheet.points
        fields = identity[: len(identities.FIELDS)].astype(np.float32)
        points = rest + np.tensordot(fields, self._identity_fields, 1)
        for lids in self._lids:
            lids.follow(points, rest, *self._eye(identity, lids.side))
        points += np.tensordot(expressions.field_controls(expression).astype(np.float32), self._expression_fields, 1)
        points = expressions.move_jaw(points, self._jaw, expression)
        openness = 1.0 + 0.10 * self._coefficient(identity, "eye_openness")
        tilt = 0.05 + 0.035 * self._coefficient(identity, "eye_tilt")
        for lids in self._lids:
            angles = expressions.lid_angles(expression, lids.side, openness)
            lids.turn(points, *self._eye(identity, lids.side), tilt, *angles)
        return points

    def _shape_ear(self, points: np.ndarray, identity: np.ndarray) -> np.ndarray:
        side = np.sign(points[:, 0].mean())
        root = np.array([side * 66.0, -4.0, 2.0])
        angle = side * 0.10 * self._coefficient(identity, "ear_angle")
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        size = 1.0 + 0.06 * self._coefficient(identity, "ear_size")
        moved = self._warp(root[None], identity)[0]
        return moved + size * (points - root) @ turn.T

    def _shape_hair(self, identity: np.ndarray) -> np.ndarray:
        scalp = self._warp(self._scalp.points, identity)
        normals = vertex_normals(scalp, self._scalp_weld[self._scalp.faces])[self._scalp_weld]
        offset = hair_offset(0.001 * self._scalp.points, identity[-len(HAIR_NAMES) :])
        return scalp + 1000.0 * offset[:, None] * normals

    @functools.cached_property
    def _textures(self) -> tuple[SkinMap, SkinMap, np.ndarray, np.ndarray]:
        """The masks of skin and ears, where the texels of the hair lie on the average head (metres), lid margins."""
        ear = self._ears["ear_left"]
        landmarks = 0.001 * self._rest[self._landmarks]
        skin = bake(self._sheet.uv, self._sheet.faces, 0.001 * self._rest, _TEXTURE)
        ears = bake(ear.uv, ear.faces, 0.001 * ear.points, 128)
        hair = bake(self._scalp.uv, self._scalp.faces, 0.001 * self._scalp.points, _TEXTURE)
        inner = np.zeros((len(self._rest), 1))
        for lids in self._lids:
            inner[lids.slit.upper_rim[0]] = inner[lids.slit.lower_rim[0]] = 1.0
        margins = np.clip(2.0 * bake(self._sheet.uv, self._sheet.faces, inner, _TEXTURE)[..., 0] - 0.4, 0.0, 1.0)
        return map_skin(skin, landmarks), map_skin(ears, landmarks), hair, margins


def _nostrils(positions: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """1 inside the nostrils, 0 elsewhere."""
    folded = np.stack([np.abs(positions[..., 0]), positions[..., 1], positions[..., 2]], -1)
    offset = (folded - np.array([0.0066, -0.0415, 0.0975])) / np.array([0.0030, 0.0026, 0.0042])
    return np.exp(-((offset**2).sum(-1) ** 1.5))
