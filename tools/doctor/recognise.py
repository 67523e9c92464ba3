"""``python -m tools.doctor.recognise PATH``: what a file or folder with weights is, by loading it as vrmm would."""

import sys
from pathlib import Path

from datasets.errors import VrmmError
from tools.probes import PREFIX


def recognise(path: Path) -> str:
    """What it is, in a few words.

    Raises:
        VrmmError: there is nothing, nothing that vrmm can use, or something damaged.
    """
    if not path.exists():
        raise VrmmError(f"{path} does not exist")
    if (path / "avatar.json").is_file():
        return _avatar(path)
    if (path / "model.json").is_file():
        return _run(path)
    if path.suffix == ".task":
        return _landmarker(path)
    if path.suffix == ".npz" or any((path / part).exists() for part in ("FaceXModel", "generic_neutral_mesh.obj")):
        return _head_model(path)
    if path.is_dir() or path.suffix in (".pth", ".pt", ".safetensors"):
        return _network(path)
    raise VrmmError(f"{path} is of no kind that vrmm reads: .pth, .pt, .safetensors, .task, .npz, a run or an avatar")


def _avatar(path: Path) -> str:
    from fitting.avatar import Avatar

    return f"an avatar of {', '.join(Avatar.load(path).description['photos'][:3])}"


def _run(path: Path) -> str:
    from prior.weights import load_weights

    model, _, description = load_weights(path)
    step = description.get("step", "unknown")
    return f"a prior of {len(model.subjects)} people, {model.config.primitives} primitives, step {step}"


def _landmarker(path: Path) -> str:
    from fitting.mediapipe_landmarks import MediaPipeLandmarks

    MediaPipeLandmarks(path)
    return "MediaPipe's Face Landmarker (--landmarker)"


def _head_model(path: Path) -> str:
    from datasets.lightstage.heads import load_head_model

    return f"an ICT Face Model of {len(load_head_model(str(path)).expression_names)} expressions (--head-model)"


def _network(path: Path) -> str:
    """A state dictionary: VGG-19 or LPIPS."""
    from prior.lpips import LPIPS
    from prior.perceptual import VGGDistance

    problems = []
    if path.is_file():
        try:
            VGGDistance(path)
            return "VGG-19 (losses.vgg_weights)"
        except VrmmError as error:
            problems.append(str(error))
    try:
        LPIPS(path)
        return "LPIPS on AlexNet (--lpips-weights)"
    except VrmmError as error:
        problems.append(str(error))
    raise VrmmError("; ".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    print(PREFIX + recognise(Path(sys.argv[1])))
