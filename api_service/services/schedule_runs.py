"""Writes down what becomes of each schedule's runs: one UPDATE an event. See `beat_watch` for what it is read for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api_service.models import ScheduleRun
from api_service.services.bounded import with_reconnect
from api_service.services.redaction import redact

LONGEST_ERROR = 300


def switched(name: str, task: str, now: datetime, *, on: bool) -> None:
    """Since when a schedule is on that was never sent: the first time is kept, however often its row is written."""
    rows = ScheduleRun.objects.filter(name=name)
    if on:
        ScheduleRun.objects.bulk_create([ScheduleRun(name=name, task=task)], ignore_conflicts=True)
        rows.filter(on_since=None).update(on_since=now)
    else:
        rows.update(on_since=None)


def sent(name: str, task: str, now: datetime) -> None:
    """Called before Beat sends: the first one sent since the last success is remembered until the next success."""

    def write() -> None:
        waits = ScheduleRun.objects.filter(name=name, waiting_since=None)
        if not waits.update(task=task, waiting_since=now, on_since=None):
            ScheduleRun.objects.bulk_create(
                [ScheduleRun(name=name, task=task, waiting_since=now)], ignore_conflicts=True
            )

    with_reconnect(write)


def started(name: str, task: str, now: datetime) -> None:
    _write(name, task, started_at=now)


def succeeded(name: str, task: str, now: datetime, seconds: float | None) -> None:
    _write(name, task, succeeded_at=now, waiting_since=None, duration=seconds, error="")


def failed(name: str, task: str, now: datetime, seconds: float | None, error: str) -> None:
    _write(name, task, failed_at=now, duration=seconds, error=redact(error)[:LONGEST_ERROR])


def _write(name: str, task: str, **fields: Any) -> None:
    """On a connection that died since the last task the first write fails, and the task's own queries would follow."""

    def write() -> None:
        if not ScheduleRun.objects.filter(name=name).update(task=task, **fields):
            ScheduleRun.objects.bulk_create([ScheduleRun(name=name, task=task, **fields)], ignore_conflicts=True)

    with_reconnect(write)
