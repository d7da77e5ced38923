"""What a health run reads around the cache: broker, workers, providers, database, inventories, old answers.

All readings run side by side, each on a thread and database connections of its own; a run waits for them no longer
than it wants to, whatever hangs. A new reading is one file and one row of TABLE.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final, cast

from celery import Task
from celery._state import get_current_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from api_service.sentences import sentence
from api_service.services.around.reading import JSONDict, Moment, Reading, Seen, Unjudged
from api_service.services.backends.base import NO_ANSWER, error_text
from api_service.services.beside import keep
from api_service.services.bounded import OneAProcess
from api_service.services.health_rules import Finding
from api_service.services.redaction import scrub

logger = logging.getLogger(__name__)

TABLE: Final[dict[str, str]] = {
    "beat": "api_service.services.around.beat.read",
    "broker": "api_service.services.around.broker.read",
    "workers": "api_service.services.around.workers.read",
    "providers": "api_service.services.around.providers.read",
    "database": "api_service.services.around.database.read",
    "tracking": "api_service.services.around.tracking.read",
    "stale": "api_service.services.around.stale.read",
}

HANGS = sentence("still waits since an earlier run")


@dataclass(frozen=True, slots=True)
class Around:
    """Facts by reading, and what follows from them. `unknown` is neither good nor bad: it stays as it was.

    A reading that brings nothing is a finding of its own: what stays unknown run after run has to be told.
    """

    facts: JSONDict
    findings: list[Finding]
    unknown: frozenset[Unjudged]


class UnderWay:
    """The readings of one run. They began with it; `collect` waits for what is left of the time."""

    def __init__(self, moment: Moment, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = monotonic() + seconds
        self._readings = {name: reading(name) for name in TABLE}
        self._futures = {name: _start(name, partial(each, moment), seconds) for name, each in self._readings.items()}

    def collect(self) -> Around:
        seen = {name: self._seen(name) for name in self._readings}
        return Around(
            # A driver's error may name the address that it was given, password and all
            facts={name: scrub(one.facts) for name, one in seen.items()},
            findings=[finding for one in seen.values() for finding in one.findings],
            unknown=frozenset().union(*(one.unknown for one in seen.values())),
        )

    def _seen(self, name: str) -> Seen:
        future = self._futures[name]
        if future is None:
            return self._readings[name].blind(name, HANGS)
        try:
            error = future.exception(max(0.0, self._ends_at - monotonic()))
        except TimeoutError:
            logger.warning("health: no reading of %s within %g s", name, self._seconds)
            return self._readings[name].blind(name, NO_ANSWER % {"seconds": f"{self._seconds:g}"})
        if error is None:
            return future.result()
        # The other readings count all the same, and without a sample nobody would be told of anything
        logger.error("health: %s could not be read", name, exc_info=error)
        return self._readings[name].blind(name, error_text(error))


def begin(now: datetime) -> UnderWay:
    """Start all readings. With HEALTH_AROUND_SECONDS=0 they are done one after the other in the caller's thread."""
    return UnderWay(Moment(now, own_queue()), settings.HEALTH_AROUND_SECONDS)


def read(now: datetime) -> Around:
    return begin(now).collect()


def reading(name: str) -> Reading:
    return cast(Reading, import_string(TABLE[name]))


def own_queue() -> str:
    """The queue of the task that runs here: whatever else is down, it has a worker."""
    task = cast("Task[Any, Any] | None", get_current_task())
    request = None if task is None else task.request
    if request is None or request.called_directly or request.is_eager:
        return ""
    return str((request.delivery_info or {}).get("routing_key") or "")


class _LastOnes(OneAProcess):
    """The latest call of each reading: one that hangs is not started again, or each run would leave a thread behind."""

    def begin(self) -> None:
        self._lock = Lock()
        self._calls: dict[str, Future[Seen]] = {}

    def start(self, name: str, act: Callable[[], Seen]) -> Future[Seen] | None:
        """None while the last one has not ended."""
        future: Future[Seen] = Future()
        with self._lock:
            if name in self._calls and not self._calls[name].done():
                return None
            self._calls[name] = future
        Thread(target=_run, args=(partial(_and_close, act), future), name=f"around-{name}", daemon=True).start()
        return future


_last_ones = _LastOnes()


def _start(name: str, act: Callable[[], Seen], seconds: float) -> Future[Seen] | None:
    if seconds > 0:
        return _last_ones.start(name, act)
    future: Future[Seen] = Future()
    _run(act, future)
    return future


def _run(act: Callable[[], Seen], future: Future[Seen]) -> None:
    keep(future, act)
    if isinstance(error := future.exception(), SoftTimeLimitExceeded):
        raise error  # the caller's own thread has to end


def _and_close(act: Callable[[], Seen]) -> Seen:
    try:
        return act()
    finally:
        connections.close_all()
