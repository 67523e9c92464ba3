"""House rules that no linter knows, and proof that the shape checker of the tests is awake."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("tools", "slurm", "fitting", "prior", "datasets")
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = sorted(
    path
    for folder in (*PACKAGES, "tests", "configs", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".pyc", ".png", ".npz"}
) + [path for path in ROOT.iterdir() if path.is_file()]

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
PRIVATE_PATH = re.compile(r"(?<![\w./~}])/(?:home|root|Users|mnt|media|work|scratch|private|tmp)/[\w.]+")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without signature and docstring: those are meant to be as long as they need to be."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_functions_and_files_stay_readable(path: Path) -> None:
    long = [f"{f.name} ({_body_lines(f)} lines)" for f in _functions(path) if _body_lines(f) > MAX_FUNCTION_LINES]
    assert not long, f"split these functions: {', '.join(long)}"
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES, "one concept a file: split it"


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_nothing_asks_objects_what_they_are(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    asked = [
        call.lineno
        for call in calls
        if ast.unparse(call.func) == "hasattr" and ast.unparse(call.args[0]) != "os"  # systems do differ
    ]
    assert not asked, f"hasattr in lines {asked}: say in the interface what an object can do"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_id)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "begin the file with a docstring"


@pytest.mark.parametrize("path", TEXTS, ids=_id)
def test_nothing_is_unfinished_or_private(path: Path) -> None:
    text = path.read_text(errors="replace")
    assert not UNFINISHED.findall(text), "finish it, or write an issue"
    assert not PRIVATE_PATH.findall(text), "a path of one machine; take it from an option or the environment"


def test_all_packages_are_installed() -> None:
    """A package that pyproject.toml forgets works in a checkout and is missing from a wheel."""
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {path.relative_to(ROOT).parts[0] for path in SOURCES if path.name == "__init__.py"} | {"configs"}
    assert folders <= set(include)
    for path in SOURCES:
        assert (path.parent / "__init__.py").is_file(), f"{_id(path.parent)} lacks __init__.py"


def test_the_shape_checker_is_awake() -> None:
    """The canary: a wrong shape must be refused, or no annotation is checked in any test."""
    from jaxtyping import TypeCheckError

    from datasets.capture import Camera

    camera = Camera(name="c", world_to_camera=np.eye(4)[:3], intrinsics=np.eye(3), width=4, height=4)
    assert camera.project(np.ones((5, 3))).shape == (5, 2)
    with pytest.raises(TypeCheckError):
        camera.project(np.ones((5, 2)))
    with pytest.raises(TypeCheckError):
        Camera(name="c", world_to_camera=np.eye(4), intrinsics=np.eye(3), width=4, height=4)
