"""A row a schedule in the database: what `check_beat` and /health/beat go by.

Written on a thread of its own: a frozen database would hold the run before it begins, until it is killed, and keep
everybody else from hearing that it failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from django.utils import timezone

from api_service.services import schedule_runs
from api_service.services.bounded import DatabaseThread
from workers.watch import Run

logger = logging.getLogger(__name__)

WRITE_SECONDS = 2.0

_thread = DatabaseThread("schedule-runs")


class Rows:
    def wanted(self) -> bool:
        return True

    def started(self, run: Run) -> None:
        _write(run, partial(schedule_runs.started, run.schedule, run.task, timezone.now()))

    def succeeded(self, run: Run) -> None:
        _write(run, partial(schedule_runs.succeeded, run.schedule, run.task, timezone.now(), run.seconds))

    def failed(self, run: Run, error: str) -> None:
        _write(run, partial(schedule_runs.failed, run.schedule, run.task, timezone.now(), run.seconds, error))

    def close(self) -> None:
        _thread.stop(WRITE_SECONDS)


def _write(run: Run, write: Callable[[], None]) -> None:
    """In the order of the events. What takes longer is left behind, and written when the database answers again."""
    try:
        _thread.submit(write).result(WRITE_SECONDS)
    except TimeoutError:
        logger.warning("%s: written down when the database answers, not within %g s", run.schedule, WRITE_SECONDS)
