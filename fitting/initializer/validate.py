"""How good the network's answers are on renderings that it was never trained on."""

import torch

from fitting.initializer.augment import Augmentation
from fitting.initializer.losses import TrainingLoss
from fitting.initializer.network import InitializerNetwork
from fitting.initializer.samples import Samples
from prior.metrics import rotation_angle

BATCH = 64


@torch.no_grad()
def validate(
    network: InitializerNetwork, loss: TrainingLoss, augmentation: Augmentation, samples: Samples, seed: int
) -> dict[str, float]:
    """Means over augmented pictures.

    Returns:
        ``landmark_error``: distance in sides of the face's box. ``rotation_degrees``. ``blend``, ``expression``,
        ``light``: unexplained share of the variance, 1 for an answer that ignores the picture. ``face_accuracy``.
    """
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    distances, angles, right, terms = [], [], [], []
    for rows in torch.arange(len(samples)).split(BATCH):
        batch = augmentation(samples.chosen(rows), generator)
        found = network(batch.picture)
        near, asked = batch.near > 0, ~batch.face.isnan()
        face = (batch.landmarks.amax(dim=1) - batch.landmarks.amin(dim=1)).amax(dim=1, keepdim=True)
        distance = (found.landmarks - batch.landmarks).norm(dim=-1) / face
        distances.append(distance[near])
        angles.append(rotation_angle(found.rotation[near], batch.rotation[near]))
        right.append(((found.face > 0) == (batch.face > 0.5))[asked].float())
        terms.append(loss(found, batch))
    return {
        "landmark_error": float(torch.cat(distances).mean()),
        "rotation_degrees": float(torch.cat(angles).rad2deg().mean()),
        "face_accuracy": float(torch.cat(right).mean()),
        **{
            name: float(torch.stack([term[name] for term in terms]).mean())
            for name in ("blend", "expression", "light", "field")
        },
    }
