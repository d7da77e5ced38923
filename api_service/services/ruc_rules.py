"""What the facts about one RUC mean: how fresh the newest record is, and what the next look-up would do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from api_service.services.outcomes import CacheRead, Outcome

if TYPE_CHECKING:
    from api_service.services.answers import Stored
    from api_service.services.node_reads import NodeReads


@dataclass(frozen=True, slots=True)
class Lives:
    """Seconds: that an answer holds, and for how many more it is shown while a newer one is fetched, or cannot be."""

    life: float
    while_refreshing: float
    on_failure: float


class Next(StrEnum):
    """What the next look-up would do."""

    CACHED = "cached"
    STALE = "stale"  # shows the old answer and has a newer one fetched behind it
    NEGATIVE = "negative"
    STORED = "stored"
    PAID = "paid"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Place:
    """One node, and which of the two keys the cache puts and looks for there."""

    reads: NodeReads
    answer_here: bool
    negative_here: bool


@dataclass(frozen=True, slots=True)
class RucFacts:
    """`answer` and `negative` as a look-up would read them; the keys are those on the wire."""

    ruc: str
    can_exist: bool
    answer_key: str
    negative_key: str
    places: Sequence[Place]
    answer: CacheRead
    negative: CacheRead
    stored: Stored | None


def next_lookup(facts: RucFacts, now: float, lives: Lives) -> Next:
    if facts.answer.outcome is Outcome.HIT:
        return Next.CACHED
    if not facts.can_exist:
        return Next.IMPOSSIBLE
    ends = facts.answer.expires_at
    if facts.answer.outcome is Outcome.STALE and ends is not None and now - ends <= lives.while_refreshing:
        return Next.STALE
    if facts.negative.outcome is Outcome.HIT:
        return Next.NEGATIVE
    is_fresh = facts.stored is not None and now - facts.stored.born_at < lives.life
    return Next.STORED if is_fresh else Next.PAID


def answered_since(facts: RucFacts, at: float) -> bool:
    """Whether cache or store has a record that was made since then (Unix seconds)."""
    cached = facts.answer.born_at if facts.answer.outcome in {Outcome.HIT, Outcome.STALE} else -inf
    stored = -inf if facts.stored is None else facts.stored.born_at
    return max(cached, stored) >= at


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest record that there is. Unix seconds: `ends` of its life, `stale_until` it is shown at the latest."""

    data: object
    born_at: float
    ends: float
    stale_until: float
    from_cache: bool


def newest(facts: RucFacts, lives: Lives) -> Shown | None:
    """Of the cache, where that has one, else of the store."""
    answer, stored = facts.answer, facts.stored
    if answer.outcome in {Outcome.HIT, Outcome.STALE}:
        ends = inf if answer.expires_at is None else answer.expires_at
        return Shown(answer.value, answer.born_at, ends, ends + lives.on_failure, from_cache=True)
    if stored is None:
        return None
    ends = stored.born_at + lives.life
    return Shown(stored.data, stored.born_at, ends, ends + lives.on_failure, from_cache=False)
