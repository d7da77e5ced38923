"""How many requests a token has left in this minute, over all processes.

While the cache that counts is down each process counts by itself: a dead cache neither locks clients out nor opens the
doors. Paid queries have limits of their own, in the database.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from threading import Lock
from time import time
from typing import Final, cast

from limits import RateLimitItemPerMinute

from api_service.services.limit_storage import CacheStorage, Limiter, SharedLimits, wait_for
from api_service.services.token_rules import Grant

MINUTE: Final = 60
BLOCKS_A_MINUTE: Final = 100

_limits = SharedLimits("api-limits")


@dataclass(frozen=True, slots=True)
class Standing:
    """`limit` requests a minute, of which `remaining` are left; `reset` and `wait` in seconds.

    `wait` is 0 for a request that is let in, else the time after which it would be.
    """

    limit: int
    remaining: int
    reset: float
    wait: float = 0.0

    def headers(self) -> dict[str, str]:
        """Those of the IETF's draft (RateLimit header fields for HTTP), and of a refusal."""
        headers = {
            "RateLimit-Policy": f'"minute";q={self.limit};w={MINUTE}',
            "RateLimit": f'"minute";r={self.remaining};t={math.ceil(self.reset)}',
        }
        return {**headers, "Retry-After": str(math.ceil(self.wait))} if self.wait else headers


def charge(grant: Grant, cost: int = 1, *, taken: int = 0) -> Standing | None:
    """Take `cost` requests from the token's minute; None where there is no limit. What costs more costs all.

    `taken`: what the same request has been charged with already, and would be again when it comes back.
    """
    if not grant.per_minute:
        return None
    if cost == 1 and (block := grant.per_minute // BLOCKS_A_MINUTE) > 1:
        return _prepaid.spend(grant, block)
    return _take(grant, min(cost, grant.per_minute), taken)


class _Prepaid:
    """Of a large minute a process takes some requests at once: a round trip for each would cost more than they do.

    What it does not spend by the end of the minute is lost to the token: a hundredth for each process at most.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._left: dict[str, tuple[int, int, Standing]] = {}

    def spend(self, grant: Grant, block: int) -> Standing:
        window = int(time() // MINUTE)
        with self._lock:
            taken_in, left, standing = self._left.get(grant.id, (0, 0, _NONE))
            if taken_in == window and left and standing.limit == grant.per_minute:
                self._left[grant.id] = (window, left - 1, standing)
                return replace(standing, remaining=standing.remaining + left - 1, reset=MINUTE - time() % MINUTE)
        standing = _take(grant, block)
        if standing.wait:
            # The end of the minute is given out one by one
            return _take(grant, 1)
        with self._lock:
            self._left[grant.id] = (window, block - 1, standing)
        return replace(standing, remaining=standing.remaining + block - 1)


def _take(grant: Grant, cost: int, taken: int = 0) -> Standing:
    item = RateLimitItemPerMinute(grant.per_minute)
    return _limits.apply(lambda limiter: _charged(limiter, item, grant.id, cost, taken))


def _charged(limiter: Limiter, item: RateLimitItemPerMinute, who: str, cost: int, taken: int) -> Standing:
    allowed = limiter.hit(item, who, cost=cost)
    stats = limiter.get_window_stats(item, who)
    now = time()
    if allowed:
        return Standing(item.amount, stats.remaining, MINUTE - now % MINUTE)
    before, _, current, _ = cast(CacheStorage, limiter.storage).get_sliding_window(item.key_for(who), MINUTE)
    wait = wait_for((before, current), now % MINUTE, item.amount, cost + taken, MINUTE)
    return Standing(item.amount, stats.remaining, MINUTE - now % MINUTE, max(wait, 1.0))


_NONE: Final = Standing(0, 0, 0.0)
_prepaid = _Prepaid()
