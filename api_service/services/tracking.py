"""Counts look-ups where they happen: in the process, in bounded memory, written in batches off the request path.

A process killed with -9 loses what it counted since its last flush, at most `READ_FLUSH_SECONDS` of look-ups.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock, Thread
from time import time

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from api_service.models import DailyReads, LookupHour, TrackedKey
from api_service.services import counters, keys
from api_service.services.outcomes import Outcome

logger = logging.getLogger(__name__)

# Distinct identifiers between two flushes; more are counted by outcome only
MAX_IDENTIFIERS = 50_000
LONGEST_IDENTIFIER = 250  # of the tables: one longer would keep its whole batch from being written

Identity = tuple[str, str, str]  # service, kind, identifier


@dataclass
class Batch:
    """What was counted since the last flush."""

    reads: Counter[Identity] = field(default_factory=Counter)
    last_read: dict[Identity, float] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str, Outcome]] = field(default_factory=Counter)
    dropped: int = 0

    def add(self, identity: Identity, outcome: Outcome, now: float) -> None:
        self.outcomes[identity[0], identity[1], outcome] += 1
        if self._has_room(identity):
            self.reads[identity] += 1
            self.last_read[identity] = now
        else:
            self.dropped += 1

    def absorb(self, older: Batch) -> None:
        """Take back what could not be written."""
        self.outcomes.update(older.outcomes)
        for identity, reads in older.reads.items():
            if self._has_room(identity):
                self.reads[identity] += reads
                self.last_read.setdefault(identity, older.last_read[identity])
            else:
                self.dropped += reads
        self.dropped += older.dropped

    def _has_room(self, identity: Identity) -> bool:
        if identity in self.last_read:
            return True
        return len(self.last_read) < MAX_IDENTIFIERS and len(identity[2]) <= LONGEST_IDENTIFIER


class ReadCounter:
    """One a process. The flushing thread starts with the first count, also in a forked child."""

    def __init__(self) -> None:
        self._batch = Batch()
        self._lock = Lock()
        self._flushing = Lock()
        self._thread: Thread | None = None
        self._failing = False
        self.stop = Event()

    def count(self, service: str, kind: str, identifier: str, outcome: Outcome) -> None:
        with self._lock:
            self._batch.add((service, kind, identifier), outcome, time())
        if self._thread is None:
            self._start()

    def flush(self) -> int:
        """Write what was counted; the number of identifiers written. A failure keeps the counts for the next try."""
        with self._flushing:
            with self._lock:
                batch, self._batch = self._batch, Batch()
            if not batch.outcomes:
                return 0
            try:
                write(batch, timezone.now())
            except (DatabaseError, InterfaceError) as error:
                with self._lock:
                    self._batch.absorb(batch)
                self._log_failure(error)
                return 0
            self._failing = False
            if batch.dropped:
                logger.warning(
                    "%d reads (beyond %d identifiers, or of very long ones) were counted by outcome only",
                    batch.dropped,
                    MAX_IDENTIFIERS,
                )
            return len(batch.reads)

    def _log_failure(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("read counts wait in memory, the database does not take them: %s", error)
        self._failing = True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and settings.READ_FLUSH_SECONDS > 0:
                self._thread = Thread(target=self._run, name="read-counter", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self.stop.wait(settings.READ_FLUSH_SECONDS):
            try:
                self.flush()
            except Exception:
                # The thread is not started again: it must outlive what nobody thought of
                logger.exception("read counts of this interval were lost")
            connection.close()  # this thread's own: held open it would outlive database restarts


def write(batch: Batch, now: datetime) -> None:
    """One transaction; `now` names the hour and the day that the counts belong to."""
    hour, day = now.replace(minute=0, second=0, microsecond=0), timezone.localdate(now)
    reads = [
        (*identity, day, count, _aware(batch.last_read[identity])) for identity, count in sorted(batch.reads.items())
    ]
    outcomes = [
        (hour, service, kind, outcome.value, n) for (service, kind, outcome), n in sorted(batch.outcomes.items())
    ]
    with transaction.atomic():
        counters.add(LookupHour, ("hour", "service", "kind", "outcome"), "count", outcomes)
        counters.add(DailyReads, ("service", "kind", "identifier", "day"), "reads", reads, latest=("last_read_at",))
        _mark_tracked(batch)


def _mark_tracked(batch: Batch) -> None:
    """Rows are locked in the order of their keys, as `track_keys` does: neither waits for what the other holds."""
    names = {keys.service_key(i[0], f"{i[1]}_{i[2]}"): i for i in batch.reads}
    rows = [(name, batch.reads[names[name]], _aware(batch.last_read[names[name]])) for name in sorted(names)]
    counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", rows)


def _aware(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_default_timezone())


_counter = ReadCounter()


def count(service: str, kind: str, identifier: str, outcome: Outcome) -> None:
    """Count one look-up; costs a dictionary update."""
    _counter.count(service, kind, identifier, outcome)


def flush_now() -> int:
    """Write this process's counts now: at its end, and before something reads them."""
    return _counter.flush()


def _forget_in_child() -> None:
    """The parent's counts are the parent's to write, its thread and locks do not exist here."""
    global _counter  # noqa: PLW0603 - one counter a process
    _counter = ReadCounter()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(flush_now)
