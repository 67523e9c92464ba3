"""The project's own parametric head: it needs no data, and is the template of the prior.

The average head is a signed distance field (``procedural_surface``), covered by one sheet of skin that is cut open at
lids and lips (``procedural_sheet``). Identity is a smooth warp of space (``procedural_identity``), expressions are
displacement fields, a hinged jaw, turning eyeballs and sliding lids (``procedural_expressions``, ``procedural_lids``).
"""

import dataclasses
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
_CARUNCLES = {-1.0: "caruncle_right", 1.0: "caruncle_left"}
_SIDES = {"eye_right": -1.0, "eye_left": 1.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Person:
    """An identity at rest with closed lids, millimetres.

    Attributes:
        skin: [V, 3].
        eyes: [2, 3] centres of the eyeballs, right and left.
        eye_size, eye_tilt, eye_openness: relative size, roll in radians, relative opening at rest.
        inside: teeth, tongue and cavity with the mouth closed.
        still: parts that no expression moves.
    """

    skin: Float[np.ndarray, "V 3"]
    eyes: Float[np.ndarray, "2 3"]
    eye_size: float
    eye_tilt: float
    eye_openness: float
    inside: dict[str, Float[np.ndarray, "_ 3"]]
    still: dict[str, Float[np.ndarray, "_ 3"]]


class ProceduralHead(HeadModel):
    """A stylised human head of about 28 000 vertices."""

    def __init__(self) -> None:
        self._sheet = build_sheet()
        sheet = self._sheet
        self._skin = expressions.Skin(points=sheet.points[sheet.parent], below_mouth=sheet.below_mouth)
        self._jaw = expressions.jaw_weight(self._skin)
        self._lids = tuple(build_lids(self._sheet, side) for side in _SIDES.values())
        self._eyeball = build_eyeball()
        self._caruncles = {name: build_caruncle(side) for side, name in _CARUNCLES.items()}
        self._cavity, self._cavity_loop = build_cavity(self._sheet, self._jaw)
        self._inside = {"teeth": build_teeth(), "tongue": build_tongue(), "cavity": self._cavity}
        self._ears = {"ear_right": build_ear(-1.0), "ear_left": build_ear(1.0)}
        self._scalp = build_scalp()
        self._scalp_weld = scalp_weld()
        self._identity_fields = identities.displacement(self._sheet.points).astype(np.float32)
        self._expression_fields = expressions.displacement(self._skin).astype(np.float32)
        self._last: tuple[np.ndarray, _Person] | None = None
        average = self._person(np.zeros(len(self.identity_names)))
        self._rest = self._shape_skin(average, self.neutral_expression())
        self._landmarks = find_landmarks(self._sheet, self._rest)

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
        person, expression = self._person(identity), np.asarray(expression, np.float64)
        shape = {"skin": self._shape_skin(person, expression), **person.still}
        for (name, side), center in zip(_SIDES.items(), person.eyes, strict=True):
            shape[name] = center + person.eye_size * self._eyeball.points @ expressions.gaze(expression, side).T
        for name, part in self._inside.items():
            shape[name] = expressions.move_jaw(person.inside[name], part.jaw, expression)
        shape["cavity"][: len(self._cavity_loop)] = shape["skin"][self._cavity_loop]
        return {part.name: 0.001 * shape[part.name] for part in self.parts}

    def landmarks(
        self, identity: Float[np.ndarray, "I"], expression: Float[np.ndarray, "E"]
    ) -> Float[np.ndarray, "68 3"]:
        return 0.001 * self._shape_skin(self._person(identity), np.asarray(expression))[self._landmarks]

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
            "cavity": wet_material(0.5 * look.gum, look),
            "hair": hair_material(hair_positions, look),
        }

    def _person(self, identity: np.ndarray) -> "_Person":
        """The person at rest; the last one is kept, because a sequence asks for the same person again and again."""
        identity = np.array(identity, np.float64)
        if self._last is None or not np.array_equal(self._last[0], identity):
            self._last = identity, self._make_person(identity)
        return self._last[1]

    def _make_person(self, identity: np.ndarray) -> "_Person":
        extra = dict(zip(_EXTRA, identity[len(identities.FIELDS) :], strict=False))
        size = 1.0 + 0.04 * extra["eye_size"]
        centers = self._warp(np.stack([lids.center for lids in self._lids]), identity)
        fields = identity[: len(identities.FIELDS)].astype(np.float32)
        skin = self._sheet.points + np.tensordot(fields, self._identity_fields, 1)
        still = {"hair": self._shape_hair(identity)}
        for lids, center in zip(self._lids, centers, strict=True):
            lids.follow(skin, self._sheet.points, center, size)
            name = _CARUNCLES[lids.side]
            still[name] = center + size * self._caruncles[name].points
        for name, ear in self._ears.items():
            still[name] = self._shape_ear(ear.points, identity, extra["ear_angle"], 1.0 + 0.06 * extra["ear_size"])
        return _Person(
            skin=skin,
            eyes=centers,
            eye_size=size,
            eye_tilt=0.05 + 0.035 * extra["eye_tilt"],
            eye_openness=1.0 + 0.10 * extra["eye_openness"],
            inside={name: self._warp(part.points, identity) for name, part in self._inside.items()},
            still=still,
        )

    def _warp(self, points: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Points of the average head on this person's."""
        return points + np.tensordot(identity[: len(identities.FIELDS)], identities.displacement(points), 1)

    def _shape_skin(self, person: "_Person", expression: np.ndarray) -> np.ndarray:
        values = expressions.field_controls(expression).astype(np.float32)
        points = expressions.move_jaw(
            person.skin + np.tensordot(values, self._expression_fields, 1), self._jaw, expression
        )
        for lids, center in zip(self._lids, person.eyes, strict=True):
            angles = expressions.lid_angles(expression, lids.side, person.eye_openness)
            lids.turn(points, center, person.eye_size, person.eye_tilt, *angles)
        return points

    def _shape_ear(self, points: np.ndarray, identity: np.ndarray, turned: float, size: float) -> np.ndarray:
        side = np.sign(points[:, 0].mean())
        root = np.array([side * 66.0, -4.0, 2.0])
        angle = side * 0.10 * turned
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
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
