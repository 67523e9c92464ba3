"""``vrmm evaluate-fit``: photos and videos of people never trained on, fitted and compared with rendered truth."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.console import console, progress_bar

DEFAULT_RECIPE = Path("configs/fitting/benchmark.yaml")
FULL_RECIPE = Path("configs/fitting/benchmark_full.yaml")
SETS = {
    "one_image": "one image",
    "three_images": "three images",
    "eight_images": "eight images",
    "video": "video",
}
"""Keys of the result, in words, from the fewest pictures to the most."""
COLUMNS = {"input": "photos", "novel_view": "new views", "expression": "new expressions", "relight": "new light"}
"""Categories and their columns."""
RENDERING_SHARE = 0.25
"""Of the time that a benchmark takes, from the first picture of its people on; measured with benchmark.yaml."""


def evaluate_fit(
    prior: Annotated[Path, typer.Option(help="Run folder of a trained prior with an initializer.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes to the recipe.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="How much is fitted; default benchmark.yaml.")] = None,
    full: Annotated[bool, typer.Option("--full", help="More people: benchmark_full.yaml.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything; default RUN/fits.")] = None,
    head_model: Annotated[
        Path | None, typer.Option(help="ICT Face Model (.npz or checkout): people of it, too.")
    ] = None,
    shards: Annotated[Path | None, typer.Option(help="The prior's training data, if they have moved.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="Fits at a time, of one thread each.")] = 2,
    lpips_weights: Annotated[Path | None, typer.Option(help="As of vrmm evaluate.")] = None,
) -> None:
    """Fit people never trained on from one, three and eight photos and from a video, and compare them with truth.

    Every fit is made with and without locality regularisation, and the prior's initializer is tried on single photos.
    Run the same command again to continue after an interruption.
    """
    from datasets.config import load_config
    from datasets.errors import VrmmError
    from datasets.files import atomic_write_json
    from datasets.lightstage.heads import PROCEDURAL
    from fitting.benchmark.people import head_models
    from fitting.benchmark.recipe import BenchmarkConfig
    from fitting.benchmark.run import SHEETS, run_benchmark
    from fitting.fit import Prior
    from prior.evaluation.run import load_run
    from prior.lpips import LPIPS

    if recipe is not None and full:
        raise VrmmError("--full is a recipe of its own; give --recipe or --full")
    changes = [*(overrides or []), *([] if lpips_weights is None else [f"lpips_weights={lpips_weights}"])]
    config = load_config(BenchmarkConfig, recipe or (FULL_RECIPE if full else DEFAULT_RECIPE), changes)
    Prior.load(prior, initializer=True)
    if config.lpips_weights:
        LPIPS(Path(config.lpips_weights))
    specs = [PROCEDURAL, *([] if head_model is None else [str(head_model.expanduser().resolve())])]
    heads, folder = head_models(load_run(prior, shards), specs, config), out or prior / "fits"
    with progress_bar(f"evaluating fits of {prior}") as report:
        found = run_benchmark(prior, heads, config, folder, processes=processes, progress=_one_bar(report))
    if json is not None:
        atomic_write_json(json, found)
    console.print(fits_table(found))
    for line in verdicts(found):
        console.print(line)
    console.print(f"every picture is in {folder / 'pictures.csv'}, sheets of pictures are in {folder / SHEETS}")


def _one_bar(report):
    """A bar of time rather than of pictures and steps, so that what it says is left is about right."""
    from fitting.benchmark.run import FITTING

    def progress(stage: str, done: int, total: int) -> None:
        share, own = done / max(total, 1), RENDERING_SHARE
        report(round(1000 * (own + (1 - own) * share if stage == FITTING else own * share)), 1000)

    return progress


def fits_table(found: Mapping[str, Any]) -> Table:
    """The result as a table: sets of photos with their stages, categories across."""
    from fitting.stages import STAGES

    table = Table(title="Inside the head mask, after display encoding: PSNR dB, MAE /255, SSIM")
    table.add_column("", no_wrap=True)
    for name in (*COLUMNS.values(), "mean dB", "pose", "landmarks", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for key, label in SETS.items():
        for stage, words in STAGES.items() if key in found else ():
            row = found[key][stage]
            cells = [f"{row[name]['psnr']:.2f} {row[name]['mae255']:5.2f} {row[name]['ssim']:.3f}" for name in COLUMNS]
            rest = [f"{row['pose_degrees']:.1f}°", f"{100 * row['landmark_error']:.1f} %", f"{row['seconds']:.0f}"]
            table.add_row(f"{label}, {words}", *cells, f"{row['mean_psnr']:.2f}", *rest)
        table.add_section()
    table.caption = (
        "mean dB: of new views, new expressions and new light. pose: angle to the true head pose in the photos. "
        "landmarks: distance from the true ones, of the face's size"
    )
    return table


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """What the numbers say, in sentences: whether more photos and locality regularisation help, and the initializer."""
    known = [key for key in SETS if key in found]
    lines = [_more_photos(found, fewer, more) for fewer, more in itertools.pairwise(known)]
    lines += [_fine_tuning(found[key], SETS[key]) for key in known]
    if start := found.get("initializer"):
        ratio = "never reached" if start["steps_ratio"] is None else f"{start['steps_ratio']:.2f}"
        lines.append(
            f"initializer: steps to the loss of a start from the mean, relative to it: {ratio}; "
            f"{start['sound_fits']} of {start['of']} single photos ended near the truth, and of "
            f"{start['flag_agrees']} the quality flag is right"
        )
    return lines


def _more_photos(found: Mapping[str, Any], fewer: str, more: str) -> str:
    worse = [
        f"{COLUMNS[name]} ({after['psnr'] - before['psnr']:+.2f} dB, {after['mae255'] - before['mae255']:+.2f} MAE)"
        for name in COLUMNS
        for before, after in [(found[fewer]["finetuned"][name], found[more]["finetuned"][name])]
        if after["psnr"] <= before["psnr"] or after["mae255"] >= before["mae255"] or after["ssim"] <= before["ssim"]
    ]
    gain = found[more]["finetuned"]["mean_psnr"] - found[fewer]["finetuned"]["mean_psnr"]
    rest = f"in all but {', '.join(worse)}" if worse else "in every column"
    return f"{SETS[more]} against {SETS[fewer]}: {gain:+.2f} dB of what no photo shows, better {rest}"


def _fine_tuning(row: Mapping[str, Any], label: str) -> str:
    tuned = row["finetuned"]["mean_psnr"]
    inversion, without = (row[name]["mean_psnr"] for name in ("inversion_only", "finetuned_without_lr"))
    return (
        f"{label}: fine-tuning is {tuned - inversion:+.2f} dB from the inversion and {tuned - without:+.2f} dB from "
        "fine-tuning without locality regularisation, of what no photo shows"
    )
