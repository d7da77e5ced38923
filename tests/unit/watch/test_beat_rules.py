"""When a schedule is late: not sent in time, or sent and without a success for too long."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_service.services.beat_rules import Seen, State, judge, late, not_sent

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MARGIN = timedelta(minutes=5)
FIVE = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def seen(name: str = "monitor", every: timedelta = FIVE, **fields: Any) -> Seen:
    """Due at noon."""
    return Seen(name, "workers.tasks.any", **{"next_due": NOON, "every": every, **fields})


def state(now: datetime, **fields: Any) -> State:
    return judge(seen(**fields), now, MARGIN).state


def test_a_schedule_is_late_when_more_than_the_margin_has_passed() -> None:
    assert state(NOON + MARGIN) is State.ON_TIME
    found = judge(seen(), NOON + MARGIN + SECOND, MARGIN)
    assert (found.state, found.send_late, found.run_late) == (State.NOT_SENT, MARGIN + SECOND, timedelta(0))


def test_two_runs_may_fail_or_stay_away_before_it_is_late() -> None:
    sent = {"next_due": NOON + timedelta(hours=1), "waiting_since": NOON}
    assert state(NOON + 2 * FIVE + MARGIN, **sent) is State.ON_TIME
    assert state(NOON + 2 * FIVE + MARGIN + SECOND, **sent) is State.NOT_RUN


def test_a_daily_task_that_failed_is_late_after_an_hour_and_not_after_two_days() -> None:
    sent = {"every": timedelta(days=1), "next_due": NOON + timedelta(days=1), "waiting_since": NOON}
    assert state(NOON + timedelta(hours=1) + MARGIN, **sent) is State.ON_TIME
    assert state(NOON + timedelta(hours=1) + MARGIN + SECOND, **sent) is State.NOT_RUN


@pytest.mark.parametrize("hours", [1, 48])
def test_a_success_ends_it_whatever_went_before(hours: int) -> None:
    earlier = NOON - timedelta(hours=hours)
    assert state(NOON, failed_at=earlier, succeeded_at=earlier, waiting_since=None) is State.ON_TIME


def test_a_beat_that_stopped_is_to_blame_before_the_workers_are() -> None:
    found = judge(seen(waiting_since=NOON - FIVE), NOON + timedelta(hours=1), MARGIN)
    assert (found.state, found.send_late, found.run_late) == (State.NOT_SENT, timedelta(hours=1), timedelta(minutes=65))
    assert found.late_by == timedelta(minutes=65)


def test_a_clock_that_was_set_back_is_seen_by_a_run_in_the_future() -> None:
    """Beat counts from its last run, and sends nothing until the clock is there again."""
    future: dict[str, Any] = {"sent_at": NOON + timedelta(hours=1), "next_due": NOON + timedelta(hours=1, minutes=5)}
    found = judge(seen(**future), NOON, MARGIN)
    assert (found.state, found.late_by) == (State.CLOCK_SET_BACK, timedelta(hours=1))
    assert state(NOON, sent_at=NOON + MARGIN) is State.ON_TIME


def test_the_latest_comes_first_and_only_beats_own_are_beats() -> None:
    now = NOON + timedelta(hours=1)
    rows = [
        judge(seen("fine", next_due=now), now, MARGIN),
        judge(seen("unrun", next_due=now, waiting_since=NOON - FIVE), now, MARGIN),
        judge(seen("unsent"), now, MARGIN),
    ]
    assert [one.seen.name for one in late(rows)] == ["unrun", "unsent"]
    assert [one.seen.name for one in not_sent(rows)] == ["unsent"]
