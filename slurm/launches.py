"""The launches of a working folder: what was submitted, as what job, and where it writes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.config import from_dict, to_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json
from slurm.commands import Command
from slurm.config import LaunchConfig
from slurm.restart import RestartPolicy
from slurm.sweep import Element

LAUNCHES = Path(".vrmm") / "jobs"
VERSION = 1


@dataclasses.dataclass(kw_only=True)
class Launch:
    """One use of ``vrmm launch``.

    Attributes:
        folder: where all about it is kept: ``launch.json``, ``log/``, and ``status/`` with how every rank ended.
        config: resources of a job.
        elements: its jobs; more than one are a job array.
        job_ids: as the cluster calls the job of each element; empty until it is submitted.
    """

    folder: Path
    config: LaunchConfig
    elements: list[Element]
    job_ids: list[str]

    @staticmethod
    def create(root: Path, config: LaunchConfig, elements: Sequence[Element]) -> "Launch":
        """A new launch with the next free number below ``root``."""
        root = Path(root).resolve()
        numbers = [int(path.name) for path in root.glob("[0-9]*")]
        number = max(numbers, default=0) + 1
        while True:
            folder = root / str(number)
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:  # someone else launched at this moment
                number += 1
        return Launch(folder=folder, config=config, elements=list(elements), job_ids=[""] * len(elements))

    @staticmethod
    def load(folder: Path) -> "Launch":
        """Raises VrmmError where ``folder`` holds no launch of this version."""
        folder = Path(folder)
        if not (folder / "launch.json").exists():
            raise VrmmError(f"there is no launch {folder.name} here; vrmm jobs list shows those of this folder")
        values = read_json(folder / "launch.json", "a launch")
        if values.get("version") != VERSION:
            raise VrmmError(f"{folder} is of version {values.get('version')}; this vrmm reads {VERSION}")
        elements = [_element(row) for row in values["elements"]]
        config = from_dict(LaunchConfig, values["config"], str(folder))
        return Launch(
            folder=folder, config=config, elements=elements, job_ids=[row["job"] for row in values["elements"]]
        )

    def save(self) -> None:
        """Write launch.json."""
        rows = [
            {
                "name": element.name,
                "command": element.command.name,
                "arguments": list(element.command.arguments),
                "job": job_id,
            }
            for element, job_id in zip(self.elements, self.job_ids, strict=True)
        ]
        values = {"version": VERSION, "config": to_dict(self.config), "elements": rows}
        atomic_write_json(self.folder / "launch.json", values)

    @property
    def name(self) -> str:
        """Its number."""
        return self.folder.name

    @property
    def log_folder(self) -> Path:
        """Where submitit writes scripts and the output of every rank."""
        return self.folder / "log"

    def status(self, index: int) -> Path:
        """Folder with the outcomes of an element's ranks."""
        return self.folder / "status" / str(index)

    def policy(self, index: int) -> RestartPolicy:
        """When an element starts again."""
        state = self.folder / "status" / f"{index}_restarts.json"
        # Absolute: the batch script need not run where the launch was typed.
        out = self.elements[index].command.out.resolve()
        return RestartPolicy(state=state, out=out, max_restarts=self.config.max_restarts)

    def index_of_job(self, job_id: str) -> int:
        """The element that runs as ``job_id``."""
        if job_id not in self.job_ids:
            raise VrmmError(f"launch {self.name} has no job {job_id}")
        return self.job_ids.index(job_id)


def all_launches(root: Path) -> list[Launch]:
    """Every launch below ``root``, oldest first; what a kill left half-written is passed over."""
    folders = sorted(Path(root).resolve().glob("[0-9]*"), key=lambda path: int(path.name))
    return [Launch.load(folder) for folder in folders if (folder / "launch.json").exists()]


def _element(row: dict[str, Any]) -> Element:
    return Element(name=row["name"], command=Command(name=row["command"], arguments=tuple(row["arguments"])))
