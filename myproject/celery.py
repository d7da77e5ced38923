"""The Celery app: everything it needs is in Django's settings under CELERY_*."""

from __future__ import annotations

import gc
import logging.config
import os
import sys
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Celery("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers"])


@setup_logging.connect
def use_the_project_logging(**_kwargs: Any) -> None:
    """Celery's own handlers would write secrets in clear: ours redact."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


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
