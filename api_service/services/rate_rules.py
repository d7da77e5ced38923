"""At most so many paid queries in any minute, pure: they are counted second by second over the last minute.

Not a bucket that fills up again: at its limit it would let two minutes' worth pass within one, and whoever looks at the
bill or at a 429 counts minutes. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, TypeAlias

WINDOW: Final = 60
Taken: TypeAlias = Mapping[str, int]  # second, as JSON writes keys -> queries


def within(taken: Taken, now: float) -> dict[str, int]:
    """Those that count at `now`: a second of which any part is less than a minute old counts whole.

    What is more than a minute ahead comes from a host whose clock is wrong, and would hold everybody up.
    """
    oldest, newest = int(now) - WINDOW, now + WINDOW
    return {second: queries for second, queries in taken.items() if oldest <= int(second) <= newest}


def wait_for(taken: Taken, queries: int, most: int, now: float) -> float:
    """Seconds until so many more fit, 0 when they do now, infinity when they never will. `taken` as of `within`."""
    if queries > most:
        return inf
    over, free_at = sum(taken.values()) + queries - most, now
    for second in sorted(taken, key=int):
        if over <= 0:
            break
        over -= taken[second]
        free_at = int(second) + WINDOW + 1
    return max(0.0, free_at - now)


def with_more(taken: Taken, queries: int, now: float) -> dict[str, int]:
    """Entered in the second of `now`, or in the newest there is: a clock that is behind must not free places early."""
    second = str(max([int(now), *map(int, taken)]))
    return {**taken, second: taken.get(second, 0) + queries}
