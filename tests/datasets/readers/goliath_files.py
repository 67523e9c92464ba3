"""A tiny capture laid out as Goliath-4 lays out its heads."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.capture import Camera, Light, Pose
from tests.datasets.readers import truth

SIZE = 83, 128  # of 2668x4096
FRAMES = {100: 0, 101: 1, 102: 2, 103: 0, 110: 1}
"""Frame → light pattern."""
PATTERNS = [[[0, 5555], [1, 5555], [2, 5555], [3, 5555]], [[0, 5555], [2, 1111]], [[3, 2777]]]
HEAD_AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
BLACK, GAIN = np.array([2.0, 1.0, 2.0]) / 255.0, np.array([1.4, 1.1, 1.6])


@dataclasses.dataclass
class GoliathFiles:
    folder: Path
    cameras: list[Camera]
    lamps: np.ndarray  # metres, our world
    world: truth.World

    def light(self, number: int) -> Light:
        """Our world; a lamp that burns for the whole exposure has an irradiance of 1."""
        lamps, durations = zip(*PATTERNS[FRAMES[number]], strict=True)
        return Light(
            positions=self.lamps[list(lamps)], irradiance=np.repeat(np.array(durations)[:, None] / 5555.0, 3, axis=1)
        )

    def pose(self, number: int) -> Pose:
        rotation, translation = self.head_pose(number)
        return Pose(rotation=rotation, translation=translation)

    def head_pose(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and translation (metres) in our world; the mean rotation over the frames is none."""
        place = list(FRAMES).index(number) - 2
        return Rotation.from_rotvec([0.0, 0.1 * place, 0.0]).as_matrix(), np.array([0.001 * place, 0.02, -0.01])


def described(root: Path, *, subject: str = "ABC123", scale: int = 1) -> GoliathFiles:
    """The truth; nothing is written. Pictures are ``scale`` times as wide as ``SIZE``."""
    folder = root / f"m--20230306--0707--{subject}--pilot--ProjectGoliath--Head"
    cameras = truth.ring(["400002", "400013", "401031", "400281"], (scale * SIZE[0], scale * SIZE[1]))
    lamps = np.random.default_rng(3).normal(size=(4, 3)) + [0.0, 0.3, 1.2]
    return GoliathFiles(folder, cameras, 1.2 * lamps / np.linalg.norm(lamps, axis=1)[:, None], truth.MILLIMETRES)


def write(
    root: Path, *, kind: str = "avif", subject: str = "ABC123", scale: int = 1, shown: truth.Shown = truth.WAVES
) -> GoliathFiles:
    files = described(root, subject=subject, scale=scale)
    folder = files.folder
    _write_tables(files)
    for camera in files.cameras:
        pictures = {number: stored(shown.radiance(camera, number)) for number in FRAMES}
        masks = {number: shown.mask(camera, number) for number in FRAMES}
        write_camera(folder, camera, pictures, kind, masks)
    poses = {f"{n:06d}.txt": _rows(files.world.head_to_world(*files.head_pose(n), HEAD_AXES)) for n in FRAMES}
    truth.write_zip(folder / "head_pose" / "head_pose.zip", poses)
    return files


def stored(linear: np.ndarray) -> np.ndarray:
    return truth.to_bytes(linear / GAIN + BLACK)


def write_camera(
    folder: Path,
    camera: Camera,
    pictures: dict[int, np.ndarray],
    kind: str = "avif",
    masks: dict[int, np.ndarray] | None = None,
) -> None:
    """Parts are 3 and 7 by turns where the mask is at least a half, 0 elsewhere."""
    name = f"cam{camera.name}"
    members = {f"{name}/{number:06d}.{kind}": truth.picture_bytes(data, kind) for number, data in pictures.items()}
    truth.write_zip(folder / "image" / f"{name}.zip", members)
    members = {}
    for number in pictures:
        inside = (truth.mask(camera) if masks is None else masks[number]) >= 0.5
        parts = np.where(inside, np.where(np.arange(inside.shape[1]) % 2 == 0, 7, 3), 0).astype(np.uint8)
        members[f"{name}/{number:06d}.png"] = truth.picture_bytes(parts, "png")
    truth.write_zip(folder / "segmentation_parts" / f"{name}.zip", members)


def calibration(files: GoliathFiles) -> list[dict]:
    entries = []
    for camera in files.cameras:
        intrinsics = np.diag([2668 / camera.width, 4096 / camera.height, 1.0]) @ camera.intrinsics
        intrinsics[:2, 2] -= 0.5
        world_to_camera = np.concatenate([files.world.world_to_camera(camera), [[0.0, 0.0, 0.0, 1.0]]])
        entries.append({"cameraId": camera.name, "K": intrinsics.T.tolist(), "T": world_to_camera.T.tolist()})
    return entries


def _write_tables(files: GoliathFiles) -> None:
    lights = files.folder / "lights"
    lights.mkdir(parents=True)
    grey = {**calibration(files)[0], "cameraId": "410015"}
    unpictured = {**calibration(files)[3], "cameraId": "400999"}
    write_json(files.folder / "camera_calibration.json", {"KRT": [*calibration(files), grey, unpictured]})
    write_camera(files.folder, dataclasses.replace(files.cameras[0], name="410015"), {})
    metadata = {
        "light_positions": files.world.points(files.lamps).tolist(),
        "light_patterns": [{"light_index_durations": pattern} for pattern in PATTERNS],
    }
    write_json(lights / "light_pattern_metadata.json", metadata)
    write_json(lights / "light_pattern_per_frame.json", [[number, pattern] for number, pattern in FRAMES.items()])
    rows = [f"{number},{'test' if number == 102 else 'train'}" for number in FRAMES]
    (files.folder / "frame_splits_list.csv").write_text("\n".join(["frame,split", *rows]) + "\n")


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _rows(matrix: np.ndarray) -> bytes:
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in matrix).encode()
