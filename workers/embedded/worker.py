"""The Celery worker as a part: all queues, a pool of threads."""

from __future__ import annotations

import socket
from typing import Any

from celery import Celery

from workers.embedded.part import Part
from workers.schedules import QUEUES

# A warm-up, an inventory and a clean-up at the same time still leave health checks and alerts room
THREADS = 6


class Worker(Part):
    """Its stop waits for the running tasks; what was not begun stays with the broker."""

    name = "worker"
    patience = 30.0

    def __init__(self, app: Celery) -> None:
        super().__init__()
        self._app = app

    def serve(self) -> None:
        from celery.worker import WorkController

        controller = WorkController(
            app=self._app,
            hostname=f"all@{socket.gethostname()}",
            pool_cls="threads",
            concurrency=THREADS,
            queues=list(QUEUES),
            ready_callback=self._on_ready,
            # The event loop of kombu is one per process, and Flower and the web would share it
            use_eventloop=False,
            # No other worker to look for: saves a second at the start
            without_mingle=True,
            without_gossip=True,
        )
        controller.start()

    def stop(self) -> None:
        from celery.worker import state

        # 0 is the exit code that Celery reads here, not "no"; its stub knows only the value at import
        state.should_stop = 0  # type: ignore[assignment]
        if self._app.conf.broker_url.startswith("memory:") and self.is_alive:
            self._end_its_waiting()

    def _end_its_waiting(self) -> None:
        """It waits 2 s at a time for messages, once more after it saw the stop: two messages spare both waits."""
        for _ in range(2):
            self._app.control.broadcast("ping")

    def _on_ready(self, _consumer: Any) -> None:
        self.ready()
