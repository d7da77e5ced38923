"""What the database knows of each schedule: when it was sent, what became of it, when it is due. One query, no writes.

Read by `manage.py check_beat`, `GET /health/beat`, the admin and the health check.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

from celery.schedules import crontab
from django.conf import settings
from django.db.models import OuterRef, QuerySet, Subquery
from django_celery_beat.models import PeriodicTask

from api_service.models import ScheduleRun
from api_service.sentences import sentence
from api_service.services import beat_rules
from api_service.services.beat_rules import ByItself, Seen, State, Watched, judge
from api_service.services.bounded import BoundedCalls, Breaker, OneAProcess

# A frozen database holds its callers for ever: whoever asks over HTTP or as a health check leaves after so long
DATABASE_SECONDS = 3.0
RECENT_SECONDS = 1.0
OF_ITS_RUNS = ("waiting_since", "started_at", "succeeded_at", "failed_at", "duration", "error")
RUN_FIELDS = ("on_since", *OF_ITS_RUNS)

_reads = BoundedCalls("schedules", Breaker(sentence("schedules")))


def margin() -> timedelta:
    return timedelta(seconds=settings.BEAT_MARGIN_SECONDS)


def look(now: datetime, allowed: timedelta | None = None) -> list[Watched]:
    """Every schedule that is on and has a rhythm, by name. `allowed` is the margin, by default that of the settings."""
    allowed = margin() if allowed is None else allowed
    rows = PeriodicTask.objects.filter(enabled=True).order_by("name")
    judged = (verdict(row, now, allowed) for row in with_runs(rows).select_related("crontab", "interval"))
    return [one for one in judged if one is not None]


def verdict(row: PeriodicTask, now: datetime, allowed: timedelta) -> Watched | None:
    """None for what is off or has no rhythm, which is never late. `row` comes from `with_runs`."""
    seen = seen_of(row) if row.enabled else None
    return None if seen is None else judge(seen, now, allowed)


def by_itself(task: str, now: datetime) -> ByItself:
    """Whether a task is run without anybody's asking. One query."""
    rows = list(with_runs(PeriodicTask.objects.filter(task=task)).select_related("crontab", "interval"))
    judged = [verdict(row, now, margin()) for row in rows if row.enabled]
    # What has no rhythm is never late
    return beat_rules.by_itself([State.ON_TIME if one is None else one.state for one in judged], len(rows))


def look_in_time(now: datetime, allowed: timedelta | None = None) -> list[Watched]:
    """The same; NoAnswerInTime when the database does not answer within DATABASE_SECONDS."""
    return _reads.call(lambda: look(now, allowed), DATABASE_SECONDS)


class _Recent(OneAProcess):
    """What was read last, for all who ask within the same second."""

    def begin(self) -> None:
        self.read_at = float("-inf")
        self.watched: list[Watched] = []


_recent = _Recent()


def look_recently(now: datetime) -> list[Watched]:
    """`look_in_time`, at most once a second in a process: everybody may ask over HTTP, as often as they like."""
    if monotonic() - _recent.read_at >= RECENT_SECONDS:
        _recent.watched = look_in_time(now)
        _recent.read_at = monotonic()
    return _recent.watched


def stop() -> None:
    """End the thread that `look_in_time` reads on, and forget what it read."""
    _reads.thread.stop(DATABASE_SECONDS)
    _recent.begin()


def with_runs(rows: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    """Each row with its `ScheduleRun`'s fields as `run_…`: no foreign key leads there, and one query is enough."""
    of_name = ScheduleRun.objects.filter(name=OuterRef("name"))
    annotated: QuerySet[PeriodicTask] = rows.annotate(
        **{f"run_{field}": Subquery(of_name.values(field)) for field in RUN_FIELDS}
    )
    return annotated


def seen_of(row: PeriodicTask) -> Seen | None:
    """None for what has no rhythm: solar and one-time schedules, and those with a first or a last day."""
    if row.one_off or row.start_time is not None or row.expires is not None:
        return None
    since = _counted_from(row)
    due = _following(row, since)
    if due is None or (after := _following(row, due)) is None:
        return None
    runs = {field: getattr(row, f"run_{field}") for field in OF_ITS_RUNS}
    runs["error"] = runs["error"] or ""
    return Seen(row.name, row.task, next_due=due, every=after - due, sent_at=row.last_run_at, **runs)


def _counted_from(row: PeriodicTask) -> datetime:
    """From the last time it was sent, or from the last change of the row where that is later and can be the reason.

    Every start of Beat changes the rows. So a Beat that dies again and again would always look fresh, and one that dies
    before it has ever sent, too: until then it counts from when the schedule was switched on. But a row that names its
    hour is not even looked at by Beat until two hours before: switched on at noon, it waits for its night.
    """
    changed: datetime = row.date_changed
    # Rows of an older version, or switched on by SQL, have no `run_on_since`
    since: datetime = row.last_run_at or row.run_on_since or changed
    names_its_hour = row.crontab is not None and row.crontab.hour.isdigit()
    return max(since, changed) if names_its_hour else since


def _following(row: PeriodicTask, since: datetime) -> datetime | None:
    if row.crontab is not None:
        return _next_by_crontab(row.crontab.schedule, since)
    if row.interval is not None:
        every: timedelta = row.interval.schedule.run_every
        return since + every
    return None


def _next_by_crontab(when: crontab, since: datetime) -> datetime:
    local, delta, _ = when.remaining_delta(since)
    following: datetime = local + delta
    return following
