"""The search for faces: every face once, of any size and place, and none where there is none."""

import pytest
import torch
from torch import Tensor

from fitting.initializer.detect import Pyramid, find_faces
from fitting.initializer.network import AnswerSizes, InitializerNetwork, Prediction
from fitting.initializer.recipe import NetworkConfig

SHAPE = torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) - 0.5
SHAPE[0], SHAPE[1] = torch.tensor([-0.5, -0.5]), torch.tensor([0.5, 0.5])


class RedPatches(InitializerNetwork):
    """Knows a face by its colour: a red square is the box of one."""

    def __init__(self) -> None:
        config = NetworkConfig(size=32, channels=[4, 4, 4, 4], features=4)
        super().__init__(config, AnswerSizes(subjects=2, expression=2, directions=4))
        self.eval()

    def forward(self, picture: Tensor, hint: Tensor | None = None) -> Prediction:
        count, size = len(picture), picture.shape[-1]
        red = picture[:, 0].clamp(min=1e-9)
        axis = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
        total = red.sum(dim=(1, 2))
        middle = torch.stack([(red.sum(dim=1) * axis).sum(dim=1), (red.sum(dim=2) * axis).sum(dim=1)], dim=1)
        middle = middle / total[:, None]
        side = 2.0 * (total.sqrt() / size)
        # As in training: sure where the square is placed as around a face (its box a half of the crop, below the
        # middle), and not sure of less.
        right = (side - 1.0).abs() + (middle - torch.tensor([0.0, 0.2])).norm(dim=1)
        found = super().forward(picture)
        return Prediction(
            landmarks=middle[:, None] + SHAPE * side[:, None, None],
            spread=torch.full((count, 68), 0.01),
            rotation=found.rotation,
            log_field=found.log_field,
            blend=found.blend,
            z_e=found.z_e,
            light=found.light,
            face=torch.where(total > 4.0, 4.0 - 6.0 * right, -9.0),
        )


def picture_of(boxes: list[tuple[int, int, int]], height: int, width: int) -> Tensor:
    picture = torch.zeros(3, height, width)
    for x, y, side in boxes:
        picture[0, y : y + side, x : x + side] = 1.0
    return picture


@pytest.mark.parametrize(
    ("boxes", "shape"),
    [
        ([(30, 40, 60)], (160, 160)),  # a portrait
        ([(200, 60, 50)], (200, 300)),  # small, at the side
        ([(40, 60, 90), (330, 40, 80)], (240, 480)),  # two
        ([(900, 500, 400)], (1200, 1600)),  # large
    ],
)
def test_every_face_is_found_where_it_is(boxes: list, shape: tuple) -> None:
    found = find_faces(RedPatches(), picture_of(boxes, *shape))
    assert len(found.score) == len(boxes)
    for x, y, side in boxes:
        wanted = torch.tensor([x + side / 2, y + side / 2]) + SHAPE * side
        error = (found.landmarks - wanted).norm(dim=-1).mean(dim=1).min()
        assert float(error) < 0.03 * side  # crops of 32 pixels
    assert float(found.score.min()) > 0.5


def test_nothing_is_found_in_nothing() -> None:
    found = find_faces(RedPatches(), torch.zeros(3, 90, 120))
    assert found.landmarks.shape == (0, 68, 2)


def test_crops_of_all_sizes_show_their_square() -> None:
    """A ramp across: every crop has the mean of its square, however much smaller it is."""
    picture = torch.linspace(0.0, 1.0, 512).expand(3, 512, 512)
    squares = torch.tensor([[256.0, 256.0, 20.0], [100.0, 300.0, 64.0], [256.0, 256.0, 500.0]])
    crops = Pyramid(picture, 32).crops(squares)
    torch.testing.assert_close(crops.mean(dim=(1, 2, 3)), squares[:, 0] / 512, atol=0.004, rtol=0)
