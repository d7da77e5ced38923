"""What the account of a paid service still holds: read now and then for nothing, estimated by the ledger in between.

What the ledger does not know of shows as divergence: another user of the same token, attempts that the service did
not bill, a plan that was topped up. Queries paid while a reading is under way shift a few from one reading to the next.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final, cast

from django.conf import settings
from django.utils import timezone

from api_service.models import AccountReading
from api_service.services import account_rules, budget
from api_service.services.account_rules import Outlook
from api_service.services.errors import UpstreamError
from api_service.services.locks import claim_for
from api_service.services.migo_client import MigoClient
from api_service.services.providers import provider

logger = logging.getLogger(__name__)

# Less than the hour of the schedule, or a run a moment early would wait for the one after it
READ_EVERY_SECONDS: Final = 3300.0
SECONDS: Final = 5.0
# An older reading says nothing of today: the token may be another's
LAST_DAYS: Final = 7


def can_be_read() -> bool:
    """Version 2 documents no account."""
    return bool(settings.MIGO_TOKEN) and settings.MIGO_API_VERSION == "v1"


def read(now: datetime) -> AccountReading | None:
    """Ask, unless somebody has within the last hour, whatever became of it. Raises UpstreamError."""
    if not can_be_read() or not claim_for(f"read_account {MigoClient.name}", READ_EVERY_SECONDS):
        return None
    client = cast(MigoClient, provider(MigoClient.name))
    return note(client.account(SECONDS).queries_left, now)


def note(queries_left: int, now: datetime) -> AccountReading:
    """Keep a reading, with what the ledger says since the one before."""
    service = MigoClient.name
    before = last(service)
    spent = None if before is None else spent_since(before)
    lost = None if before is None or spent is None else before.queries_left - queries_left - spent
    if lost:
        logger.warning("%s: the account lost %d queries beyond the %d of our ledger", service, lost, spent or 0)
    return AccountReading.objects.create(
        service=service,
        taken_at=now,
        queries_left=queries_left,
        spent_in_hour=budget.spent(service, _hour(now)),
        spent=spent,
        divergence=lost,
    )


def outlook(service: str, now: datetime) -> Outlook | None:
    """What is left by our estimate, and how long it lasts; None where nothing was read lately."""
    reading = last(service)
    if reading is None or now - reading.taken_at > timedelta(days=LAST_DAYS):
        return None
    day, week = (budget.spent(service, now - timedelta(days=days)) for days in (1, account_rules.WEEK_DAYS))
    return Outlook(reading.queries_left - spent_since(reading), account_rules.pace(day, week))


def last(service: str) -> AccountReading | None:
    return AccountReading.objects.filter(service=service).order_by("-taken_at").first()


def spent_since(reading: AccountReading) -> int:
    """By the ledger, which counts whole hours: what was in the reading's own before it does not count."""
    return budget.spent(reading.service, _hour(reading.taken_at)) - reading.spent_in_hour


def _hour(moment: datetime) -> datetime:
    return timezone.localtime(moment).replace(minute=0, second=0, microsecond=0)


def read_and_tell(now: datetime) -> dict[str, object]:
    """The summary of the task: an account that cannot be read now is read an hour later."""
    if not can_be_read():
        return {"state": "nothing_to_read", "next_step": "an account needs MIGO_TOKEN and MIGO_API_VERSION=v1"}
    try:
        reading = read(now)
    except UpstreamError as error:
        return {"state": "failed", "code": error.code, "error": error.message, "next_step": error.next_step}
    if reading is None:
        return {"state": "too_soon", "next_step": "the account was asked within the last hour: look at that reading"}
    return {"state": "done", "queries_left": reading.queries_left, "divergence": reading.divergence}
