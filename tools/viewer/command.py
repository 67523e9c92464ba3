"""The command line of ``vrmm view``."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.viewer.options import parse_amounts, parse_colour, parse_pair, parse_size, parse_vector
from tools.viewer.state import Compare, Comparison, Lighting, LightKind, Orbit, Show, Start, ViewState

if TYPE_CHECKING:
    from tools.viewer.server import ViewServer
    from tools.viewer.session_config import SessionConfig
    from tools.viewer.source_config import SourceConfig
    from tools.viewer.watch import Watch

LOOK, PERSON, LIGHT, SERVER = "Picture", "Person", "Light", "Page"


def view(
    folder: Annotated[Path, typer.Argument(help="Run folder of vrmm train (in training, too), or an avatar.")],
    prior: Annotated[Path | None, typer.Option(help="Of an avatar: the run that it was fitted with.")] = None,
    shards: Annotated[Path | None, typer.Option(help="Where the run's capture lies now.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Animation curve to play.")] = None,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 for everyone.", rich_help_panel=SERVER)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one.", rich_help_panel=SERVER)] = 8080,
    finest: Annotated[int, typer.Option(help="Rows of the finest picture.", rich_help_panel=SERVER)] = 720,
    threads: Annotated[int | None, typer.Option(help="Of the arithmetic; all cores by default.")] = None,
    render: Annotated[Path | None, typer.Option(help="Write a PNG and open no page.", rich_help_panel=LOOK)] = None,
    size: Annotated[str, typer.Option(help="Of the PNG, WIDTHxHEIGHT.", rich_help_panel=LOOK)] = "512x512",
    eye: Annotated[str, typer.Option(help="Camera, x,y,z in metres.", rich_help_panel=LOOK)] = "0,0.05,1",
    target: Annotated[str, typer.Option(help="What it looks at, x,y,z.", rich_help_panel=LOOK)] = "0,0,0",
    up: Annotated[str, typer.Option(help="What is up in the picture, x,y,z.", rich_help_panel=LOOK)] = "0,1,0",
    fov: Annotated[float, typer.Option(help="Degrees across the height.", rich_help_panel=LOOK)] = 19.0,
    show: Annotated[Show, typer.Option(help="The head or its primitives.", rich_help_panel=LOOK)] = Show.HEAD,
    background: Annotated[str, typer.Option(help="#rrggbb", rich_help_panel=LOOK)] = "#202124",
    compare: Annotated[
        Compare, typer.Option(help="A captured frame against the model.", rich_help_panel=LOOK)
    ] = Compare.OFF,
    truth: Annotated[str, typer.Option(help="Key of the captured frame.", rich_help_panel=LOOK)] = "",
    camera: Annotated[str, typer.Option(help="Name of the capture's camera.", rich_help_panel=LOOK)] = "",
    wipe: Annotated[float, typer.Option(help="Where the edge stands, 0 to 1.", rich_help_panel=LOOK)] = 0.5,
    identity: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHT, repeated to blend.", rich_help_panel=PERSON)
    ] = None,
    expression: Annotated[
        list[str] | None, typer.Option(help="NUMBER=AMOUNT of a direction.", rich_help_panel=PERSON)
    ] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="NAME=AMOUNT of a named control.", rich_help_panel=PERSON)
    ] = None,
    start: Annotated[Start, typer.Option(help="Expression to start from.", rich_help_panel=PERSON)] = Start.REST,
    frame: Annotated[int | None, typer.Option(help="Of the curve.", rich_help_panel=PERSON)] = None,
    light: Annotated[LightKind, typer.Option(help="Where it comes from.", rich_help_panel=LIGHT)] = LightKind.LAMP,
    lamp: Annotated[str, typer.Option(help="AZIMUTH,ELEVATION in degrees.", rich_help_panel=LIGHT)] = "35,30",
    fill: Annotated[float, typer.Option(help="Share of it from everywhere.", rich_help_panel=LIGHT)] = 0.25,
    environment: Annotated[str, typer.Option(help="Place, or lat-long map.", rich_help_panel=LIGHT)] = "studio",
    turn: Annotated[float, typer.Option(help="Of the environment, degrees.", rich_help_panel=LIGHT)] = 0.0,
    intensity: Annotated[float, typer.Option(help="1 is as in training.", rich_help_panel=LIGHT)] = 1.0,
    colour: Annotated[str, typer.Option(help="#rrggbb", rich_help_panel=LIGHT)] = "#ffffff",
) -> None:
    """Look at a head in the browser: turn, blend, animate, relight it, and compare it with its capture.

    The page has a button that writes the command line of what it shows. With --render that line draws the same
    picture again.
    """
    from tools.viewer.source_config import SourceConfig

    azimuth, elevation = parse_pair("lamp", lamp)
    state = ViewState(
        orbit=Orbit(
            eye=parse_vector("eye", eye), target=parse_vector("target", target), up=parse_vector("up", up), fov=fov
        ),
        lighting=Lighting(
            kind=light,
            azimuth=azimuth,
            elevation=elevation,
            fill=fill,
            environment=environment,
            turn=turn,
            intensity=intensity,
            colour=parse_colour("colour", colour),
        ),
        comparison=Comparison(mode=compare, frame=truth, camera=camera, wipe=wipe),
        identity=parse_amounts("identity", identity or []),
        expression=parse_amounts("expression", expression or []),
        controls=parse_amounts("control", control or []),
        start=start,
        frame=frame,
        show=show,
        background=parse_colour("background", background),
    ).snapped()
    config = SourceConfig(folder=folder, prior=prior, shards=shards, curve=curve)
    if render is not None:
        _render(config, state, parse_size(size), threads, render)
    else:
        _serve(config, state, host, port, finest, threads)


def source_words(config: "SourceConfig", threads: int | None) -> list[str]:
    """The command line up to the options of a state."""
    given = {"prior": config.prior, "shards": config.shards, "curve": config.curve, "threads": threads}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return ["vrmm", "view", str(config.folder), *options]


def _render(config: "SourceConfig", state: ViewState, size: tuple[int, int], threads: int | None, path: Path) -> None:
    from prior.pictures import write_picture
    from tools.viewer.picture import Painter
    from tools.viewer.source import open_source

    _use_threads(threads)
    picture = Painter(open_source(config)).paint(state, *size)
    assert picture is not None  # nothing stops it
    write_picture(path, picture.pixels)
    print(f"{path}: {size[0]} × {size[1]}")


def _serve(config: "SourceConfig", state: ViewState, host: str, port: int, finest: int, threads: int | None) -> None:
    from tools.viewer.server import ViewServer
    from tools.viewer.session_config import SessionConfig

    config.check()
    shared = SessionConfig(
        name=str(config.folder),
        state=state,
        finest=finest,
        threads=threads or os.cpu_count() or 1,
        words=source_words(config, threads),
    )
    with ViewServer(shared, host, port) as server:
        print(f"{config.folder}: {server.address} (ctrl-C to stop)", flush=True)
        watch = None
        try:
            watch = _open(config, shared, server)
            while True:
                time.sleep(3600.0)
        except KeyboardInterrupt:
            print("stopped")
        finally:
            if watch is not None:
                watch.close()


def _open(config: "SourceConfig", shared: "SessionConfig", server: "ViewServer") -> "Watch":
    """Read what there is to show, while browsers load the page, and keep it up to date."""
    from tools.viewer.picture import check_state
    from tools.viewer.source import open_source
    from tools.viewer.watch import Current, Watch

    _use_threads(shared.threads)
    stamp = config.stamp()
    current = Current(open_source(config))
    check_state(current.source, shared.state)
    server.show(current)
    watch = Watch(current, stamp)
    watch.start()
    return watch


def _use_threads(threads: int | None) -> None:
    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)
