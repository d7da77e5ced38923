"""`manage.py check_beat`: exit code 0 while Beat sends what is due, 1 when it does not. For health checks and cron."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from celery.schedules import crontab
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from workers.beat_watch import MARGIN, Due, late


class Command(BaseCommand):
    help = "Tells whether Beat sends what is due, from what is written in the database."
    # It runs every minute as a health check: no look at templates and models
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        seconds = int(MARGIN.total_seconds())
        parser.add_argument("--margin", type=int, default=seconds, help=f"seconds a schedule may be late ({seconds})")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        due = read_due()
        found = late(due, timezone.now(), timedelta(seconds=options["margin"]))
        if options["json"]:
            seconds = {one.name: round(one.by.total_seconds()) for one in found}
            self.stdout.write(json.dumps({"ok": bool(due) and not found, "schedules": len(due), "late": seconds}))
        if not due:
            raise CommandError("No schedule is enabled in the database: Beat has not started here, or all are off.")
        if found:
            names = ", ".join(f"{one.name} by {round(one.by.total_seconds())} s" for one in found)
            raise CommandError(f"Beat does not send what is due. Late: {names}. Restart Beat.")
        if not options["json"]:
            self.stdout.write(f"Beat is on time: {len(due)} schedules.")


def read_due() -> list[Due]:
    """Crontabs and intervals that are on. Solar and one-time schedules have no rhythm to be late against."""
    tasks = PeriodicTask.objects.filter(enabled=True, one_off=False, start_time=None, expires=None)
    return [Due(task.name, at) for task in tasks.select_related("crontab", "interval") if (at := _next_run(task))]


def _next_run(task: PeriodicTask) -> datetime | None:
    """Counted from the last run, or from the last change of the row: Beat renews the rows when it starts."""
    since: datetime = max(moment for moment in (task.last_run_at, task.date_changed) if moment)
    if task.crontab is not None:
        return _next_by_crontab(task.crontab.schedule, since)
    if task.interval is not None:
        every: timedelta = task.interval.schedule.run_every
        return since + every
    return None


def _next_by_crontab(when: crontab, since: datetime) -> datetime:
    local, delta, _ = when.remaining_delta(since)
    following: datetime = local + delta
    return following
