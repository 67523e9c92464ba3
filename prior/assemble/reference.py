"""The meaning of ``assemble`` in plain PyTorch: any device, any floating type, differentiated by autograd."""

import torch
from torch import Tensor

from prior.assemble.inputs import Layout


def assemble(tensors: dict[str, Tensor], layout: Layout, density: float) -> Tensor:
    """The ``voxels`` [B,V,K,D,H,W,4] of the contract in ``prior.assemble.assemble``."""
    softplus = torch.nn.functional.softplus
    opacity = tensors["opacity_features"] @ tensors["opacity_weight"].T + tensors["opacity_bias"]
    gain = torch.einsum("byxf,cnf->byxcn", tensors["gain_features"], tensors["gain_weight"]) + tensors["gain_bias"]
    gated = tensors["light"][:, None] * tensors["gate"].permute(0, 3, 1, 2, 4)[:, :, None]
    shading = gated @ tensors["shading_weight"].T
    color = softplus(gain).permute(0, 3, 1, 2, 4)[:, None] * shading
    opacity = (density * softplus(opacity))[:, None, None].expand(-1, layout.views, -1, -1, -1, -1)
    return _volumes(torch.cat([color, opacity], dim=2), layout)


def _volumes(planes: Tensor, layout: Layout) -> Tensor:
    """[B,V,4,R,R,N] by texel to [B,V,K,D,H,W,4] by primitive."""
    grid, texels, block = layout.grid, layout.texels, layout.block
    split = planes.reshape(layout.batch, layout.views, 4, grid, texels, grid, texels, layout.depth, block, block)
    return split.permute(0, 1, 3, 5, 7, 4, 8, 6, 9, 2).reshape(layout.voxels_shape)
