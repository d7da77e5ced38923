"""`manage.py check_beat`: is every schedule sent in time, and does what is sent succeed? For health checks and cron."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseTrouble
from django.utils import timezone

from api_service.beat_page import Schedule, rows
from api_service.services import beat_watch
from api_service.services.beat_rules import State, Watched, late, not_sent

NOT_SENT, NOT_RUN, NO_DATABASE = 1, 2, 3
HEADINGS = ("SCHEDULE", "STATE", "SENT", "SUCCEEDED", "FAILED", "TOOK", "NEXT DUE", "LATE BY")
EPILOG = (
    f"Exit codes: 0 all is on time; {NOT_SENT} Beat does not send what is due, or no schedule is on: restart Beat; "
    f"{NOT_RUN} Beat sends, but no run succeeds: look at workers and broker; {NO_DATABASE} the "
    "database does not answer."
)


class Command(BaseCommand):
    help = f"Tells whether every schedule is sent in time and succeeds, from what the database says. {EPILOG}"
    # It runs every minute as a health check: no look at templates and models
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        default = settings.BEAT_MARGIN_SECONDS
        parser.add_argument(
            "--margin", type=int, default=default, help=f"seconds that a schedule may be late ({default})"
        )
        parser.add_argument(
            "--sent-only",
            action="store_true",
            help="only whether Beat sends: for a check that restarts Beat, which helps nothing where workers are away",
        )
        parser.add_argument("--json", action="store_true", help="print a JSON object; the exit code is the same")

    def handle(self, *_args: Any, **options: Any) -> None:
        now = timezone.now()
        try:
            watched = beat_watch.look_in_time(now, timedelta(seconds=options["margin"]))
        except DatabaseTrouble as error:
            raise CommandError("The database does not answer: nobody can say.", returncode=NO_DATABASE) from error
        trouble = not_sent(watched) if options["sent_only"] else late(watched)
        schedules = rows(watched)
        if options["json"]:
            ok = bool(watched) and not trouble
            self.stdout.write(json.dumps({"ok": ok, "schedules": schedules}, ensure_ascii=False, indent=2))
        elif schedules:
            self.stdout.write(table(schedules, now))
        _raise_if(watched, trouble)


def _raise_if(watched: Sequence[Watched], trouble: Sequence[Watched]) -> None:
    if not watched:
        text = "No schedule is on in the database: Beat has not started here, or all are switched off."
        raise CommandError(text, returncode=NOT_SENT)
    if not trouble:
        return
    beats = not_sent(trouble)
    if any(one.state is State.CLOCK_SET_BACK for one in beats):
        text = "The clock was set back: Beat sends nothing before it is that late again. See the runbook."
    elif beats:
        text = "Beat does not send what is due. Restart Beat."
    else:
        text = "What Beat sends does not succeed. Look at the workers, the broker and the log."
    names = ", ".join(f"{one.seen.name} by {one.late_by.total_seconds():.0f} s" for one in beats or trouble)
    raise CommandError(f"{text} Late: {names}.", returncode=NOT_SENT if beats else NOT_RUN)


def table(schedules: Sequence[Schedule], now: datetime) -> str:
    """Columns as wide as their longest cell."""
    lines = [HEADINGS, *(_cells(one, now) for one in schedules)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _cells(one: Schedule, now: datetime) -> tuple[str, ...]:
    moments = (one["sent_at"], one["succeeded_at"], one["failed_at"])
    ages = (_age(now - datetime.fromisoformat(moment)) if moment else "never" for moment in moments)
    took = "-" if one["duration"] is None else f"{one['duration']:.1f} s"
    due = _age(now - datetime.fromisoformat(one["next_due"]))
    late_by = _span(timedelta(seconds=one["late_by"])) if one["late_by"] else "-"
    return (one["name"], one["state"].replace("_", " "), *ages, took, due, late_by)


def _age(passed: timedelta) -> str:
    return f"{_span(passed)} ago" if passed >= timedelta(0) else f"in {_span(-passed)}"


def _span(span: timedelta) -> str:
    """`42 s`, `12 min`, `3.5 h`, `9 d`: one unit is enough to see what is wrong."""
    seconds = span.total_seconds()
    for unit, size, decimals in (("d", 86_400, 0), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{decimals}f} {unit}"
    return f"{seconds:.0f} s"
