"""What a health run says of paid services: whether they are asked at all, and what is left to spend."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from api_service.services import account, budget, circuit, money_rules
from api_service.services.budget_rules import periods
from api_service.services.health_rules import Finding
from api_service.services.providers import TABLE


def findings(now: datetime) -> list[Finding]:
    """Of all services. Reads the database, and raises what it raises."""
    return [finding for service in TABLE for finding in _of_service(service, now)]


def _of_service(service: str, now: datetime) -> Iterator[Finding]:
    yield from money_rules.of_circuit(service, circuit.shared_state(service), now.timestamp())
    yield from _of_caps(service, now)
    if outlook := account.outlook(service, now):
        yield from money_rules.of_account(service, outlook, settings.ACCOUNT_DAYS_WARNING)


def _of_caps(service: str, now: datetime) -> Iterator[Finding]:
    capped = periods(budget.caps_in_force(), timezone.localtime(now))
    spent = budget.spent_in(service, capped)
    for period in capped:
        yield from money_rules.of_cap(service, period, spent[period.name], settings.BUDGET_WARNING)
