"""A row a schedule in the database: what `check_beat` and /health/beat go by."""

from __future__ import annotations

from django.utils import timezone

from api_service.services import schedule_runs
from workers.watch import Run


class Rows:
    def wanted(self) -> bool:
        return True

    def started(self, run: Run) -> None:
        schedule_runs.started(run.schedule, run.task, timezone.now())

    def succeeded(self, run: Run) -> None:
        schedule_runs.succeeded(run.schedule, run.task, timezone.now(), run.seconds)

    def failed(self, run: Run, error: str) -> None:
        schedule_runs.failed(run.schedule, run.task, timezone.now(), run.seconds, error)

    def close(self) -> None:
        """Each row is written at once."""
