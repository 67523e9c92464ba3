"""VRMM: identity, expression, view and light to volumetric primitives (eq. 4, 5)."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from datasets.errors import VrmmError
from prior.assemble import assemble
from prior.decoders.appearance import AppearanceDecoder
from prior.decoders.blocks import CodeStem
from prior.decoders.identity import IdentityDecoder
from prior.decoders.mesh import MeshDecoder
from prior.decoders.opacity import OpacityDecoder
from prior.decoders.transform import TransformDecoder
from prior.encoders import MIN_IMAGE_SIZE, Encoding, ExpressionEncoder, TransformEncoder, prepare_views
from prior.lighting import LightSphere
from prior.lobes import COUNT, CosineLobes
from prior.primitives import Placement, TangentGrid, adjust
from prior.template import Template


@dataclasses.dataclass(kw_only=True)
class VRMMConfig:
    """Sizes of the model.

    Attributes:
        primitives: number of primitives K, a square (they sit on a UV grid).
        voxels: voxels along each side of a primitive.
        channels: feature channels per level, 4 × 4 first; each level doubles the resolution. The last level may
            be coarser than the voxels; a linear map fills the block of voxels under each texel.
        light_channels: channels of the linear light branch per level.
        light_directions: N_l, directions of the light field.
        identity, expression: code lengths.
        view_basis: how many sets of weights the view direction mixes in the last gate of the colour. With as many as
            training cameras, each one's look is learnt by heart, and views between them suffer.
        encoder_views: number of input views.
        encoder_size: side in pixels to which encoder inputs are resampled.
        thickness: half size of a primitive along the normal, metres.
        detach: stop gradients through concatenated feature maps (off only as the paper's ablation).
        concatenate: share feature maps between transform, opacity and appearance at all (off as an ablation).
        linear_light: the light branch has no biases and activations, so that colour is exactly linear in the light
            (off as an ablation).
    """

    primitives: int = 256
    voxels: int = 8
    channels: list[int] = dataclasses.field(default_factory=lambda: [64, 64, 48, 32])
    light_channels: list[int] = dataclasses.field(default_factory=lambda: [32, 32, 32, 32])
    light_directions: int = 64
    identity: int = 64
    expression: int = 32
    view_basis: int = 8
    encoder_views: int = 3
    encoder_size: int = 48
    thickness: float = 0.012
    detach: bool = True
    concatenate: bool = True
    linear_light: bool = True

    def __post_init__(self) -> None:
        grid = math.isqrt(self.primitives)
        if grid * grid != self.primitives or grid < 8 or grid & (grid - 1):
            raise VrmmError(
                f"model.primitives={self.primitives} is not the square of a power of two from 8 up; "
                "use 64, 256, 1024 or 4096"
            )
        if len(self.light_channels) != len(self.channels):
            raise VrmmError("model.light_channels and model.channels must have one entry for each level")
        if not grid <= self.resolution <= grid * self.voxels or (grid * self.voxels) % self.resolution:
            raise VrmmError(
                f"model.channels has {len(self.channels)} levels, so features of {self.resolution}²; for "
                f"{grid}² primitives of {self.voxels} voxels they must be between {grid}² and {grid * self.voxels}²"
            )
        if self.encoder_size < MIN_IMAGE_SIZE:
            raise VrmmError(
                f"model.encoder_size={self.encoder_size} is too small for the encoder; use {MIN_IMAGE_SIZE} or more"
            )
        for name in ("voxels", "light_directions", "identity", "expression", "view_basis", "encoder_views"):
            smallest = {"voxels": 2, "light_directions": 4}.get(name, 1)
            if getattr(self, name) < smallest:
                raise VrmmError(f"model.{name}={getattr(self, name)} is too small; use {smallest} or more")

    @property
    def grid(self) -> int:
        """Primitives along one side of the UV square."""
        return math.isqrt(self.primitives)

    @property
    def resolution(self) -> int:
        """Side of the last feature maps."""
        return CodeStem.RESOLUTION * 2 ** (len(self.channels) - 1)

    @property
    def texel_voxels(self) -> int:
        """Voxels under one texel of the last feature maps."""
        block = self.grid * self.voxels // self.resolution
        return self.voxels * block * block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """Everything of a head that does not depend on light or camera.

    Attributes:
        vertices: [B, V, 3] base mesh, head frame, metres.
        placement: primitives in the head frame.
        scale: [B, K, 3] relative scales s_p of eq. 11.
        opacity_features: [B, C, R, R] of which ``prior.assemble`` makes the voxels' opacity.
        features: feature maps of the non-linear appearance branch, one for each level.
    """

    vertices: Float[Tensor, "B V 3"]
    placement: Placement
    scale: Float[Tensor, "B K 3"]
    opacity_features: Float[Tensor, "B C R R"]
    features: list[Tensor]


class VRMM(nn.Module):
    """The volumetric relightable morphable head model.

    ``identity_codes`` are the auto-decoded z_id of the training subjects, in the order of ``subjects``. With
    ``autocast`` the convolutions run in bfloat16; geometry, the light field, assembly and raymarching never do.
    """

    template_faces: Tensor
    template_uv: Tensor
    template_landmarks: Tensor

    def __init__(self, config: VRMMConfig, template: Template, subjects: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.subjects = config, subjects
        self.autocast = False
        self.identity_codes = nn.Embedding(len(subjects), config.identity)
        nn.init.normal_(self.identity_codes.weight, std=0.5)
        self.light_sphere = LightSphere(config.light_directions)
        levels = [CodeStem.RESOLUTION * 2**i for i in range(len(config.channels))]
        self.lobes = CosineLobes(template, self.light_sphere.directions, levels)
        self.tangent_grid = TangentGrid(template, config.grid, config.thickness)
        self.register_buffer("template_faces", torch.tensor(template.faces.astype("int64")))
        self.register_buffer("template_uv", torch.tensor(template.uv))
        self.register_buffer("template_landmarks", torch.tensor(template.landmarks))
        self.expression_encoder = ExpressionEncoder(config.encoder_views, config.encoder_size, config.expression)
        self.transform_encoder = TransformEncoder(config.encoder_views, config.encoder_size)
        self._build_decoders(torch.tensor(template.vertices))

    @staticmethod
    def from_run(folder: Path | str) -> "VRMM":
        """The model of a run folder, in evaluation mode, on the CPU; DeepSpeed is not needed.

        Raises:
            VrmmError: no run folder, or weights of another architecture (the differences are listed).
        """
        from prior.weights import load_weights

        return load_weights(Path(folder))[0]

    def _build_decoders(self, template_vertices: Float[Tensor, "V 3"]) -> None:
        config = self.config
        channels, grid_levels = config.channels, int(math.log2(config.grid // CodeStem.RESOLUTION)) + 1
        transform = [*channels[:grid_levels], *([0] * (len(channels) - grid_levels))]
        share = 1 if config.concatenate else 0
        to_transform = [share * 2 * c for c in channels]
        to_opacity = [share * (t + c) for t, c in zip(transform, channels, strict=True)]
        self.mesh_decoder = MeshDecoder(template_vertices, config.identity, config.expression)
        self.identity_decoder = IdentityDecoder(config.identity, channels)
        self.transform_decoder = TransformDecoder(
            config.identity, config.expression, channels[:grid_levels], to_transform
        )
        self.opacity_decoder = OpacityDecoder(
            config.expression, channels, to_opacity, config.voxels, config.texel_voxels
        )
        self.appearance_decoder = AppearanceDecoder(
            config.expression,
            config.light_directions,
            channels,
            config.light_channels,
            to_opacity,
            COUNT,
            config.texel_voxels,
            view_basis=config.view_basis,
            linear=config.linear_light,
        )

    def encode(self, images: Float[Tensor, "B V 3 H W"], masks: Float[Tensor, "B V 1 H W"]) -> Encoding:
        """Expression distribution and head pose of frames from their input views (eq. 6, 7).

        ``images`` are linear radiance, premultiplied by ``masks``.
        """
        views = prepare_views(images, masks, self.config.encoder_size)
        with self._networks():
            mean, log_variance = self.expression_encoder(views)
        rotation, translation = self.transform_encoder(views)  # a bfloat16 angle would be off by a quarter degree
        return Encoding(
            mean=mean.float(), log_variance=log_variance.float(), rotation=rotation, translation=translation
        )

    def encode_expression(
        self, images: Float[Tensor, "B V 3 H W"], masks: Float[Tensor, "B V 1 H W"]
    ) -> Float[Tensor, "B E"]:
        """The mean expression code alone (E_e in eq. 13)."""
        with self._networks():
            mean, _ = self.expression_encoder(prepare_views(images, masks, self.config.encoder_size))
        return mean.float()

    def standardize_encoders(self, images: Float[Tensor, "B V 3 H W"], masks: Float[Tensor, "B V 1 H W"]) -> None:
        """Before training: let what differs between these frames, and not what they share, be the encoders' features.

        ``images`` and ``masks`` are those of ``encode``, of frames that stand for the training data.
        """
        views = prepare_views(images, masks, self.config.encoder_size)
        self.expression_encoder.trunk.standardize(views)
        self.transform_encoder.trunk.standardize(views)

    def identity_code(self, subject: Int[Tensor, "B"]) -> Float[Tensor, "B I"]:
        """z_id of training subjects by number."""
        return self.identity_codes(subject)

    def decode_geometry(self, z_id: Float[Tensor, "B I"], z_e: Float[Tensor, "B E"]) -> Geometry:
        """Mesh, placement, and the feature maps that opacity and colour are made from."""
        vertices = self.mesh_decoder(z_id, z_e)
        with self._networks():
            to_opacity, to_appearance = self.identity_decoder(z_id)
            transform, opacity, appearance = self._trunks(z_id, z_e, to_opacity, to_appearance)
            change = self.transform_decoder.finish(transform)
        placement, scale = adjust(self.tangent_grid(vertices), change.float(), self.tangent_grid.half_size)
        return Geometry(
            vertices=vertices,
            placement=placement,
            scale=scale,
            opacity_features=opacity.float(),
            features=appearance,
        )

    def _networks(self) -> contextlib.AbstractContextManager[object]:
        """Where convolutions may run in bfloat16."""
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.identity_codes.weight.device.type, dtype=torch.bfloat16)

    def _trunks(
        self, z_id: Tensor, z_e: Tensor, to_opacity: list[Tensor], to_appearance: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The three interconnected branches, level by level: each sees the others' maps, detached."""
        transform = self.transform_decoder.start(z_id, z_e)
        opacity = self.opacity_decoder.stem(z_e)
        appearance = [self.appearance_decoder.start(z_e)]
        transform_blocks = list(self.transform_decoder.blocks)
        for level, (opacity_block, appearance_block) in enumerate(
            zip(self.opacity_decoder.blocks, self.appearance_decoder.blocks, strict=True)
        ):
            geometry = [transform] if level <= len(transform_blocks) else []
            for_transform = self._shared(transform, opacity, appearance[level])
            for_opacity = self._shared(opacity, *geometry, appearance[level])
            for_appearance = self._shared(appearance[level], *geometry, opacity)
            if level < len(transform_blocks):
                transform = transform_blocks[level](*for_transform)
            elif level == len(transform_blocks):
                transform = torch.cat(for_transform, dim=1)
            opacity = opacity_block(*for_opacity, injected=to_opacity[level])
            appearance.append(appearance_block(*for_appearance, injected=to_appearance[level]))
        if len(transform_blocks) == len(appearance) - 1:
            transform = torch.cat(self._shared(transform, opacity, appearance[-1]), dim=1)
        return transform, opacity, appearance

    def _shared(self, own: Tensor, *others: Tensor) -> list[Tensor]:
        """A branch's own maps and those it sees of the others: apart and detached, or in one with gradients."""
        if not self.config.concatenate:
            return [own]
        if self.config.detach:
            return [own, *(other.detach() for other in others)]
        return [torch.cat([own, *others], dim=1)]

    def decode_color(
        self,
        geometry: Geometry,
        view_direction: Float[Tensor, "B V 3"],
        light: Float[Tensor, "B N 3"],
    ) -> Float[Tensor, "B V K D H W 4"]:
        """Voxels (linear RGB radiance, opacity per metre) of every view of a frame.

        Args:
            view_direction: unit vectors from the head to the cameras, head frame.
            light: incoming radiance of the light field, head frame (``light_sphere.radiance``).
        """
        opacity, appearance = self.opacity_decoder, self.appearance_decoder
        features, lobes, look = geometry.features[-1], self.lobes.gather(light), self.lobes.look(view_direction)
        with self._networks():
            response = appearance.light(light, lobes, geometry.features)
            gate = appearance.gate(features, view_direction, look)
        return assemble(
            opacity_features=geometry.opacity_features.permute(0, 2, 3, 1),
            gain_features=features.float().permute(0, 2, 3, 1),
            light=response.float().permute(0, 1, 3, 4, 2),
            gate=gate.float(),
            opacity_weight=opacity.head.weight.squeeze(0),
            gain_weight=appearance.gain.weight,
            shading_weight=appearance.shading.weight.squeeze(0),
            opacity_bias=cast(Tensor, opacity.head.bias).squeeze(2),
            gain_bias=cast(Tensor, appearance.gain.bias),
            grid=self.config.grid,
            depth=self.config.voxels,
            density=opacity.DENSITY,
        )

    def decode_shading(
        self, features: list[Tensor], view_direction: Float[Tensor, "B V 3"], light: Float[Tensor, "B N C"]
    ) -> Float[Tensor, "B R R V C D"]:
        """What ``decode_color`` multiplies the voxels' gain with, under light of any number C of channels.

        It has the sign of the voxels' radiance, and costs neither assembly nor raymarching. D are the voxels under
        one texel; ``features`` are those of ``Geometry``.
        """
        appearance = self.appearance_decoder
        lobes, look = self.lobes.gather(light), self.lobes.look(view_direction)
        with self._networks():
            response = appearance.light(light, lobes, features).permute(0, 3, 4, 1, 2)[:, :, :, None]
            gate = appearance.gate(features[-1], view_direction, look)[:, :, :, :, None]
        return (response.float() * gate.float()) @ appearance.shading.weight.squeeze(0).T

    def decode_response(
        self, geometry: Geometry, view_direction: Float[Tensor, "B V 3"]
    ) -> tuple[Float[Tensor, "B K D H W 3"], Float[Tensor, "B V K D H W L"]]:
        """Gain and shading of every voxel: radiance_c = gain_c · Σ_l light_lc · shading_l, as ``decode_color`` has it.

        It holds where the light branch is linear (``VRMMConfig.linear_light``). ``shading`` is the answer to each
        direction of the light field alone.
        """
        appearance, config = self.appearance_decoder, self.config
        single = torch.eye(config.light_directions, device=view_direction.device)
        shading = self.decode_shading(geometry.features, view_direction, single.expand(len(view_direction), -1, -1))
        with self._networks():
            features = geometry.features[-1].permute(0, 2, 3, 1)
            gain = torch.einsum("byxf,cnf->byxcn", features, appearance.gain.weight)
        assert appearance.gain.bias is not None
        gain = nn.functional.softplus((gain + appearance.gain.bias).float())[:, :, :, None]
        return _by_voxel(gain, config)[:, 0], _by_voxel(shading, config)

    def description(self) -> dict[str, Any]:
        """What is needed beside the weights to build the same model again."""
        return {"config": dataclasses.asdict(self.config), "subjects": list(self.subjects)}


def _by_voxel(texels: Float[Tensor, "B R R V C N"], config: VRMMConfig) -> Float[Tensor, "B V K D H W C"]:
    """What the last maps say of the N voxels under each texel, voxel by voxel."""
    across = config.resolution // config.grid
    block = config.voxels // across
    split = texels.unflatten(5, (config.voxels, block, block))
    split = split.unflatten(2, (config.grid, across)).unflatten(1, (config.grid, across))
    # [B, grid, across, grid, across, V, C, depth, block, block]
    return split.permute(0, 5, 1, 3, 7, 2, 8, 4, 9, 6).reshape(
        len(texels), texels.shape[3], config.primitives, *[config.voxels] * 3, texels.shape[4]
    )
