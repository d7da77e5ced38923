from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest

from api_service.services.account_rules import Outlook, pace
from api_service.services.budget_rules import Caps, Period, periods
from api_service.services.circuit_rules import Circuit, State
from api_service.services.health_rules import Severity
from api_service.services.money_rules import CIRCUIT_SHOWN_SECONDS, of_account, of_cap, of_circuit

NOW = 1_000_000.0


def period(cap: int) -> Period:
    return periods(Caps(0, cap, 0.5), datetime(2026, 7, 14, 12, tzinfo=ZoneInfo("America/Lima")))[0]


@pytest.mark.parametrize(
    ("spent", "said"),
    [
        (0, []),
        (799, []),
        (800, [("budget_low", Severity.WARNING)]),
        (999, [("budget_low", Severity.WARNING)]),
        (1000, [("budget_exhausted", Severity.UNHEALTHY)]),
        (1001, [("budget_exhausted", Severity.UNHEALTHY)]),
    ],
)
def test_a_cap_warns_from_its_share_on_and_is_unhealthy_when_reached(
    spent: int, said: list[tuple[str, Severity]]
) -> None:
    found = list(of_cap("migo", period(1000), spent, 0.8))

    assert [(finding.code, finding.severity) for finding in found] == said
    assert [(finding.node, finding.value, finding.limit) for finding in found] == [
        ("migo/day", str(spent), "1000") for _ in said
    ]


def test_an_open_circuit_is_told_until_nobody_knows_any_more() -> None:
    opened = Circuit(State.OPEN, open_until=NOW, reason="upstream_timeout")

    assert [(f.code, f.value) for f in of_circuit("migo", opened, NOW)] == [
        ("upstream_circuit_open", "upstream_timeout")
    ]
    assert list(of_circuit("migo", opened, NOW + CIRCUIT_SHOWN_SECONDS + 1)) == []
    assert list(of_circuit("migo", Circuit(), NOW)) == []


def test_the_pace_is_the_quicker_of_the_last_day_and_the_last_week() -> None:
    assert pace(last_day=10, last_week=700) == 100.0
    assert pace(last_day=300, last_week=700) == 300.0
    assert pace(last_day=0, last_week=0) == 0.0


def test_an_account_lasts_as_many_days_as_its_queries_at_that_pace() -> None:
    assert Outlook(left=500, pace=100.0).days == 5.0
    assert Outlook(left=500, pace=0.0).days == inf
    assert Outlook(left=-3, pace=0.0).days == 0.0


def test_an_account_that_does_not_last_long_enough_is_a_warning() -> None:
    [low] = of_account("migo", Outlook(left=250, pace=100.0), 3.0)

    assert (low.code, low.severity, low.value, low.limit) == ("account_low", Severity.WARNING, "250 (100)", 3.0)
    assert list(of_account("migo", Outlook(left=300, pace=100.0), 3.0)) == []
    assert list(of_account("migo", Outlook(left=0, pace=100.0), 0.0)) == []
