"""Asks workers to fetch anew what callers were shown an old answer of: one task for many, one at a time for each.

A look-up pays for putting a name into a dict. A thread gathers what came within a moment, marks it in the cache, so
that no other process asks for the same, and sends it to the broker, which may be slow or down.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from threading import Lock, Thread
from time import monotonic, sleep

from api_service.services import envelope, keys, task_sending
from api_service.services.backends.base import LOCK_PREFIX
from api_service.services.bounded import OneAProcess
from api_service.services.cache_service import APICacheService
from api_service.services.subjects import Subject

logger = logging.getLogger(__name__)

TASK = "workers.tasks.refresh_answers"
# A collection call of the provider
BATCH = 100
GATHER_SECONDS = 0.05
# A refresh that no worker began by then is asked for again by whoever is shown the old answer next
ASKED_SECONDS = 60
# Within this process the same is not even marked again
REMEMBERED_SECONDS = 5.0
MOST_WAITING = 10_000


class Refreshes(OneAProcess):
    def begin(self) -> None:
        self._lock = Lock()
        self._waiting: dict[Subject, None] = {}
        self._remembered: dict[Subject, float] = {}
        self._sending = False
        self._broker_down = False

    def ask(self, subjects: Iterable[Subject], now: float) -> None:
        """Beyond `MOST_WAITING` nothing is taken: the next caller asks again."""
        with self._lock:
            for subject in subjects:
                if self._remembered.get(subject, 0.0) <= now and len(self._waiting) < MOST_WAITING:
                    self._remembered[subject] = now + REMEMBERED_SECONDS
                    self._waiting[subject] = None
            start = bool(self._waiting) and not self._sending
            self._sending = self._sending or start
        if start:
            self._start()

    def _start(self) -> None:
        """A process that can have no more threads shows old answers on, and asks again with the next."""
        try:
            Thread(target=self._send_all, name="refreshes", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._sending = False
            logger.warning("old answers are shown and not refreshed: %s", error)

    def _send_all(self) -> None:
        try:
            while waiting := self._taken():
                self._send(waiting)
        except BaseException:
            with self._lock:
                self._sending = False
            raise

    def _taken(self) -> list[Subject]:
        """What has come within a moment; nothing more ends the thread, and the next to ask starts another one."""
        sleep(GATHER_SECONDS)
        with self._lock:
            waiting, self._waiting = list(self._waiting), {}
            if not waiting:
                self._sending = False
            if len(self._remembered) > MOST_WAITING:
                now = monotonic()
                self._remembered = {s: until for s, until in self._remembered.items() if until > now}
            return waiting

    def _send(self, waiting: Sequence[Subject]) -> None:
        cache = APICacheService()
        marks = {_mark(cache, subject): subject for subject in waiting}
        # On a node that is down there is no answer either that anybody would be shown
        got, _unreachable = cache.cache.claim_many(marks, envelope.claim(""), ASKED_SECONDS)
        for (service, kind), names in _grouped([marks[mark] for mark in got]).items():
            for start in range(0, len(names), BATCH):
                self._send_batch(cache, service, kind, names[start : start + BATCH])

    def _send_batch(self, cache: APICacheService, service: str, kind: str, names: Sequence[str]) -> None:
        try:
            task_sending.send(
                TASK, {"service": service, "kind": kind, "identifiers": list(names)}, expires=ASKED_SECONDS
            )
            self._broker_down = False
        except task_sending.BrokerDown as error:
            if not self._broker_down:
                logger.warning("old answers are shown and not refreshed, the broker does not take the task: %s", error)
            self._broker_down = True
            cache.cache.remove_many(_mark(cache, Subject(service, kind, name)) for name in names)


def done(cache: APICacheService, subjects: Iterable[Subject]) -> None:
    """These are fresh: once they are old again, they are asked for again at once."""
    cache.cache.remove_many(_mark(cache, subject) for subject in subjects)


def _mark(cache: APICacheService, subject: Subject) -> str:
    return keys.normalize(f"{LOCK_PREFIX}refresh.{subject.key}", len(cache.wire_prefix))


def _grouped(subjects: Iterable[Subject]) -> dict[tuple[str, str], list[str]]:
    grouped: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for subject in subjects:
        grouped[subject.service, subject.kind].append(subject.identifier)
    return grouped


_refreshes = Refreshes()


def ask(subjects: Iterable[Subject]) -> None:
    """Have these fetched anew soon, by a worker. Costs a look-up next to nothing, whatever state the broker is in."""
    if wanted := list(subjects):
        _refreshes.ask(wanted, monotonic())
