"""Sentences of ours that are written once, in English, for rows and logs, and read in other languages.

Who writes one marks it; who shows it finds it again in what was stored, with what was filled in. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

# The context of a marked sentence in the catalogues: `msgctxt "sentence"`
CONTEXT: Final = "sentence"
# The parameter for words of somebody else: they are never looked up, and nobody knows their language
SAID: Final = "said"
# Characters by which a sentence that is cut off is known
_TELLS: Final = 20
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_SEPARATOR: Final = "; "
_LEADER: Final = re.compile(r"\S+?: ")
# A search takes time by the square of the length: 20 ms at this one, an hour at a megabyte. Rows keep 300 characters
_LONGEST: Final = 2000
# Sentences within sentences: ours have three, and what others send may have any number
_DEPTH: Final = 5
_WORDS: Final = re.compile(r"(?<!\S)[A-Za-z][a-z]+\s+[a-z]+(?!\S)")
_NEXT_ITEM: Final = re.compile(r"; (?=\S+?: )")


def sentence(text: str) -> str:
    """Marks `text` for the catalogues. It is a literal; its parameters are `%(name)s`, filled in by the caller."""
    return text


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text as it is shown. `is_foreign`: in English, as no sentence of ours was found in it."""

    text: str
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class _Template:
    """`shown` has literals at even places and names of parameters at odd ones."""

    pattern: re.Pattern[str]
    shown: tuple[str, ...]
    literal: int


class Reader:
    """Reads stored texts in one language; `known` has its words for each marked sentence."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._fixed = {text: shown for text, shown in known.items() if not _PARAMETER.search(text)}
        templates = (_template(text, shown) for text, shown in known.items() if text not in self._fixed)
        # The one that says the most itself is the one that was meant
        self._templates = sorted(templates, key=lambda one: -one.literal)

    def read(self, text: str) -> tuple[Piece, ...]:
        """All of `text`, whatever it is; what is not ours, or is longer than what a row keeps, is left as it was."""
        if len(text) > _LONGEST or not (self._fixed or self._templates):
            return (Piece(text, is_foreign=_has_words(text)),)
        return tuple(_joined(self._any(text, _DEPTH)))

    def _any(self, text: str, depth: int) -> Iterator[Piece]:
        first, *others = _items(text)
        yield from self._item(first, depth)
        for item in others:
            yield Piece(_SEPARATOR)
            yield from self._item(item, depth)

    def _item(self, text: str, depth: int) -> Iterator[Piece]:
        """A sentence, behind a node, a code or the name of an error; or the words of others behind them."""
        while not (found := self._sentence(text, depth)) and (leader := _LEADER.match(text)):
            yield Piece(leader[0])
            text = text[leader.end() :]
        yield from found or [Piece(text, is_foreign=_has_words(text))]

    def _sentence(self, text: str, depth: int) -> list[Piece]:
        if text in self._fixed:
            return [Piece(self._fixed[text])]
        if named := self._names(text):
            return [Piece(named)]
        for template in self._templates if depth else ():
            if found := template.pattern.fullmatch(text):
                return list(self._filled(template, found.groupdict(), depth - 1))
        return [Piece(shown)] if (shown := self._begun(text)) else []

    def _begun(self, text: str) -> str:
        """The sentence that alone begins with `text`, which a column has cut off; "" for any other text."""
        known = [shown for whole, shown in self._fixed.items() if whole.startswith(text)] if len(text) >= _TELLS else []
        return known[0] if len(known) == 1 else ""

    def _names(self, text: str) -> str:
        """Of a list such as `answers, migo`: what we named in words, beside names of others; "" for any other text."""
        names = text.split(", ")
        if self._fixed.keys().isdisjoint(names) or any(" " in name for name in names if name not in self._fixed):
            return ""
        return ", ".join(self._fixed.get(name, name) for name in names)

    def _filled(self, template: _Template, values: Mapping[str, str], depth: int) -> Iterator[Piece]:
        for place, part in enumerate(template.shown):
            if place % 2 == 0:
                yield Piece(part)
            elif part == SAID:
                yield Piece(values[part])
            else:
                yield from self._any(values[part], depth)


def _template(text: str, shown: str) -> _Template:
    first, *rest = _PARAMETER.split(text)
    pattern, seen = re.escape(first), set[str]()
    for name, literal in zip(rest[::2], rest[1::2], strict=True):
        # In front stands a name, and no leader before it
        value = ".*?" if pattern else "(?:(?!: ).)*?"
        pattern += (f"(?P={name})" if name in seen else f"(?P<{name}>{value})") + re.escape(literal)
        seen.add(name)
    literal_length = len(first) + sum(map(len, rest[1::2]))
    return _Template(re.compile(pattern, re.DOTALL), tuple(_PARAMETER.split(shown)), literal_length)


def _items(text: str) -> list[str]:
    """Of `node: why; node: why`; any other text is one item, also one with a semicolon in it."""
    return _NEXT_ITEM.split(text) if _LEADER.match(text) else [text]


def _has_words(text: str) -> bool:
    """An address, a measure, a code and the name of an error are the same in every language."""
    return bool(_WORDS.search(text))


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours of one kind as one."""
    for is_foreign, group in groupby(pieces, key=attrgetter("is_foreign")):
        if text := "".join(piece.text for piece in group):
            yield Piece(text, is_foreign)
