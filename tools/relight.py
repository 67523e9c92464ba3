"""``vrmm relight``: people in light that moves."""

from tools.shows.options import ShowOptions, Who, put_on, show_command


@show_command(light_turns=1.0, ball=True)
def relight(who: Who, *, options: ShowOptions) -> None:
    """Show people side by side while the light goes around them, lamp by lamp, as a panorama, or along a path.

    Without other options a lamp goes around them once. A run alone stands for its first subject.
    """
    from tools.shows.people import Cast

    people = Cast(seed=options.seed, temperature=options.temperature).people(who, most=1)
    put_on(f"relighting {', '.join(person.name for person in people)}", options, people, options.performance(people[0]))
