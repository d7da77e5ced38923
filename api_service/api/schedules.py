"""The periodic tasks: which are on, and how long ago each was sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from ninja import Router

from api_service.api.access import Token
from api_service.api.operation_schemas import Schedules
from api_service.services.token_rules import Scope

router = Router(tags=["Schedules"], auth=Token(Scope.OPERATIONS_READ))


@router.get("/schedules", response=Schedules, summary="Ages of the schedules")
def ages(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """When Beat last sent each periodic task. Much longer ago than its rhythm means that Beat has stopped."""
    now = timezone.now()
    rows = PeriodicTask.objects.select_related("crontab", "interval").order_by("name")
    return {"schedules": [_as_json(row, now) for row in rows]}


def _as_json(row: PeriodicTask, now: datetime) -> dict[str, Any]:
    last: datetime | None = row.last_run_at
    return {
        "name": row.name,
        "task": row.task,
        "enabled": row.enabled,
        "rhythm": str(row.crontab or row.interval or ""),
        "last_sent_at": last,
        "age": None if last is None else max(0.0, (now - last).total_seconds()),
        "sent": row.total_run_count,
    }
