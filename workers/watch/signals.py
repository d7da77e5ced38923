"""Follows every run that Beat sends through Celery's signals. Runs started by hand are nobody's business here.

django-celery-beat puts the schedule's name into the message's headers; what comes without one was not sent by Beat.
Its rows are followed, too: since when each is on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Any

from celery.app.task import Task
from celery.signals import (
    before_task_publish,
    task_failure,
    task_prerun,
    task_success,
    worker_process_shutdown,
    worker_shutdown,
)
from django.db import Error as DatabaseTrouble
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from api_service.services import schedule_runs
from workers.watch import Observer, Run, observers

logger = logging.getLogger(__name__)

HEADER = "periodic_task_name"
_STARTED = "watch_started"

watching = lru_cache(maxsize=1)(observers)


def connect() -> None:
    """Once a process; a second time changes nothing."""
    before_task_publish.connect(_sent, dispatch_uid="watch-sent", weak=False)
    post_save.connect(_switched, PeriodicTask, dispatch_uid="watch-switched", weak=False)
    post_delete.connect(_removed, PeriodicTask, dispatch_uid="watch-removed", weak=False)
    task_prerun.connect(_started, dispatch_uid="watch-started", weak=False)
    task_success.connect(_succeeded, dispatch_uid="watch-succeeded", weak=False)
    task_failure.connect(_failed, dispatch_uid="watch-failed", weak=False)
    # Pool processes end without atexit
    worker_process_shutdown.connect(close, dispatch_uid="watch-closed", weak=False)
    worker_shutdown.connect(close, dispatch_uid="watch-closed", weak=False)


def _sent(sender: str = "", headers: Mapping[str, Any] | None = None, **_kwargs: Any) -> None:
    """In Beat, before the broker has it: a run that never gets there is one that did not succeed."""
    if not (name := (headers or {}).get(HEADER)):
        return
    try:
        schedule_runs.sent(name, sender, timezone.now())
    except DatabaseTrouble:
        logger.warning("%s: not written down as sent", name, exc_info=True)


def _switched(instance: PeriodicTask, **_kwargs: Any) -> None:
    """Beat writes every row at each start, before it can crash; the admin writes one that is switched."""
    if instance.last_run_at is None:
        schedule_runs.switched(instance.name, instance.task, timezone.now(), on=instance.enabled)


def _removed(instance: PeriodicTask, **_kwargs: Any) -> None:
    schedule_runs.switched(instance.name, instance.task, timezone.now(), on=False)


def _started(sender: Task[..., Any], task_id: str, **_kwargs: Any) -> None:
    setattr(sender.request, _STARTED, monotonic())
    _tell(sender, task_id, lambda observer, run: observer.started(run))


def _succeeded(sender: Task[..., Any], **_kwargs: Any) -> None:
    _tell(sender, sender.request.id, lambda observer, run: observer.succeeded(run))


def _failed(sender: Task[..., Any], task_id: str, exception: BaseException, **_kwargs: Any) -> None:
    error = f"{type(exception).__name__}: {exception}"
    _tell(sender, task_id, lambda observer, run: observer.failed(run, error))


def close(**_kwargs: object) -> None:
    for observer in watching():
        observer.close()


def _tell(task: Task[..., Any], task_id: str | None, what: Callable[[Observer, Run], None]) -> None:
    """An observer in trouble costs neither the task nor the other observers anything."""
    name = getattr(task.request, HEADER, None) or (task.request.headers or {}).get(HEADER)
    if not name or task_id is None:
        return
    started = getattr(task.request, _STARTED, None)
    run = Run(name, task.name, task_id, None if started is None else monotonic() - started)
    for observer in watching():
        try:
            what(observer, run)
        except Exception:
            logger.exception("%s: %s has failed", name, type(observer).__name__)
