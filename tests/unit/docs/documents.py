"""The documents as the tests read them: sections, fenced blocks, links, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE_README = ROOT / "CACHE_README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Fence:
    language: str
    text: str
    line: int


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fences(text: str, first_line: int = 1) -> list[Fence]:
    return [
        Fence(found[1], found[2], first_line + text.count("\n", 0, found.start(2))) for found in _FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """Without the fenced blocks, in which `#` is no heading."""
    return _FENCE.sub("", text)


def sections(text: str) -> Iterator[tuple[str, str, int]]:
    """Title, text and first line of each `##` section; what is before the first one has an empty title."""
    starts = [0, *(m.start() for m in re.finditer(r"^## ", text, re.MULTILINE)), len(text)]
    for start, end in pairwise(starts):
        body = text[start:end]
        title = body.partition("\n")[0].removeprefix("## ") if start else ""
        yield title, body, text.count("\n", 0, start) + 1


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    titles = (found[2].strip().lower().replace("`", "") for found in _HEADING.finditer(prose(text)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def links(text: str) -> list[str]:
    return _LINK.findall(prose(text))
