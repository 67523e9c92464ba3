"""``vrmm interpolate``: people who turn into one another."""

from tools.shows.moves import INTERPOLATE
from tools.shows.options import ShowOptions, Who, put_on, show_command


@show_command(**INTERPOLATE)
def interpolate(who: Who, *, options: ShowOptions) -> None:
    """Turn each person into the next and the last into the first, while face, light and camera hold or move.

    A run alone stands for four of its subjects. Avatars of one prior may be mixed with its subjects and with random
    heads: where decoders have been fine-tuned, their weights are interpolated as well as the codes.
    """
    from tools.shows.program import interpolation

    put_on(interpolation(who, options))
