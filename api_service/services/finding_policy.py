"""When a finding counts, and when it is over: N bad runs of the last M, then K good ones in a row. Pure, no clock.

A single failed probe wakes nobody, and what comes and goes at its limit does not ring with every run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from api_service.services.health_rules import Finding, Severity

# Signs kept of one finding, and so the largest M and K
HISTORY = 20
CHANGES_KEPT = 20
# What runs that overlap, on hosts whose clocks differ, are apart at most
CLOCKS_APART = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Policy:
    """Counts after `bad` bad runs of the last `of`; is over after `good` good runs in a row.

    `quick`: each run counts, however soon after the last, and one that contradicts what is known is repeated at once,
    so that certainty costs seconds. The others are measures of a whole period: what lasts for seconds is no trouble
    there, and runs in quick succession are one sign.
    `lapses`: it needs traffic to be judged, which may never come back; see `is_lapsed`.
    """

    bad: int
    of: int
    good: int
    quick: bool = False
    lapses: bool = False


# A code without a row
DEFAULT = Policy(2, 3, 2, quick=True)

TABLE: dict[str, Policy] = {
    # Wakes people, so one lost packet must not; a node that is back is believed at the second answer
    "node_down": Policy(2, 3, 2, quick=True),
    "cache_path_broken": Policy(2, 3, 2, quick=True),
    # An event, not a state: a process id that changed needs no second look, and the next run sees it no more
    "node_restarted": Policy(1, 1, 1, quick=True),
    # Measured values: a burst is load, a quarter of an hour of it is trouble. Quiet for as long before it is over
    "node_slow": Policy(3, 5, 3),
    "evictions_high": Policy(3, 5, 3),
    "memory_high": Policy(3, 5, 3),
    "connections_high": Policy(3, 5, 3),
    "hit_ratio_low": Policy(3, 5, 3, lapses=True),
    "redis_fragmented": Policy(3, 5, 3),
    "queue_long": Policy(3, 5, 3),
    "database_slow": Policy(3, 5, 3),
    # Somebody was turned away: counted by the node, so true at once
    "connections_rejected": Policy(1, 1, 3),
    # As it is configured: true until somebody changes it
    "redis_policy": Policy(1, 1, 1, quick=True),
    "redis_replica": Policy(2, 3, 2, quick=True),
    # Money: read from the ledger, never by chance. The account's pace moves, so its end is looked at for longer
    "budget_low": Policy(1, 1, 1, quick=True),
    "budget_exhausted": Policy(1, 1, 1, quick=True),
    "account_low": Policy(1, 1, 3),
    "upstream_refused": Policy(1, 1, 2, quick=True),
    # The breaker has counted failures of its own before; two runs, as a probe that works closes it for a moment
    "upstream_circuit_open": Policy(1, 1, 2, quick=True),
    # Shares of the last minutes
    "upstream_errors": Policy(2, 3, 2),
    "stale_served": Policy(2, 3, 2),
    # What alerts depend on: unanswered once may be a restart, twice is not
    "broker_down": Policy(2, 3, 2, quick=True),
    "workers_missing": Policy(2, 3, 2, quick=True),
    "queue_old": Policy(2, 3, 2, quick=True),
    "answer_store_off": Policy(2, 3, 2, quick=True),
    "read_counts_waiting": Policy(2, 3, 2, quick=True),
    # One reading that was late is load; a quarter of an hour without any is trouble that nobody sees
    "reading_blind": Policy(3, 5, 2),
    # They have waited for their own margin already
    "tracking_old": Policy(1, 1, 1, quick=True),
    # A Beat that has just been restarted after a pause has sent everything within seconds
    "schedule_late": Policy(2, 3, 1, quick=True),
    "schedule_not_run": Policy(2, 2, 1, quick=True),
}

_RULE = re.compile(r"(?P<code>[a-z][a-z0-9_]*)=(?P<bad>\d+)/(?P<of>\d+)/(?P<good>\d+)\Z")


@cache
def parse_rules(text: str) -> dict[str, Policy]:
    """`node_down=2/3/2, node_slow=3/5/3`: N/M/K by code, over the table. ValueError says which one is wrong and how."""
    return dict(_parse_rule(rule.strip()) for rule in text.split(",") if rule.strip())


def _parse_rule(rule: str) -> tuple[str, Policy]:
    match = _RULE.match(rule)
    if match is None:
        raise ValueError(f"{rule!r} is not code=bad/of/good, such as node_down=2/3/2")
    bad, of, good = (int(match[name]) for name in ("bad", "of", "good"))
    if match["code"] not in TABLE:
        raise ValueError(f"{rule!r}: there is no such finding; there are {', '.join(sorted(TABLE))}")
    if not (1 <= bad <= of <= HISTORY and 1 <= good <= HISTORY):
        raise ValueError(f"{rule!r}: 1 <= bad <= of <= {HISTORY}, and 1 <= good <= {HISTORY}")
    return match["code"], replace(TABLE[match["code"]], bad=bad, of=of, good=good)


def policy_of(code: str, changed: Mapping[str, Policy]) -> Policy:
    return changed.get(code) or TABLE.get(code, DEFAULT)


@dataclass(frozen=True, slots=True)
class State:
    """What the runs saw of one code on one node. `recent`: one sign a run since the last change, "1" is seen.

    `since`: the first bad run of the present trouble. `changes`: Unix seconds at which `counts` changed.
    """

    recent: str = ""
    counts: bool = False
    since: datetime | None = None
    severity: Severity = Severity.HEALTHY
    value: float | str = ""
    limit: float | str = ""
    changes: tuple[float, ...] = ()
    seen_at: datetime | None = None


def step(state: State, seen: Finding | None, now: datetime, policy: Policy, spacing: timedelta) -> State:
    """The state after a run at `now` that saw the finding, or did not (None).

    `spacing`: runs closer together than that are one sign, of what is not `quick`.
    """
    if seen is not None:
        state = replace(state, severity=seen.severity, value=seen.value, limit=seen.limit)
    if _is_same_sign(state, seen, now, policy, spacing):
        return state
    since = _since(state, seen, now, policy)
    recent = (state.recent + ("0" if seen is None else "1"))[-HISTORY:]
    state = replace(state, recent=recent, since=since, seen_at=now)
    return _changed(state, now) if is_due(state, policy) else state


def _is_same_sign(state: State, seen: Finding | None, now: datetime, policy: Policy, spacing: timedelta) -> bool:
    if policy.quick or state.seen_at is None or not timedelta(0) <= now - state.seen_at < spacing:
        return False
    # An event that counts at first sight is seen by one run only: nothing may swallow it
    return seen is None or policy.bad > 1


def is_overtaken(state: State, at: datetime) -> bool:
    """Whether a later run than the one at `at` has been counted. One from the future was not later: its clock was
    ahead, and whoever waited until that time has come would see and tell nothing.
    """
    return state.seen_at is not None and at <= state.seen_at <= at + CLOCKS_APART


def is_due(state: State, policy: Policy) -> bool:
    """Whether it now counts, or now is over."""
    if state.counts:
        return state.recent.endswith("0" * policy.good)
    return state.recent[-policy.of :].count("1") >= policy.bad


def is_lapsed(state: State, now: datetime, policy: Policy, after: timedelta) -> bool:
    """Whether what counts has been judged by nobody for so long that nobody can say it is still so; never after 0."""
    return policy.lapses and state.counts and state.seen_at is not None and timedelta(0) < after <= now - state.seen_at


def lapsed(state: State, now: datetime) -> State:
    return _changed(state, now)


def _since(state: State, seen: Finding | None, now: datetime, policy: Policy) -> datetime | None:
    """A bad run too long ago to help this one count was another trouble."""
    if state.since is not None and state.since > now:
        # By a clock that was ahead
        state = replace(state, since=now)
    if state.counts:
        return state.since
    # How far back a sign still helps this run, or else the next one
    reach = policy.of - (2 if seen is None else 1)
    helps = reach > 0 and "1" in state.recent[-reach:]
    if seen is None:
        return state.since if helps else None
    return (state.since or now) if helps else now


def _changed(state: State, now: datetime) -> State:
    """The signs begin anew: those that made it count must not make it count again once it is over."""
    changes = (*state.changes, now.timestamp())[-CHANGES_KEPT:]
    since = None if state.counts else state.since
    return replace(state, counts=not state.counts, recent="", since=since, changes=changes)


def is_doubtful(state: State, policy: Policy) -> bool:
    """The last run contradicts the state: another one soon settles it."""
    return policy.quick and bool(state.recent) and state.recent.endswith("1") != state.counts


def is_forgotten(state: State, now: datetime, kept: timedelta) -> bool:
    """Nothing of it matters any more; `kept`: how long its changes are needed to see that it comes and goes."""
    recently = any(now.timestamp() - change < kept.total_seconds() for change in state.changes)
    return not state.counts and not recently and state.since is None
