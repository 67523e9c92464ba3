"""What the commands that show people have in common: their options, and how a show is run in the terminal."""

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.console import console, progress_bar
from tools.shows.moves import CameraMove

if TYPE_CHECKING:
    from tools.shows.program import Show

Who = Annotated[
    list[str],
    typer.Argument(metavar="WHO", help="RUN, RUN:SUBJECT, RUN:random, RUN:random7 or AVATAR; one or more."),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """The options of every show; what they mean is said once, in their help."""

    out: Annotated[
        list[Path],
        typer.Option(help="FILE.mp4, FILE.gif, FILE.png (contact sheet) or FOLDER (numbered PNGs); may be repeated."),
    ]
    exr: Annotated[Path | None, typer.Option(help="Folder for linear EXR pictures with alpha, besides --out.")] = None
    seconds: Annotated[float, typer.Option(help="Length of the show.")] = 5.0
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 24.0
    size: Annotated[int, typer.Option(help="Pixels of a head's picture.")] = 256
    light: Annotated[
        str,
        typer.Option(
            help="key, flat, olat (one lamp at a time), point (a lamp near by), photo (of an avatar), studio, sky, "
            "sunset, window, neon, a lat-long panorama (.hdr, .exr, .jpg), or a lamp's path (.json)."
        ),
    ] = "key"
    light_turns: Annotated[float, typer.Option(help="Turns of the light over the show; 0 holds it.")] = 0.0
    stops: Annotated[float, typer.Option(help="Stops of exposure brighter, or, negative, dimmer.")] = 0.0
    lamps: Annotated[int, typer.Option(help="Lamps that --light olat visits.")] = 48
    ball: Annotated[bool, typer.Option(help="Show the light on a white ball.")] = False
    camera: Annotated[CameraMove, typer.Option(help="It holds still, sways, or goes around once.")] = CameraMove.hold
    azimuth: Annotated[float, typer.Option(help="Of the camera, degrees; 0 in front, positive to the left.")] = 0.0
    elevation: Annotated[float, typer.Option(help="Of the camera, degrees.")] = 3.0
    zoom: Annotated[float, typer.Option(help="Larger than 1 comes nearer.")] = 1.0
    expression: Annotated[
        str, typer.Option(help="rest, photo (of an avatar), wander (random ones), or an animation curve (.npz).")
    ] = "rest"
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0
    temperature: Annotated[
        float, typer.Option(help="Spread of everything random: 0 is the mean, 1 as in training.")
    ] = 1.0
    cells: Annotated[int, typer.Option(help="Pictures on a contact sheet, at most.")] = 12


def show_command(
    *, without: Sequence[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turns ``command(own arguments, *, options)`` into what typer takes: the fields of ``ShowOptions`` as options.

    Args:
        without: fields that are no options of this command and keep their default.
        defaults: of fields whose default differs in this command.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function).parameters.values() if p.name != "options"]
        shared = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=_default(field, defaults), annotation=field.type
            )
            for field in dataclasses.fields(ShowOptions)
            if field.name not in without
        ]
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            options = ShowOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
            function(**values, options=options)

        del command.__wrapped__  # type: ignore[attr-defined]
        command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
        return command

    return decorate


def put_on(show: "Show") -> None:
    """Render a show and say what has been written. Raises VrmmError as ``Show.run``."""
    began = time.monotonic()
    with progress_bar(show.title) as report:
        show.run(report)
    took, total = time.monotonic() - began, show.frames
    for path in show.paths:
        console.print(f"{path}: {total} frames, {total / show.options.fps:.1f} s, made in {took:.0f} s")


def _default(field: dataclasses.Field[Any], changed: dict[str, Any]) -> Any:
    if field.name in changed:
        return changed[field.name]
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
