"""System checks: settings that start but would fail at night. Each id has an entry in docs/runbook.md."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's own name


@register(Tags.caches)
def check_cache_is_shared(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Worker and web in separate processes cannot share a cache that lives inside one of them."""
    local = settings.CACHES["default"]["BACKEND"].endswith("LocalMemoryCache")
    if not local or settings.CELERY_BROKER_URL.startswith("memory"):
        return []
    return [
        Error(
            "The cache is local memory, but the broker serves separate processes: each would watch and warm its own.",
            hint="Set CACHE_URL to memcached://host:port or redis://host:port/db.",
            id="api_service.E001",
        )
    ]


@register()
def check_answers_are_warmed_in_time(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What ends between two runs, or while one spreads its calls, is missed by users before it is loaded again."""
    needed = settings.WARM_PERIOD + min(settings.WARM_SPREAD, settings.WARM_PERIOD / 2)
    lead = min(settings.WARM_LEAD, settings.CACHE_TTL_RUC / 2)
    if lead >= needed or settings.WARM_LIMIT == 0:
        return []
    return [
        Warning(
            f"Answers are refreshed {lead:.0f} s before their end, and runs are up to {needed:.0f} s apart.",
            hint=f"Set WARM_LEAD to {needed:.0f} or more, and CACHE_TTL_RUC to twice that or more.",
            id="api_service.W003",
        )
    ]


@register(Tags.security, deploy=True)
def check_token_is_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.MIGO_TOKEN:
        return []
    return [
        Warning(
            "MIGO_TOKEN is empty: every look-up that the cache cannot answer will fail.",
            hint="Set MIGO_TOKEN, or MIGO_TOKEN_FILE to a file that holds it.",
            id="api_service.W001",
        )
    ]
