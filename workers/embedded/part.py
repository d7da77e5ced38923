"""A part of the single process: one thread that serves until it is told to stop."""

from __future__ import annotations

import logging
import threading

from django.db import connections

logger = logging.getLogger(__name__)


class Part:
    """A subclass says what it is called, how it serves, and how it is asked to stop.

    The thread is a daemon: a part that hangs cannot keep the process from ending, `join` tells how it went.
    """

    name: str
    # Seconds that `stop` may take before the process goes on without it
    patience: float = 10.0

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def serve(self) -> None:
        """Calls `self.ready()` once it serves; returns after `stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Asks `serve` to return; does not wait for it. Safe to call twice."""
        raise NotImplementedError

    def ready(self) -> None:
        self._ready.set()

    def start(self) -> None:
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float) -> bool:
        """Whether it ended in time."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.serve()
        except BaseException:  # SystemExit too: the process sees a dead part and stops the others
            logger.exception("%s failed", self.name)
        finally:
            connections.close_all()
