"""Check-ins with Sentry Crons, with the margin and the longest run time of each schedule.

The SDK's Celery integration sends some of its own, from Beat and without margins: a monitor without them raises an
alarm a minute after each crontab. It goes on doing so for schedules that an operator adds (`myproject/sentry.py`).
A run that never begins sends nothing, which Sentry calls missed; one that is killed ends in Sentry's time-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from celery import current_app
from celery.schedules import crontab
from django.conf import settings

from workers.schedules import TABLE, Schedule
from workers.watch import Run

if TYPE_CHECKING:
    from sentry_sdk.types import MonitorConfig

Status = Literal["in_progress", "ok", "error"]


class CheckIns:
    def wanted(self) -> bool:
        return bool(settings.SENTRY_DSN)

    def started(self, run: Run) -> None:
        _check_in(run, "in_progress")

    def succeeded(self, run: Run) -> None:
        _check_in(run, "ok")

    def failed(self, run: Run, error: str) -> None:  # noqa: ARG002
        """Without the error, which reaches Sentry as an event."""
        _check_in(run, "error")

    def close(self) -> None:
        """The SDK sends what waits by itself when a worker's process ends."""


def monitor_config(row: Schedule, when: crontab, timezone: str) -> MonitorConfig:
    """What Sentry creates and updates the monitor with; margin and run time in minutes."""
    return {
        "schedule": {"type": "crontab", "value": _expression(when)},
        "timezone": timezone,
        "checkin_margin": row.margin,
        "max_runtime": row.max_runtime,
        "failure_issue_threshold": row.failures,
        "recovery_threshold": 1,
    }


def _expression(when: crontab) -> str:
    """`*/5 * * * *`, as it stands in the table: minute, hour, day of the month, month, day of the week."""
    return repr(when).removeprefix("<crontab: ").partition(" (")[0]


def _check_in(run: Run, status: Status) -> None:
    """Handed to the SDK's own thread: nobody waits for Sentry. The task's id joins the two check-ins of a run."""
    from sentry_sdk.crons import capture_checkin

    if (row := TABLE.get(run.schedule)) is None:
        return
    # As it runs here: `SCHEDULES=fast` is another crontab
    when = current_app.conf.beat_schedule[run.schedule]["schedule"]
    capture_checkin(
        monitor_slug=run.schedule,
        check_in_id=UUID(run.id).hex,
        status=status,
        duration=run.seconds if status != "in_progress" else None,
        monitor_config=monitor_config(row, when, str(current_app.conf.timezone)),
    )
