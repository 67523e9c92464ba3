"""The documentation agrees with the code: commands can be parsed, keys exist, links lead somewhere, pages are whole."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, Page, read_page, read_pages
from tests.docs.parsing import check_benchmark, check_command, check_mention
from tools.main import COMMANDS

LANGUAGES = {"sh", "python", "yaml", "json", "text"}
LARGEST_BYTES = 200_000
COMMAND = re.compile(r"\s*(vrmm|make|pip|python|torchrun|time|source|sudo) ")


def _name(page: Page) -> str:
    return page.name


@pytest.mark.parametrize("page", read_pages(), ids=_name)
def test_commands_are_in_blocks_that_tests_see(page: Page) -> None:
    for block in page.blocks:
        assert block.language in LANGUAGES, f"{block.place}: say which language it is ({', '.join(sorted(LANGUAGES))})"
        if block.language != "sh":
            hidden = [line for line in block.lines if COMMAND.match(line)]
            assert not hidden, f"{block.place}: {hidden[0]!r} is a command; put it into a block of its own, ```sh"
    indented = [line for line in page.prose if line.startswith("    ") and COMMAND.match(line)]
    assert not indented, f"{page.name}: {indented[0]!r} is a command; put it into a block, ```sh"


@pytest.mark.parametrize("page", read_pages(), ids=_name)
def test_every_command_can_be_parsed(page: Page) -> None:
    for block in page.blocks:
        for words in block.commands() if block.language == "sh" else ():
            try:
                check_words(words, block)
            except BaseException as error:  # click's and vrmm's own, too
                raise AssertionError(f"{block.place}: {' '.join(words)}: {error}") from error
    for text in page.inline_commands:
        check_mention(text)


def check_words(words: list[str], block: Block) -> None:
    """One command of a block: what is not vrmm's must be marked as not run, and make's targets must exist."""
    if words[0] == "vrmm":
        check_command(words[1:])
        return
    if words[:2] == ["time", "vrmm"]:
        check_command(words[2:])
    assert block.reason, "only vrmm commands are run by tests; put <!-- not run: REASON --> above the block"
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        wanted = [word for word in words[1:] if "=" not in word]
        assert set(wanted) <= set(targets), f"make has no target {wanted}"
    elif words[:3] == ["python", "-m", "tools.bench"]:
        check_benchmark(words[3:])


def test_every_command_is_documented() -> None:
    shown = {
        words[1]
        for page in read_pages()
        for block in page.blocks
        if block.language == "sh"
        for words in block.commands()
        if words[0] == "vrmm" and len(words) > 1
    }
    assert {command.name for command in COMMANDS} <= shown


@pytest.mark.parametrize("page", read_pages(), ids=_name)
def test_links_lead_somewhere(page: Page) -> None:
    here = (ROOT / page.name).parent
    for link in page.links:
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (here / path) if path else ROOT / page.name
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in read_page(target.resolve()).anchors, f"{page.name}: {link} has no such heading"


def test_every_page_is_linked_from_the_first() -> None:
    """From the README, or from the list of pages that it links."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        local = [link.partition("#")[0] for link in read_page(path).links if "://" not in link]
        waiting += [(path.parent / link).resolve() for link in local if link.endswith(".md")]
    assert set(PAGES) <= seen


def test_pictures_are_small_and_need_nothing_else() -> None:
    files = [path for path in (ROOT / "docs").rglob("*") if path.is_file() and path.suffix != ".md"]
    assert files
    for path in files:
        assert path.stat().st_size <= LARGEST_BYTES, path
        if path.suffix == ".svg":
            check_drawing(path)


def check_drawing(path: Path) -> None:
    """Well-formed, described for those who cannot see it, with nothing that is fetched or run."""
    root = ElementTree.parse(path).getroot()
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert "title" in names, f"{path} has no title"
    assert "desc" in names, f"{path} has no description"
    assert not {"script", "image", "foreignObject", "use"} & set(names)
    for element in root.iter():
        for value in element.attrib.values():
            assert "://" not in value, f"{path} refers to {value}"


def test_a_fence_in_a_list_and_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above rest on: blocks are found, joined and marked as they are written."""
    text = (
        "# A page: `x`, and more\n\n<!-- not run: no cluster -->\n\n"
        "```sh\nvrmm a \\\n    b=1  # why\n\n# only words\n```\n"
        "\n- item\n\n  ```python\n  if x:\n      y\n  ```\n\n`vrmm fit --prior RUN` [there](b.md#c)\n"
    )
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    (tmp_path / "p.md").write_text(text)
    page = read_page(tmp_path / "p.md")
    first, second = page.blocks
    assert (first.language, first.reason, first.line) == ("sh", "no cluster", 5)
    assert list(first.commands()) == [["vrmm", "a", "b=1"]]
    assert (second.language, second.reason, second.text) == ("python", "", "if x:\n    y")
    assert page.inline_commands == ["vrmm fit --prior RUN"]
    assert page.links == ["b.md#c"]
    assert page.anchors == {"a-page-x-and-more"}
