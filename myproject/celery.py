"""The Celery app: everything it needs is in Django's settings under CELERY_*."""

from __future__ import annotations

import gc
import logging.config
import os
import sys
import time
from typing import Any

from celery import Celery
from celery.signals import before_task_publish, celeryd_init, setup_logging, task_postrun, task_prerun, worker_init

from api_service import request_ids
from api_service.services.task_sending import SENT_AT

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Celery("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers"])

before_task_publish.connect(request_ids.send_along, dispatch_uid="request-id")
task_prerun.connect(request_ids.begin_task, dispatch_uid="request-id")
task_postrun.connect(request_ids.end_task, dispatch_uid="request-id")


@setup_logging.connect
def use_the_project_logging(**_kwargs: Any) -> None:
    """Celery's own handlers would write secrets in clear: ours redact."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@before_task_publish.connect
def stamp_the_time(headers: dict[str, Any], **_kwargs: Any) -> None:
    """A message carries no time of its own, and the monitor tells how long the oldest of a queue has waited."""
    headers[SENT_AT] = time.time()


@celeryd_init.connect
def refuse_settings_that_fail_at_night(**_kwargs: Any) -> None:
    """A worker with a system check error would watch and warm what nobody reads; Celery runs the checks and goes on."""
    from django.core.checks import ERROR, run_checks

    errors = [message for message in run_checks() if message.level >= ERROR]
    if errors:
        sys.exit("\n".join(f"worker not started: {error.msg} {error.hint or ''} ({error.id})" for error in errors))


@worker_init.connect
def leave_what_is_loaded_alone(**_kwargs: Any) -> None:
    """Modules and models are never garbage: to search them again and again costs a warm-up a twentieth of its time."""
    gc.collect()
    gc.freeze()
