"""The maintenance windows of the database."""

from __future__ import annotations

from datetime import timedelta

from api_service.models import MaintenanceWindow
from api_service.services.maintenance_rules import Window


def windows() -> list[Window]:
    """All that are turned on, also those that are over: the rules know the time."""
    return [window_of(row) for row in MaintenanceWindow.objects.filter(enabled=True).order_by("pk")]


def window_of(row: MaintenanceWindow) -> Window:
    return Window(
        name=row.name,
        starts_at=row.starts_at,
        length=timedelta(minutes=row.minutes),
        weekly=row.repeats == MaintenanceWindow.Repeats.WEEKLY,
        service=row.service,
        node=row.node,
    )
