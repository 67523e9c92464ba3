"""Shows as commands make them: from options and names to moments that can be rendered."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datasets.errors import VrmmError
from prior.animation import AnimationCurve
from tools.shows.cameras import CameraPath
from tools.shows.expressions import AsInThePhoto, Performance, Played, Rest, Wander, check_performance, moments
from tools.shows.lights import LightOptions, LightPath, make_light
from tools.shows.moves import HEADS, INTERPOLATE, RELIGHT, SAMPLE, CameraMove
from tools.shows.options import ShowOptions
from tools.shows.output import Format, Outputs
from tools.shows.people import Cast, Person, Tour
from tools.shows.stage import Head, Moment, Progress, perform

TOUR = 4
"""Subjects of a run that is interpolated alone."""


class Show:
    """People, light, camera and performance, checked and ready to be rendered. Final.

    Args:
        title: for people.
        options: of the show.
        people: everyone who appears.
        performance: of all of them.
        cast: who stands side by side at a place in [0, 1); everyone by default.

    Attributes:
        frames: how many there will be.
        paths: what will be written.

    Raises:
        VrmmError: an option, a file or a person that does not fit.
    """

    def __init__(
        self,
        title: str,
        options: ShowOptions,
        people: Sequence[Person],
        performance: Performance,
        cast: Callable[[float], Sequence[Person]] | None = None,
    ) -> None:
        self.title, self.options = title, options
        self.frames = moments(options.seconds, options.fps)
        self.paths = [*options.out, *([options.exr] if options.exr else [])]
        self._performance, self._cast = performance, cast or (lambda place: people)
        self._light = _light(options, people[0])
        self._camera = CameraPath.around(
            people[0].model,
            options.size,
            options.zoom,
            azimuth=options.azimuth,
            elevation=options.elevation,
            move=options.camera,
        )
        check_performance(performance, people)
        form = Format(frames=self.frames, fps=options.fps, cells=options.cells)
        self._outputs = Outputs(options.out, form, exr=options.exr)
        self._outputs.check(options.size, options.size * len(self._cast(0.0)))

    def run(self, progress: Progress) -> None:
        """Render everything; called once. Raises VrmmError where an output cannot be written: none is left then."""
        perform(self._moments(), self.frames, self._outputs, progress)

    def _moments(self) -> Iterator[Moment]:
        for index in range(self.frames):
            place = index / self.frames
            heads = [
                Head(
                    person=person,
                    expression=self._performance.expression(person, place),
                    pose=self._performance.pose(person, place),
                )
                for person in self._cast(place)
            ]
            names = ", ".join(head.person.name for head in heads)
            yield Moment(
                heads=heads,
                camera=self._camera.at(place),
                light=self._light.at(place),
                caption=f"{index / self.options.fps:.1f} s  {names}",
                ball=self.options.ball,
            )


def interpolation(who: Sequence[str], options: ShowOptions) -> Show:
    """Each person turns into the next and the last into the first. Raises VrmmError as ``Show``, or for one alone."""
    people = _cast(options).people(who, most=TOUR)
    if len(people) < 2:
        raise VrmmError("one person cannot turn into anybody; name two or more, or a run for four of its subjects")
    tour = Tour(people)
    title = f"interpolating {len(people)} people"
    return Show(title, options, people, performance(options, people[0]), lambda place: [tour.at(place)])


def relighting(who: Sequence[str], options: ShowOptions) -> Show:
    """People side by side. Raises VrmmError as ``Show``."""
    people = _cast(options).people(who, most=1)
    return Show(f"relighting {_names(people)}", options, people, performance(options, people[0]))


def animation(people: Sequence[Person], curve: AnimationCurve, options: ShowOptions, *, motion: bool) -> Show:
    """People side by side who play a curve of the show's rate. Raises VrmmError as ``Show``."""
    played = Played(curve=curve, moving=motion)
    return Show(f"animating {_names(people)}", dataclasses.replace(options, seconds=curve.seconds), people, played)


def sampling(run: Path, count: int, options: ShowOptions) -> Show:
    """Random heads one after the other. Raises VrmmError as ``Show``, or for no head at all."""
    if count < 1:
        raise VrmmError(f"--count is {count}; ask for one head or more")
    heads = _cast(options).heads(run, count)
    acted = Rest() if options.expression == "rest" else performance(options, heads[0])
    options = dataclasses.replace(options, cells=count)
    return Show(f"drawing {count} heads", options, heads, acted, lambda place: [heads[int(place * count)]])


def performance(options: ShowOptions, person: Person) -> Performance:
    """What ``--expression`` asks for. Raises VrmmError for a name that there is none of."""
    if Path(options.expression).suffix == ".npz":
        return Played.fitting(AnimationCurve.load(Path(options.expression)), options.fps, options.seconds)
    made: dict[str, Callable[[], Performance]] = {
        "rest": Rest,
        "photo": AsInThePhoto,
        "wander": lambda: Wander.drawn(person, options.seconds, temperature=options.temperature, seed=options.seed),
    }
    if options.expression not in made:
        raise VrmmError(f"there is no expression {options.expression}; there are {', '.join(made)} and curves (.npz)")
    return made[options.expression]()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A show by the command that makes it.

    Attributes:
        command: its name.
        who: its people.
        options: of the show.
        caption: what is to be seen.
    """

    command: str
    who: Sequence[str]
    options: ShowOptions
    caption: str

    def show(self) -> Show:
        """The show, ready to run. Raises VrmmError as ``Show``."""
        return _MAKERS[self.command][0](self.who, self.options)

    @property
    def line(self) -> str:
        """The command line."""
        words = ["vrmm", self.command, *self.who]
        usual = _MAKERS[self.command][1]
        for field in dataclasses.fields(ShowOptions):
            value = getattr(self.options, field.name)
            if value != usual.get(field.name, field.default):
                words += _words(field.name, value)
        return shlex.join(words)


def _words(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    if isinstance(value, CameraMove):
        return [flag, value.value]
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]


def _light(options: ShowOptions, person: Person) -> LightPath:
    of_light = LightOptions(
        level=person.light_level, turns=options.light_turns, stops=options.stops, lamps=options.lamps
    )
    return make_light(options.light, of_light, person)


def _cast(options: ShowOptions) -> Cast:
    return Cast(seed=options.seed, temperature=options.temperature)


def _names(people: Sequence[Person]) -> str:
    return ", ".join(person.name for person in people)


def _samples(who: Sequence[str], options: ShowOptions) -> Show:
    return sampling(Path(who[0]), HEADS, options)


_MAKERS = {
    "interpolate": (interpolation, INTERPOLATE),
    "relight": (relighting, RELIGHT),
    "sample": (_samples, SAMPLE),
}
