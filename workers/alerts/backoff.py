"""When a failed delivery is tried again: pure, time and chance are arguments."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=30)
GIVE_UP_AFTER = timedelta(hours=24)
# However long a channel asked to be left alone
LONGEST_REST = timedelta(hours=24)


def next_attempt(attempts: int, retry_after: float | None, now: datetime, *, chance: float = 0.0) -> datetime:
    """30 s after the first attempt, then double, at most half an hour; never before the time the other side named.

    `chance`, from 0 to 1, adds up to a fifth: workers that failed together do not come back together.
    """
    doubled = FIRST_WAIT * (1 << min(max(attempts - 1, 0), 10))
    wait = min(doubled, LONGEST_WAIT) * (1 + 0.2 * chance)
    asked = timedelta(seconds=min(retry_after or 0.0, GIVE_UP_AFTER.total_seconds()))
    return now + max(wait, asked)


def gives_up(created_at: datetime, now: datetime) -> bool:
    return now - created_at >= GIVE_UP_AFTER
