"""A small world in which documented commands run as they are written: the files that pages name, tiny.

Recipes of the names that ship lie in the working folder, where they are found first: the same commands, seconds long.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
Run = Callable[[list[str]], None]

RECIPES = {
    "data/demo.yaml": """
name: demo
train_subjects: 4
held_out_subjects: 1
frames: 4
held_out_subject_frames: 4
held_out_frames: 1
single_samples: 1
samples: 1
full_on_samples: 4
held_out_subject_samples: 4
rig: {image_size: 48, train_cameras: 3, held_out_cameras: 1, lamps: 12}
patterns: {held_out_lamps: 2}
""",
    "prior/demo.yaml": """
template_resolution: 17
model: {primitives: 64, voxels: 4, channels: [16, 12, 8], light_channels: [8, 8, 8], light_directions: 12,
        identity: 8, expression: 6, encoder_size: 32}
render: {step: 0.01}
losses: {consistency_every: 2}
loader: {batch_frames: 2, target_views: 1}
optimizer: {warmup: 4}
trainer: {steps: 40, checkpoint_every: 40, preview_every: 40, log_every: 10, threads: 1}
""",
    "fitting/default.yaml": """
threads: 1
image_size: 48
inversion: {steps: 6, informed_steps: 4, starts: 1}
finetune: {steps: 3, locality: {image_size: 24}}
video: {steps: 2, visits: 1}
""",
    "fitting/initializer.yaml": """
threads: 1
samples: 40
steps: 6
batch: 8
held_out: 0.2
checkpoint_every: 3
heads: {size: 40}
network: {size: 32, channels: [8, 8, 12, 16], features: 16}
""",
}

PLANNED = ("prior/studio.yaml", "prior/small.yaml")
"""Recipes that pages plan with and nobody trains here."""

FRONT, SIDES = "cam00", ("cam01", "cam00", "cam02")
FRAMES_PER_SECOND = 12


def make_world(folder: Path, vrmm: Run) -> None:
    """Everything that pages take for given, in the working folder ``folder``; ``vrmm`` runs one command there."""
    for name, text in RECIPES.items():
        write_recipe(folder / "configs" / name, text)
    for name in PLANNED:  # of their own size but for the template, which takes most of the time
        text = (ROOT / "configs" / name).read_text()
        shorter = re.sub(r"^template_resolution: .*\n", "", text, flags=re.MULTILINE)
        write_recipe(folder / "configs" / name, f"template_resolution: 17\n{shorter}")
    vrmm(["capture", "synth", "configs/data/demo.yaml", "--out", "runs/demo/capture"])
    vrmm(["shards", "build", "runs/demo/capture", "--out", "runs/demo/shards"])
    vrmm(["train", "configs/prior/demo.yaml", "loader.shards=runs/demo/shards", "--out", "runs/demo/prior"])
    make_photos(folder)
    make_film(folder)
    make_lights(folder)
    make_public_captures(folder)
    vrmm(["fit", "photo.jpg", "--prior", "runs/demo/prior", "--out", "runs/demo/fit/one_image/avatar"])
    shutil.copytree(folder / "runs/demo/fit/one_image", folder / "runs/demo/fit/three_images")
    make_curve(folder)


def write_recipe(path: Path, text: str) -> None:
    """One of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_photos(folder: Path) -> None:
    """Single photos, three of one moment with ``cameras.json``, and a list of people."""
    from fitting.camerafile import read_camera_file, write_camera_file

    known = {}
    for name, camera in zip(("left", "front", "right"), SIDES, strict=True):
        made = photograph(folder, 0, camera, f"{name}.png")
        known[f"{name}.png"] = read_camera_file(made.parent / "cameras.json")[made.name]
    write_camera_file(folder / "cameras.json", known)
    for name, frame in (("photo", 0), ("calm", 0), ("smile", 2)):
        photograph(folder, frame, FRONT, f"{name}.jpg")
    (folder / "people.txt").write_text("# one person a line\nphoto.jpg\nleft.png front.png right.png\n")


def photograph(folder: Path, frame: int, camera: str, name: str) -> Path:
    """A picture of the person held out as a user has it, with landmarks and mask; returns what it was made from."""
    import cv2

    from datasets.shards import open_shards
    from fitting.inputs import prepare_inputs, subject_frames

    shards = open_shards(folder / "runs/demo/shards")
    out = folder / "taken" / str(frame) / camera
    (made,) = prepare_inputs(shards, subject_frames(shards, "q00")[frame], [camera], out, noise=0.2)
    picture = cv2.imread(str(made))
    assert picture is not None
    path = folder / name
    cv2.imwrite(str(path), picture)
    for ending in (".mask.png", ".lmk.npz"):
        shutil.copyfile(made.with_name(made.stem + ending), path.with_name(path.stem + ending))
    return made


def make_film(folder: Path) -> None:
    """``frames/`` and ``clip.mp4`` of four frames, with landmarks and masks; ``lens.json`` for both."""
    import cv2

    from fitting.camerafile import PhotoCamera, read_camera_file, write_camera_file
    from fitting.drivervideo import write_video_landmarks
    from tools.video import write_video

    (folder / "frames").mkdir()
    pictures: dict[str, list[np.ndarray]] = {"": [], ".mask": []}
    points = []
    for frame in range(4):
        made = photograph(folder, frame, FRONT, f"frames/{frame}.png")
        points.append(np.load(folder / f"frames/{frame}.lmk.npz")["landmarks"].reshape(68, 2))
        for part, seen in pictures.items():
            picture = cv2.imread(str(folder / f"frames/{frame}{part}.png"))
            assert picture is not None
            seen.append(np.ascontiguousarray(picture[..., ::-1]))
    for part, seen in pictures.items():
        write_video(folder / f"clip{part}.mp4", seen, FRAMES_PER_SECOND)
    write_video_landmarks(folder / "clip.mp4", np.stack(points))
    taken = read_camera_file(made.parent / "cameras.json")[made.name]
    lens = PhotoCamera(intrinsics=taken.intrinsics, width=taken.width, height=taken.height, world_to_camera=None)
    write_camera_file(folder / "lens.json", {"clip.mp4": lens, "frames": lens})


def make_lights(folder: Path) -> None:
    """``sunset.hdr``, a panorama, and ``lamp.json``, the path of a lamp."""
    from datasets.lightstage.bitmaps import write_bitmap
    from datasets.lightstage.environment import make_environment

    radiance = np.ascontiguousarray(make_environment("sunset", height=16).radiance, np.float32)
    write_bitmap(folder / "sunset.hdr", radiance)
    path = {"positions": [[0.6, 0.3, 0.6], [0.0, 0.5, 0.8], [-0.6, 0.3, 0.6]], "intensity": [1.0, 0.9, 0.8]}
    (folder / "lamp.json").write_text(json.dumps(path))


def make_curve(folder: Path) -> None:
    """``curve.npz``, an animation of the prior."""
    import torch

    from prior.animation import AnimationCurve

    codes = torch.linspace(-1.0, 1.0, 6)[:, None].expand(6, 6).clone()
    still = torch.eye(3).expand(6, 3, 3).clone()
    curve = AnimationCurve(expression=codes, rotation=still, translation=torch.zeros(6, 3), fps=FRAMES_PER_SECOND)
    curve.save(folder / "curve.npz")


def make_public_captures(folder: Path) -> None:
    """Captures as others publish them, under the names that pages use."""
    from tests.datasets.readers import goliath_files, multiface_files, nersemble_files

    goliath_files.write(folder, kind="png", subject="AXE977")
    multiface_files.write(folder)
    nersemble_files.write(folder)


def namespace(folder: Path) -> dict[str, Any]:
    """What documented Python takes for given: a rig of one's own, and a frame of it."""
    from tests.datasets.tiny_capture import TinyCapture

    capture = TinyCapture(subjects=1, frames=1, size=(48, 48))
    frame = capture.frames()[0]
    members = capture.members(frame)
    return {
        "folder": folder / "stage",
        "cameras": capture.info.cameras,
        "lamps": frame.light.positions,
        "irradiance": frame.light.irradiance,
        "pictures": {camera.name: members[f"{camera.name}.rgb.png"] for camera in capture.info.cameras},
        "masks": {camera.name: members[f"{camera.name}.mask.png"] for camera in capture.info.cameras},
    }
