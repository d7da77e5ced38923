"""Is a schedule late? Two questions: was it sent in time, and did what was sent succeed. Pure rules, no clock.

Beat can stop silently while its process lives, so its own word does not count; and a task that was sent need not have
run: the broker may be gone, the workers cut off, every run may fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from api_service.services.health_rules import Finding, Severity

NONE = timedelta(0)
# Runs in a row that may fail or stay away, and the longest that this is waited for: a daily task is not given two days
RUNS_MISSED = 2
LONGEST_WAIT = timedelta(hours=1)


class State(StrEnum):
    ON_TIME = "on_time"
    # Beat did not send it when it was due
    NOT_SENT = "not_sent"
    # Beat sent it, and no run has succeeded since
    NOT_RUN = "not_run"
    # Sent in the future: the clock was set back, and Beat waits until it has caught up
    CLOCK_SET_BACK = "clock_set_back"


class ByItself(StrEnum):
    """Whether something is done without anybody's asking: its schedules send it, and its runs succeed."""

    YES = "yes"
    # All its schedules are off; no schedule has it at all
    OFF = "off"
    MISSING = "missing"
    NOT_SENT = "not_sent"
    NOT_RUN = "not_run"


@dataclass(frozen=True)
class Seen:
    """A schedule as it is written down. `every` is the time between two of its runs."""

    name: str
    task: str
    next_due: datetime
    every: timedelta
    sent_at: datetime | None = None
    waiting_since: datetime | None = None
    started_at: datetime | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    duration: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Watched:
    """`send_late`: how long ago it should have been sent; `run_late`: for how long no run has succeeded; 0 on time."""

    seen: Seen
    state: State
    send_late: timedelta = NONE
    run_late: timedelta = NONE

    @property
    def late_by(self) -> timedelta:
        return max(self.send_late, self.run_late)


def judge(seen: Seen, now: datetime, margin: timedelta) -> Watched:
    """Later than `margin` is late: a busy database, or a Beat that has just been restarted, is late and not dead."""
    if seen.sent_at is not None and seen.sent_at - now > margin:
        return Watched(seen, State.CLOCK_SET_BACK, send_late=seen.sent_at - now)
    send_late = _beyond(now - seen.next_due, margin)
    run_late = _run_late(seen, now, margin)
    if send_late:
        return Watched(seen, State.NOT_SENT, send_late, run_late)
    return Watched(seen, State.NOT_RUN if run_late else State.ON_TIME, run_late=run_late)


def _run_late(seen: Seen, now: datetime, margin: timedelta) -> timedelta:
    if seen.waiting_since is None:
        return NONE
    return _beyond(now - seen.waiting_since, min(RUNS_MISSED * seen.every, LONGEST_WAIT) + margin)


def _beyond(passed: timedelta, allowed: timedelta) -> timedelta:
    return passed if passed > allowed else NONE


def by_itself(states: Sequence[State], schedules: int) -> ByItself:
    """`states`: of the schedules of one task that are on; `schedules`: how many it has, those that are off too."""
    if not states:
        return ByItself.OFF if schedules else ByItself.MISSING
    if State.ON_TIME in states:
        return ByItself.YES
    return ByItself.NOT_RUN if State.NOT_RUN in states else ByItself.NOT_SENT


def late(schedules: Iterable[Watched]) -> list[Watched]:
    """Those that are not on time, the latest first."""
    found = [one for one in schedules if one.state is not State.ON_TIME]
    return sorted(found, key=lambda one: (-one.late_by, one.seen.name))


def not_sent(schedules: Iterable[Watched]) -> list[Watched]:
    """Those that Beat itself is to blame for, the latest first."""
    return [one for one in late(schedules) if one.state is not State.NOT_RUN]


def findings(schedules: Iterable[Watched], margin: timedelta) -> list[Finding]:
    """One for each that is late: `value` is by how many seconds, `limit` the margin in seconds."""
    return [_finding(one, margin) for one in late(schedules)]


def _finding(one: Watched, margin: timedelta) -> Finding:
    """A Beat that sends nothing starts no health check either; a task that fails is one trouble among others."""
    name, value, limit = one.seen.name, round(one.late_by.total_seconds()), margin.total_seconds()
    if one.state is State.NOT_RUN:
        return Finding("schedule_not_run", Severity.WARNING, name, value, limit)
    return Finding("schedule_late", Severity.UNHEALTHY, name, value, limit)
