"""The Celery app: everything it needs is in Django's settings under CELERY_*."""

from __future__ import annotations

import logging.config
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Celery("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers"])


@setup_logging.connect
def use_the_project_logging(**_kwargs: Any) -> None:
    """Celery's own handlers would write secrets in clear: ours redact."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)
