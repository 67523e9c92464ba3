"""A rendered frame as the files of a capture."""

import io

import numpy as np

from datasets.capture import Frame, Pose
from datasets.images import encode_mask, encode_radiance
from datasets.lightstage.stage import LightStage

LANDMARKS = "lmk.npz"


def frame_files(stage: LightStage, frame: Frame) -> dict[str, bytes]:
    """The frame's pictures, masks and landmarks as files by extension; see ``Capture.members``.

    ``lmk.npz`` holds ``cameras`` [C] names, ``points`` [C, 68, 2] pixels, ``visible`` [C, 68] (nothing is in
    front of the point and it is inside the picture) and ``world`` [68, 3] metres.
    """
    files = {}
    for camera in stage.info.cameras:
        if camera.split != "train" and not stage.config.capture_held_out_cameras:
            continue
        picture = stage.render_frame(frame, camera)
        files[f"{camera.name}.rgb.png"] = encode_radiance(picture.image.transpose(1, 2, 0), stage.info.encoding)
        files[f"{camera.name}.mask.png"] = encode_mask(picture.mask[0])
    files[LANDMARKS] = _landmarks(stage, frame)
    return files


def _landmarks(stage: LightStage, frame: Frame) -> bytes:
    """The frame must be the one that the stage rendered last."""
    pose = frame.pose or Pose.identity()
    controls = stage.model.neutral_expression() if frame.expression is None else np.array(frame.expression)
    local = stage.model.landmarks(stage.subject(frame.subject).identity, controls)
    world = local @ pose.rotation.T + pose.translation
    cameras = stage.info.cameras
    data = io.BytesIO()
    np.savez(
        data,
        cameras=np.array([camera.name for camera in cameras]),
        points=np.stack([camera.project(world) for camera in cameras]).astype(np.float32),
        visible=np.stack([stage.renderer.visible(world, camera) for camera in cameras]),
        world=world.astype(np.float32),
    )
    return data.getvalue()
