"""What the commands that show people have in common: their options and how a show is made of them."""

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.console import console, progress_bar
from tools.shows.moves import CameraMove

if TYPE_CHECKING:
    from tools.shows.expressions import Performance
    from tools.shows.people import Person
    from tools.shows.stage import Moment

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

    @property
    def frames(self) -> int:
        """Of the whole show. Raises VrmmError for a length or rate that is not positive."""
        from tools.shows.expressions import moments

        return moments(self.seconds, self.fps)

    def performance(self, person: "Person") -> "Performance":
        """What ``--expression`` asks for. Raises VrmmError for a name that there is none of."""
        from datasets.errors import VrmmError
        from prior.animation import AnimationCurve
        from tools.shows.expressions import AsInThePhoto, Played, Rest, Wander

        if Path(self.expression).suffix == ".npz":
            return Played.fitting(AnimationCurve.load(self.expression), self.fps, self.seconds)
        made: dict[str, Callable[[], Performance]] = {
            "rest": Rest,
            "photo": AsInThePhoto,
            "wander": lambda: Wander.drawn(person, self.seconds, temperature=self.temperature, seed=self.seed),
        }
        if self.expression not in made:
            raise VrmmError(f"there is no expression {self.expression}; there are {', '.join(made)} and curves (.npz)")
        return made[self.expression]()


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


def put_on(
    label: str,
    options: ShowOptions,
    people: "list[Person]",
    performance: "Performance",
    cast: "Callable[[float], list[Person]] | None" = None,
) -> None:
    """Render a show and say what has been written.

    Args:
        label: of the progress bar.
        options: of the show.
        people: everyone who appears.
        performance: of all of them.
        cast: who stands side by side at a place in [0, 1); everyone by default.

    Raises:
        VrmmError: an option, a file or a person that does not fit, before anything is rendered.
    """
    from tools.shows.cameras import CameraPath
    from tools.shows.expressions import check_performance
    from tools.shows.lights import LightOptions, make_light
    from tools.shows.output import Format, Outputs
    from tools.shows.stage import Head, Moment, perform

    total, model = options.frames, people[0].model
    of_light = LightOptions(
        level=people[0].light_level, turns=options.light_turns, stops=options.stops, lamps=options.lamps
    )
    light = make_light(options.light, of_light, people[0])
    place: dict[str, Any] = {"azimuth": options.azimuth, "elevation": options.elevation, "move": options.camera}
    camera = CameraPath.around(model, options.size, options.zoom, **place)
    check_performance(performance, people)
    everyone = cast or (lambda place: people)
    outputs = Outputs(options.out, Format(frames=total, fps=options.fps, cells=options.cells), exr=options.exr)
    outputs.check(options.size, options.size * len(everyone(0.0)))

    def moments() -> "Iterator[Moment]":
        for index in range(total):
            at = index / total
            heads = [
                Head(person=person, expression=performance.expression(person, at), pose=performance.pose(person, at))
                for person in everyone(at)
            ]
            names = ", ".join(head.person.name for head in heads)
            caption = f"{index / options.fps:.1f} s  {names}"
            yield Moment(heads=heads, camera=camera.at(at), light=light.at(at), caption=caption, ball=options.ball)

    began = time.monotonic()
    with progress_bar(label) as report:
        perform(moments(), total, outputs, report)
    took = time.monotonic() - began
    for path in [*options.out, *([options.exr] if options.exr else [])]:
        console.print(f"{path}: {total} frames, {total / options.fps:.1f} s, made in {took:.0f} s")


def _default(field: dataclasses.Field[Any], changed: dict[str, Any]) -> Any:
    if field.name in changed:
        return changed[field.name]
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
