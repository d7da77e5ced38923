"""The form of every value this service caches: schema version, birth, end of life, data. Pure.

`{"v": 1, "t": 1795362562.1, "e": 1795366162.1, "d": …}`; `t` and `e` are Unix seconds, `e` null for "never". A value
may lie in the cache past its end: it is stale then.

Where an answer is being fetched lies a claim, `{"v": 0, "by": token}`, and for a moment `{"v": 0, "failed": {…}}` where
that failed. To whoever reads answers, older versions of this service included, both are misses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from api_service.services.outcomes import MISS, CacheRead, Outcome

VERSION = 1
NO_ANSWER = 0
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


def claim(token: str) -> dict[str, Any]:
    """What lies under a key while the owner of `token` fetches its answer."""
    return {"v": NO_ANSWER, "by": token}


def failure(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What lies there for a moment when that failed; `facts` has "at", the Unix time of it."""
    return {"v": NO_ANSWER, "failed": dict(facts)}


def failure_in(stored: Any) -> Mapping[str, Any] | None:
    facts = stored.get("failed") if isinstance(stored, dict) and stored.get("v") == NO_ANSWER else None
    return facts if isinstance(facts, dict) else None


def unwrap(stored: Any, now: float) -> CacheRead:
    """A value of another schema, or of somebody else, is a miss: never handed on as data."""
    try:
        if stored["v"] != VERSION:
            return _no_answer(stored)
        value, born, ends = stored["d"], stored["t"], stored["e"]
    except (TypeError, KeyError, IndexError):
        return MISS
    if not isinstance(born, _NUMBER) or not (ends is None or isinstance(ends, _NUMBER)):
        return MISS
    return CacheRead(Outcome.HIT if ends is None or now < ends else Outcome.STALE, value, born, ends)


def _no_answer(stored: Any) -> CacheRead:
    facts = failure_in(stored)
    return CacheRead(Outcome.MISS, failure=facts) if facts else MISS
