"""From what is known of a paid service to findings: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable

from api_service.services.account_rules import Outlook
from api_service.services.budget_rules import Period
from api_service.services.circuit_rules import Circuit, State
from api_service.services.health_rules import Finding, Severity

# Who was left alone and not asked since may be well again: nobody knows, and an alert would never close
CIRCUIT_SHOWN_SECONDS = 900.0


def of_cap(service: str, period: Period, spent: int, warn_share: float) -> Iterable[Finding]:
    """A cap that is nearly reached, and one that is: users' look-ups are refused then."""
    name = f"{service}/{period.name}"
    if spent >= period.cap:
        yield Finding("budget_exhausted", Severity.UNHEALTHY, name, str(spent), str(period.cap))
    elif spent >= period.cap * warn_share:
        yield Finding("budget_low", Severity.WARNING, name, str(spent), str(period.cap))


def of_account(service: str, outlook: Outlook, warn_days: float) -> Iterable[Finding]:
    if outlook.days < warn_days:
        left = f"{outlook.left} ({outlook.pace:.0f})"
        yield Finding("account_low", Severity.WARNING, service, left, warn_days)


def of_circuit(service: str, circuit: Circuit, now: float) -> Iterable[Finding]:
    """`now` in Unix seconds, as the circuit's times."""
    if circuit.state is not State.CLOSED and now - circuit.open_until <= CIRCUIT_SHOWN_SECONDS:
        yield Finding("upstream_circuit_open", Severity.WARNING, service, circuit.reason)
