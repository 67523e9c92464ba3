"""A head as a few sheets, one inside the other: the innermost is opaque, the others are more or less see-through.

A volume has soft outlines, and hair and lips that lie before what is behind them; one opaque mesh has neither. Sheets
with textures of colour and opacity, drawn from the inside out, have some of both in any renderer (BakedAvatar, Duan et
al. 2023, uses such sheets to show radiance fields in browsers).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from prior.cameras import CameraBatch
from tools.export.raster import facing, rasterize
from tools.export.texture import SAMPLES, texel_weights

TOUCHING = 1e-4
"""Metres by which a sheet may lie behind the innermost one and be seen all the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayeredMesh:
    """K sheets and their looks.

    Attributes:
        points: [K, V, 3] from the inside out, head frame, metres.
        uv: [V, 2] in [0, 1]; (0, 0) is the corner of a texture's first texel.
        faces: [F, 3].
        textures: [K, T, T, 4] display values, not multiplied with the opacity, which is the last; that of the first
            sheet is 1. Texel (row, column) is at v = (row + 0.5) / T, u = (column + 0.5) / T.
    """

    points: Float[np.ndarray, "K V 3"]
    uv: Float[np.ndarray, "V 2"]
    faces: Int[np.ndarray, "F 3"]
    textures: Float[np.ndarray, "K T T 4"]

    @torch.no_grad()
    def render(self, cameras: CameraBatch) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"]]:
        """Display values over black, and alpha, of one camera."""
        views = layer_views(self.points, self.uv, self.faces, cameras, self.textures.shape[1])
        textures = torch.tensor(self.textures, dtype=torch.float32).flatten(1, 2)
        picture = over(views, list(textures)).T.reshape(4, cameras.height, cameras.width)
        return picture[:3], picture[3:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerView:
    """One sheet in one picture of P pixels.

    Attributes:
        texels: [P, T²] what each pixel takes of each texel.
        cover: [P, 1] how much of the pixel the sheet covers.
    """

    texels: sparse.csr_array
    cover: Float[Tensor, "P 1"]


def layer_views(
    points: Float[np.ndarray, "K V 3"],
    uv: Float[np.ndarray, "V 2"],
    faces: Int[np.ndarray, "F 3"],
    cameras: CameraBatch,
    size: int,
) -> list[LayerView]:
    """All sheets in the picture of one camera, with textures of ``size``².

    Of the innermost both sides are seen; of the others the outer side, where the innermost is not before it.
    """
    fine = cameras.resized(cameras.height * SAMPLES, cameras.width * SAMPLES)
    inner = rasterize(points[0], faces, fine)
    limit = np.full(fine.height * fine.width, np.inf)
    limit[inner.pixel] = inner.depth + TOUCHING
    views = [_view(texel_weights(inner, uv, faces, cameras, size))]
    for sheet in points[1:]:
        ahead = faces[facing(sheet, faces, fine)]
        hits = rasterize(sheet, ahead, fine)
        seen = hits.at(hits.depth < limit[hits.pixel])
        views.append(_view(texel_weights(seen, uv, ahead, cameras, size)))
    return views


def over(views: Sequence[LayerView], textures: Sequence[Float[Tensor, "T2 4"]]) -> Float[Tensor, "P 4"]:
    """Display values over black, and alpha, of sheets that are laid over one another."""
    picture = torch.zeros(len(views[0].cover), 4)
    for view, texture in zip(views, textures, strict=True):
        taken = _SparseProduct.apply(view.texels, texture)
        alpha = taken[:, 3:]  # the texels' opacity, times how much of the pixel they cover
        colour = taken[:, :3] / view.cover.clamp_min(1e-6)
        picture = torch.cat([colour * alpha, alpha], dim=1) + (1.0 - alpha) * picture
    return picture


def _view(texels: sparse.csr_array) -> LayerView:
    cover = torch.tensor(np.asarray(texels.sum(axis=1)).reshape(-1, 1), dtype=torch.float32)
    return LayerView(texels=sparse.csr_array(texels.astype(np.float32)), cover=cover)


class _SparseProduct(torch.autograd.Function):
    """A sparse matrix of SciPy's times a tensor. Final."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, matrix: sparse.csr_array, values: Tensor) -> Tensor:
        ctx.matrix = matrix  # type: ignore[attr-defined]
        return torch.from_numpy(matrix @ values.detach().numpy())

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, torch.from_numpy(ctx.matrix.T @ gradients[0].numpy())  # type: ignore[attr-defined]
