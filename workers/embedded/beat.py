"""Celery Beat as a part, with the schedules in the database."""

from __future__ import annotations

from celery import Celery

from workers.embedded.part import Part


class Beat(Part):
    """What `celery.beat.EmbeddedService(thread=True)` runs in a thread of its own, here in one that is watched."""

    name = "beat"
    patience = 5.0

    def __init__(self, app: Celery) -> None:
        super().__init__()
        from celery.beat import Service

        # It sleeps at most this long between two looks, so it stops within a second
        self._service = Service(app, max_interval=1, scheduler_cls=app.conf.beat_scheduler)

    def serve(self) -> None:
        self._sync_schedules()
        self.ready()
        # Writes back what it ran when it is stopped
        self._service.start()

    def stop(self) -> None:
        self._service.stop()

    def _sync_schedules(self) -> None:
        """The first use of `scheduler` reads the code's table into the database."""
        _ = self._service.scheduler.schedule
