"""The folder of a benchmark: results of one prior and one config, of which there may be more and more."""

from collections.abc import Sequence
from pathlib import Path

from datasets.config import first_difference, to_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from fitting.benchmark.people import HeadModel
from fitting.benchmark.recipe import BenchmarkConfig

SETTINGS = "settings.json"
FORMAT, VERSION = "vrmm.fit_benchmark", 1
_MAY_GROW = ("people", "sets", "checked", "compared")


def claim(out: Path, prior: str, heads: Sequence[HeadModel], config: BenchmarkConfig) -> None:
    """Write ``settings.json``, or check that what is there belongs to the same benchmark.

    Args:
        out: the folder; made if absent.
        prior: fingerprint of the prior and its initializer.
        heads: head models; those of an earlier call may be others, if the same ones are the same.
        config: of the benchmark; people, sets and single photos may be more or fewer.

    Raises:
        VrmmError: the folder holds something else, or results of another prior or config.
    """
    path = out / SETTINGS
    options = {"prior": prior, **{key: value for key, value in to_dict(config).items() if key not in _MAY_GROW}}
    own = {head.name: {"people": head.people.synthetic, "checked": head.checked.synthetic} for head in heads}
    if path.exists():
        held = read_json(path, "the settings of a benchmark of fits")
        if not isinstance(held, dict) or held.get("format") != FORMAT or held.get("version") != VERSION:
            raise VrmmError(f"{path} is not of a benchmark that this vrmm can continue; choose another --out")
        known = held["heads"]
        changed = first_difference(held["options"], options) or first_difference(
            {name: known[name] for name in own if name in known}, {name: own[name] for name in own if name in known}
        )
        if changed is not None:
            raise VrmmError(f"{out} holds a benchmark of other options ({changed}); choose another --out or delete it")
        own = known | own
    elif out.exists() and any(other.name != ".lock" for other in out.iterdir()):
        raise VrmmError(f"{out} holds something that is no benchmark of fits; choose another --out")
    atomic_write_json(path, {"format": FORMAT, "version": VERSION, "options": options, "heads": own})
