"""A look-up that does not wait for the answer store any more says so where the monitor sees it: in the cache.

Each process judges the database for itself, and the one that runs the health check may well be content.
"""

from __future__ import annotations

from time import monotonic

from api_service.services import bounded, keys
from api_service.services.bounded import OneAProcess
from api_service.services.cache_service import APICacheService

# Longer than from one health run to the next
SECONDS = 420
TOLD_EVERY = 60.0
NAME = "store_off"


class _Told(OneAProcess):
    def begin(self) -> None:
        self.at = -TOLD_EVERY


_told = _Told()


def note(cache: APICacheService, service: str) -> None:
    """After a look-up has asked the store; costs nothing while that answers."""
    if bounded.answer_reads.is_open and monotonic() - _told.at >= TOLD_EVERY:
        _told.at = monotonic()
        cache.set(keys.service_key(service, NAME), bounded.answer_reads.what, SECONDS)


def is_off(cache: APICacheService, service: str) -> bool:
    """Whether any process said so since about the last health run."""
    return cache.get(keys.service_key(service, NAME)) is not None
