"""Pages of the documentation as tests see them: fenced blocks, the commands in them, inline commands, links."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_FENCE = re.compile(r"( *)```(\w*)\s*")
_INLINE = re.compile(r"`(vrmm [^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        page: relative to the repository.
        line: of the fence, from 1.
        language: after the fence.
        lines: of the text, without the fence's indentation.
        reason: why no test runs it, from ``<!-- not run: … -->`` above the fence; empty where one does.
    """

    page: str
    line: int
    language: str
    lines: tuple[str, ...]
    reason: str

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each command: continued lines are joined, comments and empty lines left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """A page, read.

    Attributes:
        name: relative to the repository.
        blocks: fenced ones, in order.
        prose: the lines outside of blocks.
    """

    name: str
    blocks: tuple[Block, ...]
    prose: tuple[str, ...]

    @property
    def inline_commands(self) -> list[str]:
        """Commands in the running text."""
        return _INLINE.findall("\n".join(self.prose))

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return _LINK.findall("\n".join(self.prose))

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading of this page ends with, as GitHub names them."""
        titles = [line.lstrip("#").strip() for line in self.prose if re.match(r"#+ ", line)]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def read_page(path: Path) -> Page:
    """A page from its file. Fails on a fence that is never closed."""
    name, lines = str(path.relative_to(ROOT)), path.read_text().splitlines()
    blocks, prose, number, reason = [], [], 0, ""
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence is None:
            found = _NOT_RUN.fullmatch(lines[number].strip())
            reason = found[1] if found else reason if not lines[number].strip() else ""
            prose.append(lines[number])
            number += 1
            continue
        end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == "```"), None)
        assert end is not None, f"{name}:{number + 1}: the block is never closed"
        inside = tuple(line.removeprefix(fence[1]) for line in lines[number + 1 : end])
        blocks.append(Block(page=name, line=number + 1, language=fence[2], lines=inside, reason=reason))
        number, reason = end + 1, ""
    return Page(name=name, blocks=tuple(blocks), prose=tuple(prose))


def read_pages() -> list[Page]:
    """All of them."""
    return [read_page(path) for path in PAGES]
