"""Counts look-ups where they happen: in the process, in bounded memory, written in batches off the request path.

A look-up pays for an append. A thread adds the appended up and writes them twice in `READ_FLUSH_SECONDS`: a process
killed with -9 loses what it counted since its last finished flush began, at most that many seconds of look-ups as long
as a flush takes less than half of them.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from threading import Event, Lock, Thread
from time import time
from typing import Final, TypeVar

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection, transaction
from django.utils import timezone

from api_service.models import DailyReads, LookupHour, LookupTime, TrackedKey
from api_service.services import counters, keys, metrics, warm_results, warm_statistics
from api_service.services.cache_service import APICacheService
from api_service.services.latencies import Way
from api_service.services.lookup_counts import MAX_IDENTIFIERS, Batch, Entry, Identity, Timed, by_way, times_of
from api_service.services.outcomes import Outcome

logger = logging.getLogger(__name__)

# Of one transaction: others wait for its rows that long
IDENTIFIERS_AT_ONCE = 5_000
# Appended look-ups that one caller adds up for all: half a millisecond, where the flushing thread is too slow
FOLD_AT = 500
# Appended look-ups at which all callers wait for the adding up
MAX_UNFOLDED = 5_000
# What a process that ends gives a database in trouble
LAST_SECONDS: Final = 3.0
# On a node, or on one that could not be listed: a key that expired or was removed was not what was read
THERE = {"state": [TrackedKey.State.ACTIVE.value, TrackedKey.State.UNKNOWN.value]}

T = TypeVar("T")


class ReadCounter:
    """One a process. The flushing thread starts with the first count, also in a forked child.

    `count` only appends to a deque, which is atomic by its documentation; a lock that each look-up took would cost
    several times that with eight threads. `_folding` guards the batch and the taking out, `_flushing` the writing.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        # One for each entry that was not timed, at most: it needs no bound of its own
        self._timed: deque[Timed] = deque()
        self._batch = Batch()
        self._folding = Lock()
        self._flushing = Lock()
        self._started = False
        self._thread: Thread | None = None
        self._failing = False
        self.stop = Event()

    def count(self, service: str, kind: str, identifier: str, outcome: Outcome, seconds: float | None = None) -> None:
        self._entries.append((service, kind, identifier, outcome, time(), seconds))
        if len(self._entries) >= FOLD_AT:
            self._make_room()
        if not self._started:
            self._start()

    def answered(self, service: str, way: Way, seconds: float) -> None:
        self._timed.append((service, way, seconds))

    def flush(self) -> int:
        """Write what was counted; the number of identifiers written. A failure keeps the rest for the next try.

        Written is what has been committed: call it outside of transactions. A connection that is lost amid a COMMIT
        leaves open whether it was; those counts are written again.
        """
        with self._flushing:
            with self._folding:
                self._fold()
                taken, self._batch = self._batch, Batch()
            waiting, now = deque(taken.parts(IDENTIFIERS_AT_ONCE)), timezone.now()
            try:
                written = self._write(waiting, now)
            finally:
                with self._folding:
                    for part in waiting:
                        self._batch.absorb(part)
            return written

    def add_up(self) -> None:
        """What was counted until now is in the metrics."""
        with self._folding:
            self._fold()

    def waiting(self) -> bool:
        """Whether anything that was counted has not been written; a flush under way counts as not written."""
        if not self._flushing.acquire(blocking=False):
            return True
        try:
            batch = self._batch
            return bool(self._entries or self._timed or batch.outcomes or batch.times or batch.dropped)
        finally:
            self._flushing.release()

    @property
    def failing(self) -> bool:
        """Whether the database did not take the last flush."""
        return self._failing

    def _make_room(self) -> None:
        """One caller adds up while the others go on, until there is no room: then they wait for it."""
        if self._folding.acquire(blocking=len(self._entries) >= MAX_UNFOLDED):
            try:
                self._fold()
            finally:
                self._folding.release()

    def _fold(self) -> None:
        entries, timed = _taken(self._entries), _taken(self._timed)
        times = times_of(entries)
        self._batch.fold(entries)
        for (service, _kind, _outcome), seconds in times.items():
            self._batch.fold_times(service, Way.CACHE, seconds)
        for (service, way), seconds in by_way(timed).items():
            self._batch.fold_times(service, way, seconds)
        metrics.looked_up(entries)
        metrics.took(times)

    def _write(self, waiting: deque[Batch], now: datetime) -> int:
        """Takes out of `waiting` what is settled. Identifiers written."""
        written = 0
        while waiting:
            try:
                write(waiting[0], now)
            except (DataError, IntegrityError):
                # No later try would fare better, and the others would wait behind it for ever
                logger.exception("%d read counts cannot be written and are given up", len(waiting[0].reads))
            except (DatabaseError, InterfaceError) as error:
                self._log_failure(error)
                return written
            else:
                written += len(waiting[0].reads)
                _log_dropped(waiting[0].dropped)
            waiting.popleft()
        self._failing = False
        return written

    def _log_failure(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("read counts wait in memory, the database does not take them: %s", error)
        self._failing = True

    def _start(self) -> None:
        with self._folding:
            if self._started:
                return
            self._started = True
            if settings.READ_FLUSH_SECONDS > 0:
                self._thread = Thread(target=self._run, name="read-counter", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # Twice an interval: what a kill loses was counted since the last flush began, and a flush takes its time
        while not self.stop.wait(settings.READ_FLUSH_SECONDS / 2):
            try:
                self.flush()
            except Exception:
                # The thread is not started again: it must outlive what nobody thought of
                logger.exception("read counts wait in memory")
            connection.close()  # this thread's own: held open it would outlive database restarts


def _taken(waiting: deque[T]) -> list[T]:
    """Only the holder of `_folding` takes out, so that as many as there are now will still be there."""
    take = waiting.popleft
    return [take() for _ in range(len(waiting))]


def _log_dropped(dropped: int) -> None:
    if dropped:
        logger.warning(
            "%d reads (beyond %d identifiers, or of very long ones) were counted by outcome only",
            dropped,
            MAX_IDENTIFIERS,
        )


def write(batch: Batch, now: datetime) -> None:
    """One transaction; `now` names the hour and the day that the counts belong to.

    Rows are locked in the order of their keys, table by table: two that write wait for each other in no circle.
    """
    hour, day = now.replace(minute=0, second=0, microsecond=0), timezone.localdate(now)
    outcomes = [
        (hour, service, kind, outcome.value, n) for (service, kind, outcome), n in sorted(batch.outcomes.items())
    ]
    times = [(hour, service, way.value, bound, n) for (service, way, bound), n in sorted(batch.times.items())]
    last_read = {identity: _aware(at) for identity, at in batch.last_read.items()}
    reads = [(*identity, day, number, last_read[identity]) for identity, number in sorted(batch.reads.items())]
    tracked = sorted(_of_keys(batch.reads, last_read))
    with transaction.atomic():
        counters.add(LookupHour, ("hour", "service", "kind", "outcome"), "count", outcomes)
        counters.add(LookupTime, ("hour", "service", "way", "bound"), "count", times)
        counters.add(DailyReads, ("service", "kind", "identifier", "day"), "reads", reads, latest=("last_read_at",))
        warm_statistics.observe(batch.last_read)
        warm_results.note_reads(batch.last_read)
        counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", tracked, only=THERE)


def _of_keys(
    reads: Mapping[Identity, int], last_read: Mapping[Identity, datetime]
) -> Iterator[tuple[str, int, datetime]]:
    """Rows for the keys that the cache has them under, each node's copy of one gets all of its reads."""
    prefix_length = len(APICacheService().wire_prefix)
    for identity, number in reads.items():
        if name := _key_of(identity, prefix_length):
            yield name, number, last_read[identity]


def _key_of(identity: Identity, prefix_length: int) -> str | None:
    service, kind, identifier = identity
    try:
        return keys.normalize(keys.service_key(service, f"{kind}_{identifier}"), prefix_length)
    except ValueError:
        return None  # no service of ours has such a name, and so no key


def _aware(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_default_timezone())


_counter = ReadCounter()


def count(service: str, kind: str, identifier: str, outcome: Outcome, seconds: float | None = None) -> None:
    """Count one look-up; costs an append. `seconds`: what it took, where that is known already."""
    _counter.count(service, kind, identifier, outcome, seconds)


def answered(service: str, way: Way, seconds: float) -> None:
    """Time one look-up that was counted without its time."""
    _counter.answered(service, way, seconds)


def add_up() -> None:
    """Bring this process's metrics up to date."""
    _counter.add_up()


def is_failing() -> bool:
    """Whether this process's counts wait because the database does not take them."""
    return _counter.failing


def flush_now() -> int:
    """Write this process's counts now: at its end, and before something reads them."""
    return _counter.flush()


def flush_at_end(seconds: float = LAST_SECONDS) -> None:
    """`flush_now` for a process that ends: a database that hangs must not keep it from that."""
    flushing = Thread(target=_flush_and_close, name="last-reads", daemon=True)
    try:
        flushing.start()
        flushing.join(seconds)
    except RuntimeError:
        # Python 3.12 and later start no thread any more when the interpreter itself ends
        flush_now()
    if _counter.waiting():
        logger.error("the process ends, its last read counts were not written within %g s", seconds)


def _flush_and_close() -> None:
    try:
        flush_now()
    finally:
        connection.close()


def _forget_in_child() -> None:
    """The parent's counts are the parent's to write, its thread and locks do not exist here."""
    global _counter  # noqa: PLW0603 - one counter a process
    _counter = ReadCounter()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(flush_at_end)
