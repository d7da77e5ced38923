"""English on a page that is shown in Spanish: texts of the catalogues that stayed as they are, and English words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.utils.translation import override, trans_real
from playwright.sync_api import Page

# No word of Spanish among them
WORDS = re.compile(
    r"\b(?:the|of|and|with|was|were|is|are|this|that|these|those|its|please|successfully)\b", re.IGNORECASE
)
# Names of this site's rows that are words of the catalogue as well
NAMES = {"admin", "email", "incidents"}
# Each piece of text, seen or not, but for icons, which are drawn by their names, what is marked as another language,
# and the names of time zones
PIECES = """() => {
    const left_out = "script, style, code, .material-symbols-outlined, body [lang], #id_timezone";
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walk.nextNode()) {
        const text = walk.currentNode.data.trim();
        if (text && !walk.currentNode.parentElement.closest(left_out)) found.push(text);
    }
    return found;
}"""


def on(page: Page) -> list[str]:
    """What of a page's text is English. A single word only where it is all that a cell, a button or a heading says."""
    pieces = dict.fromkeys(page.evaluate(PIECES))
    return [text for text in pieces if WORDS.search(text) or text.casefold() in sources() - NAMES]


@cache
def sources() -> frozenset[str]:
    """All texts that have a Spanish translation which differs, without those that have gaps to be filled."""
    with override("es"):
        merged: Any = trans_real.catalog()
    texts = {(source, str(merged._catalog.get(key))) for key, source in _whole_texts(merged._catalog)}
    same = {source.casefold() for source, text in texts if text == source}
    return frozenset(source.casefold() for source, _text in texts) - same


def _whole_texts(catalogue: Any) -> Iterator[tuple[Any, str]]:
    for key in catalogue.keys():  # noqa: SIM118  it is no dictionary
        source = key[0] if isinstance(key, tuple) else key
        # With a context: a word that means another thing elsewhere
        if source and not any(mark in source for mark in ("%", "{", "\x04")):
            yield key, source
