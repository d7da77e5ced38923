"""The periodic tasks: which are on, how long ago each was sent, and whether that is late."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from ninja import Router

from api_service.api.access import Token
from api_service.api.operation_schemas import Schedules
from api_service.services import beat_watch
from api_service.services.beat_rules import Watched
from api_service.services.token_rules import Scope

router = Router(tags=["Schedules"], auth=Token(Scope.OPERATIONS_READ))


@router.get("/schedules", response=Schedules, summary="Ages of the schedules, and which are late")
def ages(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """When Beat last sent each periodic task, whether a run of it has succeeded since, and whether that is late."""
    now, allowed = timezone.now(), beat_watch.margin()
    rows = beat_watch.with_runs(PeriodicTask.objects.select_related("crontab", "interval").order_by("name"))
    return {"schedules": [_as_json(row, beat_watch.verdict(row, now, allowed), now) for row in rows]}


def _as_json(row: PeriodicTask, watched: Watched | None, now: datetime) -> dict[str, Any]:
    last: datetime | None = row.last_run_at
    return {
        "name": row.name,
        "task": row.task,
        "enabled": row.enabled,
        "rhythm": str(row.crontab or row.interval or ""),
        "last_sent_at": last,
        "age": None if last is None else max(0.0, (now - last).total_seconds()),
        "sent": row.total_run_count,
        "succeeded_at": row.run_succeeded_at,
        "next_due": watched.seen.next_due if watched else None,
        "state": watched.state if watched else None,
        "late_by": watched.late_by.total_seconds() if watched else 0.0,
    }
