"""``vrmm relight``: people in light that moves."""

from tools.shows.moves import RELIGHT
from tools.shows.options import ShowOptions, Who, put_on, show_command


@show_command(**RELIGHT)
def relight(who: Who, *, options: ShowOptions) -> None:
    """Show people side by side while the light goes around them, lamp by lamp, as a panorama, or along a path.

    Without other options a lamp goes around them once. A run alone stands for its first subject.
    """
    from tools.shows.program import relighting

    put_on(relighting(who, options))
