"""A provider that refuses the token or the plan: look-ups are down until somebody acts, so the monitor must see it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from api_service.services import keys
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamAuthRefused, UpstreamError, UpstreamRefused
from api_service.services.providers import Answer

logger = logging.getLogger(__name__)

# Longer than two health checks: nobody may ask in between
SECONDS = 900
NAME = "refused_account"
# A plan that has ended is told by a status, or in words with a status of 200
REFUSALS = (UpstreamAuthRefused, UpstreamRefused)


def note(cache: APICacheService, service: str, results: Iterable[Answer | UpstreamError]) -> None:
    """Remember a refusal among the results; a paid answer is the proof that it is over."""
    results = list(results)
    refused = next((result for result in results if isinstance(result, REFUSALS)), None)
    key = keys.service_key(service, NAME)
    if refused is not None:
        if cache.get(key) is None:
            logger.error("%s refuses the token or the plan, paid look-ups are down: %s", service, refused)
        cache.set(key, str(refused), SECONDS)
    elif any(not isinstance(result, UpstreamError) for result in results):
        cache.delete(key)


def current(cache: APICacheService, service: str) -> str | None:
    """What the provider said when it last refused, "" when it does not, None while the cache cannot be asked."""
    said = cache.get(keys.service_key(service, NAME), "", on_outage=None)
    return None if said is None else str(said)
