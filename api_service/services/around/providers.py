"""Paid services: whether they answer, whether they are asked at all, and what is left to spend."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any

from django.conf import settings
from django.utils import timezone

from api_service.services import account, around_rules, budget, circuit, money_rules, upstream_calls
from api_service.services.account_rules import Outlook
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.budget_rules import periods
from api_service.services.health_rules import Finding
from api_service.services.providers import TABLE


@judges("upstream_circuit_open", "upstream_errors", "budget_low", "budget_exhausted", "account_low")
def read(moment: Moment) -> Seen:
    """By what is recorded: a health run itself pays for nothing and waits for no service."""
    lately = upstream_calls.lately(moment.now)
    seen = {service: _service(service, moment.now, lately.get(service, {})) for service in TABLE}
    return Seen(
        {service: one.facts for service, one in seen.items()},
        [finding for one in seen.values() for finding in one.findings],
    )


def _service(service: str, now: datetime, by_outcome: Mapping[str, int]) -> Seen:
    state, calls = circuit.shared_state(service), around_rules.calls_of(by_outcome)
    outlook, (spent, of_caps) = account.outlook(service, now), _caps(service, now)
    found = [*money_rules.of_circuit(service, state, now.timestamp()), *of_caps]
    found += around_rules.of_calls(service, calls, settings.HEALTH_UPSTREAM_ERRORS, settings.HEALTH_UPSTREAM_CALLS)
    if outlook:
        found += money_rules.of_account(service, outlook, settings.ACCOUNT_DAYS_WARNING)
    facts = {
        "answering": calls.answering,
        "circuit": state.state.value,
        "calls": dict(sorted(by_outcome.items())),
        "error_share": calls.error_share,
        "spent": spent,
        "account": _of_account(outlook),
    }
    return Seen(facts, found)


def _caps(service: str, now: datetime) -> tuple[dict[str, dict[str, int]], list[Finding]]:
    """What is spent of each cap, and what that says."""
    capped = periods(budget.caps_in_force(), timezone.localtime(now))
    spent = budget.spent_in(service, capped)
    found = [
        finding
        for period in capped
        for finding in money_rules.of_cap(service, period, spent[period.name], settings.BUDGET_WARNING)
    ]
    return {period.name: {"spent": spent[period.name], "cap": period.cap} for period in capped}, found


def _of_account(outlook: Outlook | None) -> dict[str, Any] | None:
    """`days` is null while nothing is spent: then it lasts for ever."""
    if outlook is None:
        return None
    days = round(outlook.days, 1) if isfinite(outlook.days) else None
    return {"queries_left": outlook.left, "spent_a_day": round(outlook.pace, 1), "days": days}
