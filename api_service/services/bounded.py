"""Database calls that nobody waits for longer than they want to.

No time-out of a socket or a statement bounds what a caller waits: a server may be frozen, a table locked, a SQLite
file held by another writer. So the call runs on a thread of its own, and its caller leaves when the time is over.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

from django.db import InterfaceError, OperationalError, connection

from api_service.sentences import sentence
from api_service.services.beside import keep

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A connection that nobody used for so long is given back to the server
IDLE_SECONDS = 60.0
# While nobody waits, a call is tried this often to see whether the database is back
PROBE_SECONDS = 1.0
TOO_LONG = sentence("the database did not answer within %(seconds)s s")


class NoAnswerInTime(OperationalError):
    """The database did not answer within the caller's time, or is known not to."""


class OneAProcess:
    """What a forked child must not share with its parent: threads, locks, what waits to be written."""

    def __init__(self) -> None:
        self.begin()
        _everyone.add(self)

    def begin(self) -> None:
        """Make all state anew."""
        raise NotImplementedError


_everyone: WeakSet[OneAProcess] = WeakSet()


def _begin_in_child() -> None:
    for each in list(_everyone):
        each.begin()


os.register_at_fork(after_in_child=_begin_in_child)


class DatabaseThread(OneAProcess):
    """Calls, one after the other, on a thread and a database connection of their own. It starts with the first."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def begin(self) -> None:
        self._lock = Lock()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, act: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            self._jobs.put((act, future))
            if self._thread is None:
                self._thread = Thread(target=_work, args=(self._jobs,), name=self.name, daemon=True)
                self._thread.start()
        return future

    def stop(self, seconds: float) -> None:
        """End the thread and its connection after what is queued; a call that hangs is left behind."""
        with self._lock:
            thread, jobs = self._thread, self._jobs
            self._thread, self._jobs = None, SimpleQueue()
        if thread is not None:
            jobs.put(None)
            thread.join(seconds)


def stop_threads(seconds: float) -> None:
    """End all threads of this process with their connections; those that hang are left behind after so long."""
    ends_at = monotonic() + seconds
    for each in list(_everyone):
        if isinstance(each, DatabaseThread):
            each.stop(max(0.0, ends_at - monotonic()))


def _work(jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]) -> None:
    while True:
        try:
            job = jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            connection.close()
            continue
        if job is None:
            break
        _run(*job)
    connection.close()


def _run(act: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    keep(future, act)


def with_reconnect(act: Callable[[], T]) -> T:
    """`act`, once more on a new connection when the one at hand has died: its server may have restarted since."""
    try:
        return act()
    except (OperationalError, InterfaceError):
        if connection.connection is None or connection.is_usable():
            raise
        connection.close()
        return act()


class Breaker(OneAProcess):
    """Open from a call that failed or took too long until one is seen to end in time: meanwhile nobody waits.

    `also` are opened together with this one: who has waited once for a frozen server shall not wait again.
    """

    def __init__(self, what: str, *also: Breaker) -> None:
        self.what = what
        self.also = also
        super().__init__()

    def begin(self) -> None:
        self.is_open = False

    def trip(self, why: object) -> None:
        if not self.is_open:
            logger.warning("%s: nobody waits for the database until it answers again: %s", self.what, why)
        self.is_open = True
        for other in self.also:
            other.is_open = True

    def seen(self, took: float, limit: float) -> None:
        """A call has ended well after `took` seconds."""
        if self.is_open and took <= limit:
            self.is_open = False
            logger.warning("%s: the database answers again", self.what)


def tripped() -> list[str]:
    """What this process does not wait for at present."""
    return sorted({each.what for each in list(_everyone) if isinstance(each, Breaker) and each.is_open})


class BoundedCalls(OneAProcess):
    """Calls whose callers have a limit. The first that takes longer opens the breaker; the next cost nothing."""

    def __init__(self, name: str, breaker: Breaker) -> None:
        self.breaker = breaker
        self.thread = DatabaseThread(name)
        super().__init__()

    def begin(self) -> None:
        self._probe: Future[Any] | None = None
        self._probed_at = 0.0

    def call(self, act: Callable[[], T], seconds: float) -> T:
        """The result of `act`, or its own error; NoAnswerInTime after `seconds`, or at once while in trouble."""
        if self.breaker.is_open:
            self._see_whether_it_is_back(act, seconds)
            raise NoAnswerInTime(sentence("the database has not answered yet since its last failure"))
        future = self.thread.submit(lambda: self._watched(act, seconds))
        try:
            return future.result(seconds)
        except TimeoutError as error:
            future.cancel()
            self.breaker.trip(f"no answer within {seconds:g} s")
            raise NoAnswerInTime(TOO_LONG % {"seconds": f"{seconds:g}"}) from error

    def _see_whether_it_is_back(self, act: Callable[[], object], seconds: float) -> None:
        """One call at a time that nobody waits for: its end in time closes the breaker."""
        now = monotonic()
        if (self._probe is None or self._probe.done()) and now - self._probed_at >= PROBE_SECONDS:
            self._probed_at = now
            self._probe = self.thread.submit(lambda: self._watched(act, seconds))

    def _watched(self, act: Callable[[], T], seconds: float) -> T:
        started = monotonic()
        try:
            result = with_reconnect(act)
        except (OperationalError, InterfaceError) as error:
            self.breaker.trip(error)
            raise
        except Exception:
            # It has answered, if not what was hoped for
            self.breaker.seen(monotonic() - started, seconds)
            raise
        self.breaker.seen(monotonic() - started, seconds)
        return result


# Who waited for a read shall not wait for the ledger, nor who waited for the ledger to keep an answer. Not the other
# way round: a table that only cannot be written must not cost the free answers in it.
answer_writes = Breaker(sentence("answers"))
ledger_writes = Breaker(sentence("ledger"), answer_writes)
answer_reads = Breaker(sentence("stored answers"), ledger_writes, answer_writes)
