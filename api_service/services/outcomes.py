"""What a read of the cache or a look-up ended in. A miss, a negative answer and an outage are never the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Outcome(StrEnum):
    HIT = "hit"
    STALE = "stale"
    NEGATIVE = "negative"
    MISS = "miss"
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class CacheRead:
    """One read of the cache. `born_at` is when the value was made, `expires_at` when it ends (Unix seconds).

    Stale is a value past its end. A miss may have `failure`: why who was to fill the key could not, and when ("at").
    """

    outcome: Outcome
    value: Any = None
    born_at: float = 0.0
    expires_at: float | None = None
    failure: Mapping[str, Any] | None = None


MISS: Final = CacheRead(Outcome.MISS)
OUTAGE: Final = CacheRead(Outcome.OUTAGE)


class Source(StrEnum):
    """Where a look-up's answer came from."""

    CACHE = "cache"
    STORE = "store"
    VALIDATION = "validation"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The result of one look-up.

    `cache` is what the cache said (hit, stale, negative, miss, outage) and is what metrics count. `data` is the answer;
    `reason` says why there is none (a negative answer's reason). `age` is in seconds since the answer was made.
    `stale_because` is "" for an answer inside its life time; an old one says why no newer one came: "refreshing" while
    that is under way, else the code of the failure. `left` is what is left of its life in the cache, in seconds; None
    where the cache did not have it.
    """

    cache: Outcome
    source: Source
    data: Mapping[str, Any] | None = None
    reason: str | None = None
    age: float = 0.0
    stale_because: str = ""
    left: float | None = None

    @property
    def is_stale(self) -> bool:
        return bool(self.stale_because)
