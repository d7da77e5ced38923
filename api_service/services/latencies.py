"""How long look-ups took: counts in fixed steps, which many processes can add up, and what they tell. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import accumulate
from typing import Final

from api_service.services.freshness import REFRESHING
from api_service.services.outcomes import Lookup, Source

# The upper ends of the steps in microseconds, as those of the metrics: rows of the database and Prometheus agree
BOUNDS: Final = (
    *(100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000),
    *(50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000),
)
IN_SECONDS: Final = tuple(bound / 1_000_000 for bound in BOUNDS)
# What took longer than all of them; the largest that an integer column takes
LONGER: Final = 2**31 - 1


class Way(StrEnum):
    """How a look-up came by its end. A wait for somebody else's paid call is one of that call's way."""

    CACHE = "cache"
    STORE = "store"
    UPSTREAM = "upstream"
    # An error, or an old answer instead of one: what was waited for is the failure
    FAILED = "failed"


_BY_SOURCE: Final = {Source.CACHE: Way.CACHE, Source.STORE: Way.STORE, Source.UPSTREAM: Way.UPSTREAM}


def way_of(found: Lookup) -> Way | None:
    """None for what was refused before anything was asked."""
    if found.stale_because not in {"", REFRESHING}:
        return Way.FAILED
    return _BY_SOURCE.get(found.source)


def counted(seconds: Iterable[float]) -> dict[int, int]:
    """How many are in each step, by the step's bound; of those steps in which there is any."""
    ordered = sorted(seconds)
    reached = [*(bisect_right(ordered, bound) for bound in IN_SECONDS), len(ordered)]
    numbers = zip((*BOUNDS, LONGER), (0, *reached), reached, strict=False)
    return {bound: until - since for bound, since, until in numbers if until > since}


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """Seconds within which `part` (above 0, at most 1) of the look-ups had their end; None where none was counted.

    An estimate: within a step times are taken to be spread evenly. Of what is beyond the last step only that is known.
    """
    ordered = sorted(counts.items())
    reached = list(accumulate(count for _bound, count in ordered))
    if not reached or not reached[-1]:
        return None
    rank = part * reached[-1]
    place = bisect_left(reached, rank)
    bound, count = ordered[place]
    return _within(bound, (rank - reached[place] + count) / count)


def _within(bound: int, share: float) -> float:
    if bound > BOUNDS[-1]:
        return IN_SECONDS[-1]
    place = bisect_left(BOUNDS, bound)
    lower = BOUNDS[place - 1] if place else 0
    return (lower + share * (bound - lower)) / 1_000_000
