"""JSON of others, as values that every cache, database and caller of ours takes. Pure.

What none of them takes must not get beyond here: an answer that was paid for and cannot be kept is paid for again by
everybody who asks, and fails everybody's batch that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

# What orjson writes
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
# It writes 254 levels, and our answers have some around what was found: a list of verdicts, each with its record
_DEEPEST = 200
# Half of a surrogate pair, and the NUL that PostgreSQL has in no text: neither stands there other than escaped
_ESCAPES = ("\\ud", "\\uD", "\\u0000")


def loads(text: str) -> Any:
    """Decimal numbers stay the text they were sent as: a price must not become a binary float. Raises ValueError."""
    try:
        found = json.loads(text, parse_float=str, parse_int=_whole_number, parse_constant=str)
        # Few answers have so many brackets, deep or not: most are spared the walk
        if text.count("[") + text.count("{") > _DEEPEST:
            _refuse_depth(found)
        return _readable(found) if any(escape in text for escape in _ESCAPES) else found
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_depth(found: Any) -> None:
    """Level by level, each once: RecursionError as Python's own."""
    level, depth = [found], 0
    while level := [inner for outer in level for inner in _within(outer)]:
        depth += 1
        if depth > _DEEPEST:
            raise RecursionError


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _whole_number(text: str) -> int | str:
    """One beyond 64 bits as its text."""
    if len(text) > len(str(_SMALLEST)):
        return text
    number = int(text)
    return number if _SMALLEST <= number <= _LARGEST else text


def _readable(value: Any) -> Any:
    """With a question mark in the place of each half of a pair, and of each NUL."""
    if isinstance(value, str):
        return value.replace("\0", "?").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, dict):
        return {_readable(name): _readable(item) for name, item in value.items()}
    return value
