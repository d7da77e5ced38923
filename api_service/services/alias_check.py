"""The cache as the application uses it: its own client, its own placement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from api_service.caches.errors import CacheOutage
from api_service.services import health_rules, providers
from api_service.services.backends.base import LOCK_PREFIX, NO_ANSWER, NOTHING_DELETED, OTHER_VALUE, WRITE_REFUSED
from api_service.services.health_rules import Finding
from api_service.services.node_rules import Unjudged

if TYPE_CHECKING:
    from api_service.services.cache_service import APICacheService

REFUSED = "upstream_refused"


@dataclass(frozen=True, slots=True)
class AliasFacts:
    """`error`: why the round trip failed, or "". `refusals`: of providers, which are remembered in the cache."""

    error: str
    refusals: tuple[Finding, ...] = ()
    unknown: Unjudged = frozenset()


def check(service: APICacheService) -> AliasFacts:
    error = round_trip(service)
    said = {name: _refusal(service, name) for name in providers.TABLE}
    return AliasFacts(
        error,
        tuple(health_rules.upstream_refused(name, text) for name, text in said.items() if text),
        frozenset((REFUSED, name) for name, text in said.items() if text is None),
    )


def no_answer(seconds: float) -> AliasFacts:
    unknown = frozenset((REFUSED, name) for name in providers.TABLE)
    return AliasFacts(NO_ANSWER % {"seconds": f"{seconds:.1f}"}, unknown=unknown)


def round_trip(service: APICacheService) -> str:
    """set → get → delete as the application does it; why it failed, or ""."""
    key, value = f"{LOCK_PREFIX}alias.{uuid4().hex}", uuid4().hex
    cache = service.cache
    # A node that came back a second ago is well: what this process remembers of it is not the question
    cache.retry_now()
    try:
        if not cache.store(key, value, 30):
            return WRITE_REFUSED
        if cache.fetch(key) != value:
            return OTHER_VALUE
        return "" if cache.remove(key) else NOTHING_DELETED
    except CacheOutage as error:
        return str(error)


def _refusal(service: APICacheService, provider: str) -> str | None:
    """What the provider said when it last refused, "" when it does not; None where the cache does not tell."""
    from api_service.services import refusals  # it needs the cache service, which needs this module

    return refusals.current(service, provider)
