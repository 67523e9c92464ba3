"""Every command and every piece of Python that the README and docs/ show does what they say, on tiny inputs.

What cannot run here is marked ``<!-- not run: why -->`` in the page; tests/docs/test_pages.py parses that, too.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.docs.pages import ROOT, Block, read_pages

pytestmark = pytest.mark.long

RUNNABLE = ("sh", "python")
ALLOWED_SECONDS = 900


def runnable(blocks: tuple[Block, ...]) -> list[Block]:
    return [block for block in blocks if block.language in RUNNABLE and not block.reason]


PAGES = {page.name: blocks for page in read_pages() if (blocks := runnable(page.blocks))}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All pages, run by one process."""
    folder = tmp_path_factory.mktemp("docs")
    pages = [
        {
            "name": name,
            "blocks": [
                {
                    "line": block.line,
                    "language": block.language,
                    "text": block.text,
                    "commands": list(block.commands()) if block.language == "sh" else [],
                }
                for block in blocks
            ],
        }
        for name, blocks in PAGES.items()
    ]
    plan = {"world": str(folder / "world"), "results": str(folder / "results.jsonl"), "pages": pages}
    (folder / "plan.json").write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.runner", str(folder / "plan.json")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=ALLOWED_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_commands_work(name: str, outcomes: list[dict[str, Any]]) -> None:
    found = [outcome for outcome in outcomes if outcome["page"] == name]
    wanted = sum(len(list(block.commands())) if block.language == "sh" else 1 for block in PAGES[name])
    assert len(found) == wanted
    for outcome in found:
        place = f"{name}:{outcome['line']}: {outcome['command']}"
        assert outcome["status"] == 0, f"{place}\n{outcome['output']}"
        assert "Traceback" not in outcome["output"], f"{place}\n{outcome['output']}"
        assert not outcome["absent"], f"{place} wrote no {outcome['absent']}\n{outcome['output']}"


def test_most_pages_are_run(outcomes: list[dict[str, Any]]) -> None:
    """Marks must not creep over everything: each of these commands is run for real somewhere."""
    ran = {outcome["command"].split()[1] for outcome in outcomes if outcome["command"].startswith("vrmm ")}
    wanted = {"capture", "shards", "train", "train-initializer", "evaluate", "fit", "interpolate", "relight"}
    assert wanted | {"animate", "sample", "view", "export", "report"} <= ran
