"""APIMIGO played by this process, for whoever has no token yet."""

from __future__ import annotations

import os

from celery import Celery
from django.conf import settings

from workers.embedded.preflight import Address, CannotStart
from workers.schedules import EVERY_MINUTE, beat_schedule

# The sandbox takes any token; this one shows in no real account
TOKEN = "sandbox"  # noqa: S105 - opens nothing but the sandbox


def is_wanted() -> bool:
    """Without a token there is nothing to ask the real APIMIGO with."""
    if settings.MIGO_TOKEN:
        return False
    if os.environ.get("MIGO_BASE_URL") or os.environ.get("MIGO_BASE_URL_FILE"):
        raise CannotStart("MIGO_BASE_URL is set and MIGO_TOKEN is not: set both, or neither to use the sandbox.")
    return True


def use_sandbox(address: Address, app: Celery) -> None:
    """The one place that changes settings after they were read: from here on this process asks the sandbox.

    Nobody waits five minutes to see the system work, so every task runs each minute unless SCHEDULES says otherwise.
    """
    settings.MIGO_TOKEN = TOKEN
    settings.MIGO_BASE_URL = f"{address.url}/api/{settings.MIGO_API_VERSION}"
    if settings.SCHEDULES == "auto":
        settings.SCHEDULES = EVERY_MINUTE
        app.conf.beat_schedule = beat_schedule(EVERY_MINUTE)
