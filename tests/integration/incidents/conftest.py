"""Health runs with chosen findings, at chosen minutes: stored, remembered and judged as the monitor does it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from api_service.models import HealthSample, Incident, Notice, Transition
from api_service.services import bounded, incidents, monitoring
from api_service.services.health import Report
from api_service.services.health_rules import Finding, NodeFacts, Severity, verdict

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
NODES = ("10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211")


@pytest.fixture(autouse=True)
def no_thread_that_outlives_its_test() -> Iterator[None]:
    """They keep connections of their own to the database of the tests."""
    yield
    bounded.stop_threads(10)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def down(node: str = NODES[0], said: str = "connection refused") -> Finding:
    return Finding("node_down", Severity.UNHEALTHY, node, said)


def slow(node: str = NODES[0], *, milliseconds: float = 80.5, severity: Severity = Severity.WARNING) -> Finding:
    return Finding("node_slow", severity, node, milliseconds, 50.0)


def budget(severity: Severity = Severity.WARNING) -> Finding:
    """Counts at first sight."""
    return Finding("budget_low", severity, "migo/day", "80", "100")


def stored(minutes: float, *findings: Finding, unknown: Iterable[tuple[str, str]] = ()) -> HealthSample:
    """A run of `minutes` after NOW, as `monitoring.store` keeps it."""
    dead = {one.node for one in findings if one.code == "node_down"}
    report = Report(
        at=at(minutes),
        status=verdict(findings),
        backend="memcached",
        checks={"connection": "✅ OK"},
        nodes=[NodeFacts(node, reachable=node not in dead) for node in NODES],
        findings=findings,
        duration_ms=3.0,
        unknown=frozenset(unknown),
    )
    return monitoring.store(report)


def run(minutes: float, *findings: Finding, unknown: Iterable[tuple[str, str]] = ()) -> list[str]:
    """A whole run of the monitor; the steps that it made."""
    sample = stored(minutes, *findings, unknown=unknown)
    return words(incidents.apply(sample, sample.taken_at + timedelta(seconds=1)))


def words(steps: Iterable[Transition]) -> list[str]:
    return [f"{step.event} {step.incident}" for step in steps]


def is_told(minutes: float) -> None:
    """Whatever is pending has been told at that minute."""
    notice = Notice.objects.create(created_at=at(minutes), severity="unhealthy")
    Transition.objects.filter(telling="pending").update(telling="told", notice=notice)


def outage(minutes: float = 0) -> Incident:
    """A node that is down from then on, found by two runs, five minutes apart, and told."""
    run(minutes, down())
    run(minutes + 5, down())
    is_told(minutes + 5)
    return Incident.objects.get(code="node_down", resolved_at=None)
