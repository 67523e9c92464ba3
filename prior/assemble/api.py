"""``assemble``: the one name of the operation; its backends agree on values and gradients."""

import functools
import warnings
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from prior.assemble import cpu, reference
from prior.assemble.inputs import Layout, checked_layout, is_native

_BACKENDS: dict[str, Callable[[dict[str, Tensor], Layout, float], Tensor]] = {
    "reference": reference.assemble,
    "cpu": cpu.assemble,
}


def available_backends() -> tuple[str, ...]:
    """Names that ``assemble(backend=...)`` accepts and that work on this machine (builds the CPU kernel)."""
    return ("reference",) if _cpu_problem() else ("reference", "cpu")


def assemble(
    opacity_features: Float[Tensor, "B R R Fo"],
    gain_features: Float[Tensor, "B R R Fg"],
    light: Float[Tensor, "B 3 R R M"],
    gate: Float[Tensor, "B R R V M"],
    opacity_weight: Float[Tensor, "N Fo"],
    gain_weight: Float[Tensor, "3 N Fg"],
    shading_weight: Float[Tensor, "N M"],
    opacity_bias: Float[Tensor, "R R N"],
    gain_bias: Float[Tensor, "R R 3 N"],
    *,
    grid: int,
    depth: int,
    density: float,
    backend: str = "auto",
) -> Float[Tensor, "B V K D H W 4"]:
    """Feature texels to the voxels under them, for every view (the last layer of D_alpha and D_rgb, eq. 5).

    The R × R texels lie on the UV square; primitive k = row · ``grid`` + column covers (R / grid)² of them, and each
    texel answers for N = ``depth`` × b × b voxels, in the order d, h, w:

    opacity = density · softplus(W_o f_o + b_o);  gain_c = softplus(W_g f_g + b_g)_c
    shading_vc = W_s (light_c · gate_v), without a bias: exactly linear in the light
    voxel_v = (gain_c · shading_vc for c in r, g, b; opacity)

    Gradients flow to all nine tensors. The maps are fastest where they are contiguous as given here, which is
    ``torch.channels_last`` of the convolutions that make them.

    Args:
        opacity_features, gain_features: of the geometry and the non-linear appearance branch.
        light: response of the linear branch in each colour channel.
        gate: of each view; multiplies the light's features.
        opacity_weight, gain_weight, shading_weight: shared by all texels.
        opacity_bias, gain_bias: one for every voxel.
        grid: primitives along one side, so that K = grid².
        depth: D; H = W = b · R / grid.
        density: opacity per metre at softplus = 1.
        backend: ``"auto"`` or one of ``available_backends()``.

    Returns:
        [B,V,K,D,H,W,4] linear rgb radiance, then opacity per metre, in memory that is used again once the caller
        has let go of it.

    Raises:
        VrmmError: a tensor of the wrong shape, type or device, an unknown backend, or one that does not work here.
    """
    tensors = {
        "opacity_features": opacity_features,
        "gain_features": gain_features,
        "light": light,
        "gate": gate,
        "opacity_weight": opacity_weight,
        "gain_weight": gain_weight,
        "shading_weight": shading_weight,
        "opacity_bias": opacity_bias,
        "gain_bias": gain_bias,
    }
    layout = checked_layout(tensors, grid, depth)
    return _backend(backend, tensors)(tensors, layout, density)


def _backend(name: str, tensors: dict[str, Tensor]) -> Callable[[dict[str, Tensor], Layout, float], Tensor]:
    if name == "auto":
        return cpu.assemble if is_native(tensors) and _works() else reference.assemble
    if name not in _BACKENDS:
        raise VrmmError(f"assemble: unknown backend {name!r}; choose auto, {', '.join(_BACKENDS)}")
    return _BACKENDS[name]


@functools.cache
def _cpu_problem() -> str:
    """Why the CPU kernel cannot be used; empty if it can. Asked once a process."""
    try:
        cpu.kernel()
    except VrmmError as error:
        return str(error)
    return ""


@functools.cache
def _works() -> bool:
    """Whether the CPU kernel can be used; says so once where it cannot."""
    if problem := _cpu_problem():
        warnings.warn(f"assemble uses the slow reference backend because {problem}", RuntimeWarning, stacklevel=4)
    return not problem
