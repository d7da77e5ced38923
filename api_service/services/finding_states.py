"""What the last runs saw of each possible trouble, kept in the database from one run to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from django.conf import settings

from api_service.models import FindingState
from api_service.services.backends.base import storable
from api_service.services.finding_policy import (
    Policy,
    State,
    is_doubtful,
    is_forgotten,
    is_lapsed,
    is_overtaken,
    lapsed,
    parse_rules,
    policy_of,
    step,
)
from api_service.services.health_rules import Finding, Severity, worst_first
from api_service.services.locks import take_turn
from api_service.services.redaction import scrub

# A code and a node
Place = tuple[str, str]
EVERY_NODE = "*"
LOCK = "finding_states"
NODE_LENGTH = FindingState._meta.get_field("node").max_length or 255


def observe(findings: Iterable[Finding], unknown: Collection[Place], at: datetime) -> list[Finding]:
    """What the run at `at` means, with that of the runs before: findings with `since` and `counts`, worst first.

    What counts and was not seen stays in the list until it is over. `unknown`: what the run could not judge, node "*"
    for every node of a code: neither good nor bad, until it lapses. A run older than the last one changes nothing. In
    the transaction that stores the sample, so that no run is counted twice or not at all.
    """
    take_turn(LOCK)
    # Worst first, so that of two findings in one place the worse one stays
    seen = {(one.code, one.node): one for one in map(scrubbed, reversed(worst_first(findings)))}
    rows = {(row.code, row.node): row for row in FindingState.objects.all()}
    unjudged = {place for place in rows if place not in seen and is_unknown(place, unknown)}
    known = {place: state_of(row) for place, row in rows.items()}
    states = {place: _unjudged(place, known[place], at) for place in unjudged}
    for place in (known.keys() | seen.keys()) - unjudged:
        states[place] = _stepped(place, known.get(place, State()), seen.get(place), at)
    _write(rows, states, at)
    return worst_first(_finding(place, state, at) for place, state in states.items() if state.counts or place in seen)


def is_anything_doubtful() -> bool:
    """Whether another run soon would settle something."""
    return any(is_doubtful(state_of(row), _policy(row.code)) for row in FindingState.objects.all())


def scrubbed(finding: Finding) -> Finding:
    """An error's text may quote a password: it goes no further than here. No row has room for a longer node."""
    node = finding.node[:NODE_LENGTH]
    return Finding(finding.code, finding.severity, node, _storable(scrub(finding.value)), scrub(finding.limit))


def _storable(value: float | str) -> float | str:
    return storable(value) if isinstance(value, str) else value


def state_of(row: FindingState) -> State:
    return State(
        recent=row.recent,
        counts=row.counts,
        since=row.since,
        severity=Severity(row.severity or Severity.HEALTHY),
        value=row.value,
        limit=row.limit,
        changes=tuple(row.changes),
        seen_at=row.seen_at,
    )


def is_unknown(place: Place, unknown: Collection[Place]) -> bool:
    return place in unknown or (place[0], EVERY_NODE) in unknown


def _unjudged(place: Place, state: State, at: datetime) -> State:
    """Neither good nor bad, unless that has gone on for too long."""
    after = timedelta(hours=settings.HEALTH_UNJUDGED_HOURS)
    return lapsed(state, at) if is_lapsed(state, at, _policy(place[0]), after) else state


def _stepped(place: Place, state: State, seen: Finding | None, at: datetime) -> State:
    if is_overtaken(state, at):
        return state
    return step(state, seen, at, _policy(place[0]), timedelta(seconds=settings.HEALTH_PERIOD / 2))


def _policy(code: str) -> Policy:
    return policy_of(code, parse_rules(settings.HEALTH_RULES))


def _finding(place: Place, state: State, at: datetime) -> Finding:
    code, node = place
    return Finding(code, state.severity, node, state.value, state.limit, state.since or at, state.counts)


def _write(rows: dict[Place, FindingState], states: dict[Place, State], at: datetime) -> None:
    # As long as they matter to `incident_rules.is_flapping`
    kept = timedelta(minutes=max(settings.ALERT_FLAP_WINDOW_MINUTES, settings.ALERT_FLAP_QUIET_MINUTES))
    forgotten = {place for place, state in states.items() if is_forgotten(state, at, kept)}
    FindingState.objects.filter(pk__in=[rows[place].pk for place in forgotten & rows.keys()]).delete()
    # One statement for all of them, however many nodes fail at once
    FindingState.objects.bulk_create(
        (_row(place, states[place], at) for place in states.keys() - forgotten),
        update_conflicts=True,
        unique_fields=["code", "node"],
        update_fields=["recent", "counts", "since", "severity", "value", "limit", "changes", "seen_at"],
    )


def _row(place: Place, state: State, at: datetime) -> FindingState:
    code, node = place
    return FindingState(
        code=code,
        node=node,
        recent=state.recent,
        counts=state.counts,
        since=state.since,
        severity=state.severity.value,
        value=state.value,
        limit=state.limit,
        changes=list(state.changes),
        seen_at=state.seen_at or at,
    )
