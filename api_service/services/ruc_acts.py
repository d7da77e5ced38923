"""What a person may do to what is known of one RUC. Each says what it did, and what it could not reach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from api_service.caches.errors import CacheOutage
from api_service.services import answers
from api_service.services.cache_service import INVALID_KEY, MIGO, RUC_KEY, APICacheService
from api_service.services.migo_service import MigoAPIService
from api_service.services.results import Result
from api_service.services.subjects import RUC


class Removed(StrEnum):
    YES = "yes"
    NOTHING_THERE = "nothing_there"
    UNREACHABLE = "unreachable"


class Marked(StrEnum):
    YES = "yes"
    NO = "no"
    BESIDE_AN_ANSWER = "beside_an_answer"


@dataclass(frozen=True, slots=True)
class Forgotten:
    cached: Removed
    stored: bool


def refresh(ruc: str) -> Result:
    """A new answer, paid for like a user's look-up: within the caps, shared with whoever asks at the same time."""
    return MigoAPIService().consultar_ruc(ruc, force_refresh=True)


def forget(ruc: str, now: float) -> Forgotten:
    """Out of the store first: a look-up in between would put the stored answer back into the cache."""
    stored = ruc in answers.read(MIGO, RUC, [ruc], now, now)
    answers.forget(MIGO, RUC, [ruc], now)
    return Forgotten(_remove(RUC_KEY + ruc), stored)


def mark(ruc: str, reason: str, hours: int) -> Marked:
    """List it as invalid. The stored answer stays, unused until then."""
    if not APICacheService().add_invalid_ruc(ruc, reason, hours):
        return Marked.NO
    # Another node than the mark's may hold the answer, and an answer counts before a mark
    return Marked.BESIDE_AN_ANSWER if _remove(RUC_KEY + ruc) is Removed.UNREACHABLE else Marked.YES


def unmark(ruc: str) -> Removed:
    """Take it off the list of invalid RUCs."""
    return _remove(INVALID_KEY + ruc)


def _remove(key: str) -> Removed:
    """`APICacheService.delete` says of an outage the same as of nothing there; who forgets has to know."""
    try:
        removed = APICacheService().cache.remove(key)
    except CacheOutage:
        return Removed.UNREACHABLE
    return Removed.YES if removed else Removed.NOTHING_THERE
