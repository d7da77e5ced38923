"""Cache values as JSON: nothing executable comes back from the network, nothing changes type.

The one change is documented: a tuple comes back as a list.
"""

import logging
from collections.abc import Callable
from math import isfinite
from typing import Any

import orjson

logger = logging.getLogger("api_service.caches")

# "J": pickle and text flags of other clients are small powers of two, so theirs never pass as ours
JSON_FLAG = 0x4A

_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_PLAIN = frozenset({str, int, bool, type(None)})


class Unreadable(Exception):
    """A stored value that is not ours: another client's flag, or broken JSON."""


def dumps(value: Any, key: object) -> bytes:
    """JSON of a value; `TypeError` naming the key for anything that JSON would alter.

    A whole number becomes its bare digits, which `incr` on the server can count with.
    """
    try:
        data = orjson.dumps(value, option=_STRICT)
    except TypeError as error:
        raise TypeError(f"the value of cache key {key!r} is not JSON: {error}") from error
    if type(value) not in _PLAIN:
        _refuse_altered(value, key)
    return data


def _refuse_altered(value: Any, key: object) -> None:
    """orjson turns NaN into null, UUID and Enum into text, without an option to refuse."""
    kind = type(value)
    if kind is dict:
        # Most are texts throughout, and a set is faster than a loop
        if not _PLAIN.issuperset(map(type, value.values())):
            for item in value.values():
                if type(item) not in _PLAIN:
                    _refuse_altered(item, key)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in _PLAIN:
                _refuse_altered(item, key)
    elif kind is not float or not isfinite(value):
        what = repr(value) if kind is float else f"Type is {kind.__name__}"
        raise TypeError(f"the value of cache key {key!r} is not JSON: {what}")


def loads(data: bytes | str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable(BROKEN) from error


# Why a value cannot be read
UNKNOWN_FLAG, BROKEN, NOT_PLAIN = REASONS = ("unknown flag", "broken JSON", "not a plain value")
_logged: set[str] = set()
# Told the reason of each: the caches know nothing of who counts
on_unreadable: list[Callable[[str], None]] = []


def count_unreadable(reason: str) -> None:
    """A value is treated as a miss; the first of each reason is logged."""
    for tell in on_unreadable:
        tell(reason)
    if reason not in _logged:
        _logged.add(reason)
        logger.warning("a cached value cannot be read (%s): treated as a miss", reason)


class JSONSerializer:
    """For Django's RedisCache: `OPTIONS={"serializer": "…serializer.JSONSerializer"}`."""

    def dumps(self, obj: Any) -> bytes:
        return dumps(obj, "(unnamed)")

    def loads(self, data: bytes) -> Any:
        return loads(data)
