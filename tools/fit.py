"""``vrmm fit``: photos of a person to an avatar."""

from pathlib import Path
from typing import Annotated

import typer

from tools.console import console, progress_bar

DEFAULT_RECIPE = Path("configs/fitting/default.yaml")


def fit(
    inputs: Annotated[list[str], typer.Argument(help="1 to 8 photos; key=value changes to the recipe may follow.")],
    prior: Annotated[Path, typer.Option(help="Run folder of a trained prior.")],
    out: Annotated[Path, typer.Option(help="Folder of the avatar.")],
    cameras: Annotated[Path | None, typer.Option(help="JSON with the cameras of the photos by file name.")] = None,
    recipe: Annotated[Path, typer.Option(help="Fitting recipe.")] = DEFAULT_RECIPE,
    steps: Annotated[int | None, typer.Option(help="Fine-tuning steps; 0 for inversion alone.")] = None,
    initializer: Annotated[
        bool | None,
        typer.Option(
            "--initializer/--no-initializer",
            help="Start from the network of vrmm train-initializer; by default where there is one.",
        ),
    ] = None,
    expressions: Annotated[str | None, typer.Option(help="shared or each: do all photos show one expression?")] = None,
) -> None:
    """Turn photos of one person into an avatar that can be animated and relit.

    Beside each photo lie its 68 landmarks (photo.lmk.npz, .json or .pts), unless the prior's initializer finds them
    (vrmm train-initializer), and, if there is one, the head's mask (photo.mask.png). Run the same command again to
    continue after an interruption.
    """
    from datasets.config import load_config
    from fitting.fit import Prior
    from fitting.fit import fit as run_fit
    from fitting.recipe import FitRecipe

    photos = [Path(text) for text in inputs if not _is_override(text)]
    overrides = [text for text in inputs if _is_override(text)]
    if steps is not None:
        overrides.append(f"finetune.steps={steps}")
    if expressions is not None:
        overrides.append(f"expressions={expressions}")
    config = load_config(FitRecipe, recipe, overrides)
    loaded = Prior.load(prior, initializer)
    first = config.inversion.steps if loaded.initializer is None else config.inversion.informed_steps
    total = first + config.finetune.steps
    before = {"inversion": 0, "fine-tuning": first}
    with progress_bar(f"fitting {out}") as report:
        avatar = run_fit(
            photos,
            loaded,
            config,
            out,
            cameras=cameras,
            progress=lambda stage, done, steps, loss: report(before[stage] + done, total),
        )
    found = avatar.report["input"]["finetuned"]
    console.print(f"{out}: the photos are reproduced to {found['mae255']:.1f}/255, {found['psnr']:.1f} dB")
    for reason in avatar.report["reasons"]:
        console.print(f"this avatar is not sound: {reason}")


def _is_override(text: str) -> bool:
    return "=" in text and not Path(text).exists()
