"""Counters of the rate limits, where everything else that all processes share is: in the cache.

One storage of the `limits` library for every backend. Theirs would open connections of their own, without our
time-outs, and would move the counters of a dead node to another one.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Final, TypeAlias, TypeVar, cast

from django.core.cache import caches
from limits.storage.base import SlidingWindowCounterSupport, Storage, TimestampedSlidingWindow
from limits.strategies import SlidingWindowCounterRateLimiter

from api_service.caches.errors import CacheOutage
from api_service.caches.fail_open import FailOpenCache
from api_service.caches.local import LocalMemoryCache
from api_service.services.backends.base import LOCK_PREFIX

Counting: TypeAlias = FailOpenCache | LocalMemoryCache
Limiter: TypeAlias = SlidingWindowCounterRateLimiter
T = TypeVar("T")

# Not listed in an inventory and not cleared with a service, as locks are
PREFIX: Final = f"{LOCK_PREFIX}limit."
# Windows that are over: what they ended with does not change
_MOST_REMEMBERED: Final = 10_000


class CacheStorage(TimestampedSlidingWindow, SlidingWindowCounterSupport, Storage):
    """Sliding windows: two counters a token, one round trip a request. Raises CacheOutage while the node is down."""

    STORAGE_SCHEME = None

    def __init__(self, cache: Callable[[], Counting]) -> None:
        super().__init__()
        # Asked anew each time: Django has one for each thread
        self._cache = cache
        self._over: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return CacheOutage

    # -- the window

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """What is refused is not counted: who keeps asking is let in again as the window moves on."""
        now = time()
        before, current = self.sliding_window_keys(key, expiry, now)
        count = self.incr(current, 2 * expiry, amount)
        if self._ended_with(before) * (1 - now % expiry / expiry) + count <= limit:
            self._note(current, count)
            return True
        self._note(current, self._cache().incr_strict(PREFIX + current, -amount))
        return False

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """As the last request of this process found it: the answer's headers cost no round trip of their own."""
        now = time()
        before, current = self.sliding_window_keys(key, expiry, now)
        left = expiry - now % expiry
        return self._ended_with(before), left, self._seen.get(current, 0), left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        for name in self.sliding_window_keys(key, expiry, time()):
            self.clear(name)

    def _ended_with(self, window: str) -> int:
        if (count := self._over.get(window)) is None:
            count = self.get(window)
            _bound(self._over)
            self._over[window] = count
        return count

    def _note(self, window: str, count: int) -> None:
        if window not in self._seen:
            _bound(self._seen)
        self._seen[window] = count

    # -- counters

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        name, cache = PREFIX + key, self._cache()
        try:
            return cache.incr_strict(name, amount)
        except ValueError:
            # The first of the window; another one may be first meanwhile
            return amount if cache.add_strict(name, amount, expiry) else cache.incr_strict(name, amount)

    def get(self, key: str) -> int:
        return int(self._cache().fetch(PREFIX + key, 0))

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError("memcached does not tell when a key ends; sliding windows need not know")

    def check(self) -> bool:
        try:
            self.get("check")
        except CacheOutage:
            return False
        return True

    def reset(self) -> None:
        raise NotImplementedError("the counters are among everything else in the cache, and end by themselves")

    def clear(self, key: str) -> None:
        self._over.pop(key, None)
        self._seen.pop(key, None)
        self._cache().remove(PREFIX + key)


class SharedLimits:
    """A limiter over all processes. While the cache that counts is down each process counts by itself.

    `name` is that of the memory in which it does.
    """

    def __init__(self, name: str) -> None:
        own = LocalMemoryCache(name, {})
        self._shared = Limiter(CacheStorage(lambda: cast(Counting, caches["default"])))
        self._of_this_process = Limiter(CacheStorage(lambda: own))

    def apply(self, act: Callable[[Limiter], T]) -> T:
        try:
            return act(self._shared)
        except CacheOutage:
            return act(self._of_this_process)


def wait_for(window: tuple[int, int], elapsed: float, limit: int, cost: int, length: int) -> float:
    """Seconds until `cost` more fit. `window`: what the one before ended with, and this one of `length` has so far."""
    before, current = window
    if current + cost <= limit:
        # What is left of the window before fades evenly
        fits_at = length * (1 - (limit - current - cost) / before) if before else 0.0
        return max(0.0, fits_at - elapsed)
    return length - elapsed + length * max(0.0, 1 - (limit - cost) / current)


def _bound(remembered: dict[str, int]) -> None:
    """To forget all of it costs each token one more read."""
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()
