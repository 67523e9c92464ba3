"""``vrmm animate``: the expressions and the motion of one person on others."""

from pathlib import Path
from typing import Annotated

import typer

from tools.shows.options import ShowOptions, Who, put_on, show_command


@show_command(without=("seconds", "expression"))
def animate(
    who: Who,
    driver: Annotated[
        Path,
        typer.Option(
            "--from", help="Video with landmarks beside it, avatar, capture, shards, or animation curve (.npz)."
        ),
    ],
    seconds: Annotated[float | None, typer.Option(help="Length of the show; that of the driver by default.")] = None,
    motion: Annotated[bool, typer.Option(help="Move the head as well as the face.")] = True,
    curve: Annotated[Path | None, typer.Option(help="Keep the animation curve in this file (.npz).")] = None,
    driver_fps: Annotated[float, typer.Option(help="Frames a second of a capture; of a video, the most used.")] = 12.0,
    driver_subject: Annotated[str, typer.Option(help="Of a capture; its first one by default.")] = "",
    driver_sequence: Annotated[str, typer.Option(help="Of a capture; the subject's first one by default.")] = "",
    driver_camera: Annotated[
        list[str] | None, typer.Option(help="Of a capture, for the encoders, from the face's right to its left.")
    ] = None,
    driver_size: Annotated[int, typer.Option(help="Pixels to which a video's head is reduced.")] = 96,
    driver_steps: Annotated[int, typer.Option(help="Steps of the fit to a video's frames.")] = 30,
    *,
    options: ShowOptions,
) -> None:
    """Let people make the expressions and the head motion of someone else.

    A capture is read by the expression encoder, a video by fitting the model to its frames. Beside a video lie its
    landmarks (video.lmk.npz: landmarks [frames, 68, 2], NaN where there is no face) and, if there is one, its mask
    (video.mask.mp4).
    """
    from prior.motion import resampled
    from tools.console import console, progress_bar
    from tools.shows.drivers import DriverOptions, read_driver
    from tools.shows.people import Cast
    from tools.shows.program import animation

    people = Cast(seed=options.seed, temperature=options.temperature).people(who, most=1)
    how = DriverOptions(
        fps=driver_fps,
        subject=driver_subject,
        sequence=driver_sequence,
        image_size=driver_size,
        steps=driver_steps,
        cameras=tuple(driver_camera or ()),
    )
    with progress_bar(f"reading {driver}") as report:
        driving = read_driver(driver, people[0], how, report)
    for remark in driving.remarks:
        console.print(f"this animation may be unsound: {remark}")
    if curve is not None:
        driving.curve.save(curve)
        console.print(f"{curve}: {len(driving.curve)} moments, {driving.curve.seconds:.1f} s")
    put_on(animation(people, resampled(driving.curve, options.fps, seconds), options, motion=motion))
