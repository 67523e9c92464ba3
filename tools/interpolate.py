"""``vrmm interpolate``: people who turn into one another."""

from tools.shows.moves import CameraMove
from tools.shows.options import ShowOptions, Who, put_on, show_command


@show_command(camera=CameraMove.sway)
def interpolate(who: Who, *, options: ShowOptions) -> None:
    """Turn each person into the next and the last into the first, while face, light and camera hold or move.

    A run alone stands for four of its subjects. Avatars of one prior may be mixed with its subjects and with random
    heads: where decoders have been fine-tuned, their weights are interpolated as well as the codes.
    """
    from datasets.errors import VrmmError
    from tools.shows.people import Cast, Tour

    people = Cast(seed=options.seed, temperature=options.temperature).people(who, most=4)
    if len(people) < 2:
        raise VrmmError("one person cannot turn into anybody; name two or more, or a run for four of its subjects")
    tour = Tour(people)
    performance = options.performance(people[0])
    put_on(f"interpolating {len(people)} people", options, people, performance, lambda place: [tour.at(place)])
