"""``vrmm fit``: photos, a video or a capture's frames of a person to an avatar."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.console import console, progress_bar

if TYPE_CHECKING:
    from fitting.avatar import Avatar
    from fitting.fit import Prior
    from fitting.inversion import Progress
    from fitting.landmarks import LandmarkSource
    from fitting.recipe import FitRecipe

DEFAULT_RECIPE = Path("configs/fitting/default.yaml")


def fit(
    inputs: Annotated[
        list[str],
        typer.Argument(help="1 to 8 photos, a video, a folder of its frames, or a capture; then key=value changes."),
    ],
    prior: Annotated[Path, typer.Option(help="Run folder of a trained prior.")],
    out: Annotated[Path, typer.Option(help="Folder of the avatar.")],
    cameras: Annotated[
        Path | None, typer.Option(help="JSON with the cameras of the photos or the video by file name.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="Fitting recipe.")] = DEFAULT_RECIPE,
    steps: Annotated[int | None, typer.Option(help="Fine-tuning steps; 0 for inversion alone.")] = None,
    initializer: Annotated[
        bool | None,
        typer.Option(
            "--initializer/--no-initializer",
            help="Start from the network of vrmm train-initializer; by default where there is one.",
        ),
    ] = None,
    expressions: Annotated[str | None, typer.Option(help="shared or each: do all photos show one expression?")] = None,
    landmarker: Annotated[
        Path | None, typer.Option(help="MediaPipe's face_landmarker.task, for pictures with no landmarks beside them.")
    ] = None,
    face: Annotated[int | None, typer.Option(help="Which face, from the left, where there are several.")] = None,
    frame: Annotated[list[str] | None, typer.Option(help="Key of a capture's frame; may be repeated.")] = None,
    view: Annotated[list[str] | None, typer.Option(help="Name of a capture's camera; may be repeated.")] = None,
) -> None:
    """Turn photos or a video of one person into an avatar that can be animated and relit.

    Beside each photo lie its landmarks (photo.lmk.npz, .json or .pts; 68, 98 or 478 points), or --landmarker or the
    prior's own initializer (vrmm train-initializer) finds them, and, if there is one, the head's mask
    (photo.mask.png); a video's are video.lmk.npz and video.mask.mp4. Run the same command again to continue after an
    interruption.
    """
    from datasets.config import load_config
    from fitting.fit import Prior
    from fitting.recipe import FitRecipe

    paths = [Path(text) for text in inputs if not _is_override(text)]
    overrides = [text for text in inputs if _is_override(text)]
    if steps is not None:
        overrides.append(f"finetune.steps={steps}")
    if expressions is not None:
        overrides.append(f"expressions={expressions}")
    elif frame is not None and len(frame) > 1:
        overrides.insert(0, "expressions=each")
    config = load_config(FitRecipe, recipe, overrides)
    loaded = Prior.load(prior, initializer)
    source = _landmarks(landmarker, loaded)
    run = _choose(paths, loaded, config, out, cameras, source, face, (frame or [], view or []))
    with progress_bar(f"fitting {out}") as report:
        avatar = run(_progress(config, paths, report))
    found = avatar.report["input"]["finetuned"]
    what = "the photos are" if avatar.animation is None else f"{len(avatar.animation)} frames are"
    console.print(f"{out}: {what} reproduced to {found['mae255']:.1f}/255, {found['psnr']:.1f} dB")
    for reason in avatar.report["reasons"]:
        console.print(f"this avatar is not sound: {reason}")


def _choose(
    paths: Sequence[Path],
    prior: "Prior",
    recipe: "FitRecipe",
    out: Path,
    cameras: Path | None,
    landmarks: "LandmarkSource",
    face: int | None,
    captured: tuple[Sequence[str], Sequence[str]],
) -> "Callable[[Progress], Avatar]":
    """What fits these inputs: a capture's frames, one video, or photos."""
    from datasets.errors import VrmmError
    from fitting.captured import captured_photos, is_capture
    from fitting.fit import fit, fit_photos
    from fitting.video.fit import fit_video
    from fitting.video.source import is_video

    special = [path for path in paths if is_capture(path) or is_video(path)]
    if special and len(paths) > 1:
        raise VrmmError(f"{special[0]} must be fitted alone: an avatar is of photos, of one video, or of one capture")
    if any(captured) and not (special and is_capture(special[0])):
        raise VrmmError("--frame and --view choose from a capture; give its folder as the input")
    if special and is_capture(special[0]):
        if cameras is not None:
            raise VrmmError(f"{special[0]} is a capture, whose cameras are known; leave out --cameras")
        frames, views = captured
        photos = captured_photos(special[0], frames, views, recipe.image_size, landmarks, face)
        return lambda progress: fit_photos(photos, prior, recipe, out, progress=progress)
    if special:
        return lambda progress: fit_video(
            special[0], prior, recipe, out, cameras=cameras, landmarks=landmarks, face=face, progress=progress
        )
    return lambda progress: fit(
        paths, prior, recipe, out, cameras=cameras, landmarks=landmarks, face=face, progress=progress
    )


def _landmarks(landmarker: Path | None, prior: "Prior") -> "LandmarkSource":
    """Files first, then the model that the user names, then the prior's initializer."""
    if landmarker is None:
        return prior.landmarks
    from fitting.landmarks import FirstOf, LandmarkFiles
    from fitting.mediapipe_landmarks import MediaPipeLandmarks

    return FirstOf([LandmarkFiles(), MediaPipeLandmarks(landmarker)])


def _progress(recipe: "FitRecipe", paths: Sequence[Path], report: Callable[[int, int], None]) -> "Progress":
    """Stages as one bar: steps of a fit of photos, parts of a thousand of a video."""
    from fitting.captured import is_capture
    from fitting.video.fit import video_share
    from fitting.video.source import is_video

    inverted = 0

    def photos(stage: str, done: int, total: int, loss: float) -> None:
        nonlocal inverted
        if stage == "inversion":
            inverted = total
            report(done, total + recipe.finetune.steps)
        else:
            report(inverted + done, inverted + total)

    def video(stage: str, done: int, total: int, loss: float) -> None:
        report(round(1000 * video_share(stage, done, total)), 1000)

    return video if any(is_video(path) and not is_capture(path) for path in paths) else photos


def _is_override(text: str) -> bool:
    return "=" in text and not Path(text).exists()
