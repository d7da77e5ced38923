"""English on a page that is shown in Spanish: texts of the catalogues that stayed as they are, and English words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.utils.translation import override, trans_real

# No word of Spanish among them
WORDS = re.compile(
    r"\b(?:the|of|and|with|was|were|is|are|this|that|these|those|its|please|successfully)\b", re.IGNORECASE
)


def on(text: str) -> list[str]:
    """What of the visible text of a page, line by line, is English."""
    return list(dict.fromkeys(wrong for line in text.splitlines() if (wrong := _of_line(line.strip()))))


def _of_line(line: str) -> str:
    """A single word or a name is English only where it is all that a cell, a button or a heading says."""
    return line if line.casefold() in sources() or WORDS.search(line) else ""


@cache
def sources() -> frozenset[str]:
    """All texts that have a Spanish translation which differs, without those that have gaps to be filled."""
    with override("es"):
        catalogue: Any = trans_real.catalog()
    return frozenset(_differing(catalogue))


def _differing(catalogue: Any) -> Iterator[str]:
    for key in catalogue:
        source = key[0] if isinstance(key, tuple) else key
        # With a context: a word that means another thing elsewhere
        if not source or "%" in source or "{" in source or "\x04" in source:
            continue
        if str(catalogue.get(key)).casefold() != source.casefold():
            yield source.casefold()
