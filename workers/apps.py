"""The Django app of what runs periodically and who is told."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WorkersConfig(AppConfig):
    name = "workers"
    verbose_name = _("Workers")

    def ready(self) -> None:
        from workers import (
            database_metrics,
            metrics_port,  # noqa: F401 - connects to Celery's signals
            task_metrics,  # noqa: F401 - likewise
        )

        database_metrics.register_all()
