"""The Django app of what runs periodically and who is told."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WorkersConfig(AppConfig):
    name = "workers"
    verbose_name = _("Workers")

    def ready(self) -> None:
        """In every process: Beat sends, a worker or the single process runs, the admin may do either."""
        from workers import (
            checks,  # noqa: F401 - registers them
            database_metrics,
            metrics_port,  # noqa: F401 - connects to Celery's signals
            task_metrics,  # noqa: F401 - likewise
        )
        from workers.alerts import advice
        from workers.watch import signals

        signals.connect()
        database_metrics.register_all()
        advice.register()
