"""The form of every value this service caches: schema version, birth, end of life, data. Pure.

`{"v": 1, "t": 1795362562.1, "e": 1795366162.1, "d": …}`; `t` and `e` are Unix seconds, `e` null for "never".
"""

from __future__ import annotations

from typing import Any, TypedDict

from api_service.services.outcomes import MISS, CacheRead, Outcome

VERSION = 1
_NUMBER = (float, int)


class Envelope(TypedDict):
    v: int
    t: float
    e: float | None
    d: Any


def wrap(value: Any, now: float, ttl: float | None, born_at: float | None = None) -> Envelope:
    """`born_at` is when the provider answered, when that was earlier than now."""
    born = now if born_at is None else born_at
    return {"v": VERSION, "t": round(born, 3), "e": None if ttl is None else round(now + ttl, 3), "d": value}


def unwrap(stored: Any) -> CacheRead:
    """A value of another schema, or of somebody else, is a miss: never handed on as data."""
    try:
        if stored["v"] != VERSION:
            return MISS
        value, born, ends = stored["d"], stored["t"], stored["e"]
    except (TypeError, KeyError, IndexError):
        return MISS
    if not isinstance(born, _NUMBER) or not (ends is None or isinstance(ends, _NUMBER)):
        return MISS
    return CacheRead(Outcome.HIT, value, born, ends)
