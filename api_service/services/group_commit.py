"""Group commit: what many threads hand over is written by one, as much at once as there is.

While one batch is being written the next one fills: the more there is to do, the fewer transactions each item costs.
What cannot be written stays in memory, up to a limit, and is tried again until the database takes it. A process that
is killed loses only what it was told is not written yet.
"""

from __future__ import annotations

import atexit
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from threading import Condition, Event
from time import monotonic
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from django.db import DatabaseError, InterfaceError

from api_service.services.bounded import Breaker, DatabaseThread, OneAProcess, stop_threads, with_reconnect

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RETRY_SECONDS = 1.0
# What a process that ends gives a database in trouble, for all its groups together
LAST_SECONDS = 3.0


class _Batch(Generic[K, V]):
    """`fate` is done once the batch is written, or was tried to be; its result are the keys that were given up."""

    def __init__(self) -> None:
        self.items: OrderedDict[K, V] = OrderedDict()
        self.fate: Future[frozenset[K]] = Future()


class GroupCommit(OneAProcess, Generic[K, V]):
    """`write` stores a batch, all or nothing or so that it can be repeated; it runs on a thread of its own.

    `merge` makes one of an older and a newer value of the same key. Beyond `most` items the oldest are dropped. An item
    that `write` fails with, by no fault of the database, is given up: the others of its batch are written without it.
    `linger`: seconds for which a first item waits for more, where nobody waits for it to be written.
    """

    def __init__(
        self,
        breaker: Breaker,
        write: Callable[[Mapping[K, V]], None],
        merge: Callable[[V, V], V],
        most: int,
        linger: Callable[[], float] = float,
    ) -> None:
        self.breaker = breaker
        self._write = write
        self._merge = merge
        self._most = most
        self._linger = linger
        self._thread = DatabaseThread(f"{breaker.what}-writer")
        super().__init__()
        _groups.add(self)

    def begin(self) -> None:
        self._changed = Condition()
        self._hurry = Event()
        self._open: _Batch[K, V] = _Batch()
        self._writing: Mapping[K, V] = {}
        self._busy = False
        self._dropped = 0
        self._lost = 0
        self._limit = float("inf")

    def hand_over(self, items: Mapping[K, V], seconds: float) -> bool:
        """Whether they are written, as known after `seconds` at most; what is not yet stays here and will be.

        While the database is in trouble the answer is False at once.
        """
        self._limit = seconds
        fate = self.put(items)
        if self.breaker.is_open:
            return False
        try:
            return fate.result(seconds).isdisjoint(items)
        except TimeoutError:
            self.breaker.trip(f"not written within {seconds:g} s")
            return False
        except (DatabaseError, InterfaceError):
            return False

    def put(self, items: Mapping[K, V]) -> Future[frozenset[K]]:
        """Hand over without waiting. The future has the keys given up, or raises what the database did at first."""
        with self._changed:
            batch = self._open
            self._absorb(batch.items, items)
            idle, self._busy = not self._busy, True
        if idle:
            self._thread.submit(self._drain)
        return batch.fate

    def waiting(self, keys: Iterable[K]) -> dict[K, V]:
        """Those of `keys` that are not written yet."""
        with self._changed:
            if not self._busy:
                return {}
            wanted = list(keys)
            found = {key: self._writing[key] for key in wanted if key in self._writing}
            for key in wanted:
                if key in self._open.items:
                    newer = self._open.items[key]
                    found[key] = self._merge(found[key], newer) if key in found else newer
            return found

    def flush(self, seconds: float) -> bool:
        """Whether all is written; waits for it at most so long, and tries at once."""
        with self._changed:
            before = self._lost
            self._hurry.set()
            return self._changed.wait_for(lambda: not self._busy, seconds) and self._lost == before

    def close(self, seconds: float) -> None:
        """Flush, and end the thread. What is handed over later starts another one."""
        ends_at = monotonic() + seconds
        if not self.flush(seconds) and (left := len(self)):
            logger.error("%s: the process ends, %d were not written", self.breaker.what, left)
        self._thread.stop(max(0.0, ends_at - monotonic()))

    def __len__(self) -> int:
        with self._changed:
            return len(self._open.items) + len(self._writing)

    def _absorb(self, into: OrderedDict[K, V], newer: Mapping[K, V]) -> None:
        for key, value in newer.items():
            into[key] = self._merge(into[key], value) if key in into else value
        while len(into) > self._most:
            into.popitem(last=False)
            self._dropped += 1

    def _drain(self) -> None:
        if seconds := self._linger():
            self._hurry.wait(seconds)
            self._hurry.clear()
        while (batch := self._take()) is not None:
            self._write_one(batch)

    def _take(self) -> _Batch[K, V] | None:
        with self._changed:
            self._writing = {}
            if not self._open.items:
                self._busy = False
                self._changed.notify_all()
                return None
            batch, self._open = self._open, _Batch()
            self._writing = batch.items
            return batch

    def _write_one(self, batch: _Batch[K, V]) -> None:
        started = monotonic()
        parts, lost = [batch.items], dict[K, Exception]()
        try:
            self._write_parts(parts, lost)
        except (DatabaseError, InterfaceError) as error:
            self._take_back(parts)
            self.breaker.trip(error)
            batch.fate.set_exception(error)
            self._give_up(lost)
            self._log_dropped()
            self._hurry.wait(RETRY_SECONDS)
            self._hurry.clear()
        else:
            if len(lost) < len(batch.items):
                self.breaker.seen(monotonic() - started, self._limit)
            self._give_up(lost)
            batch.fate.set_result(frozenset(lost))
            self._log_dropped()

    def _write_parts(self, parts: list[OrderedDict[K, V]], lost: dict[K, Exception]) -> None:
        """From the last on. One that is refused is halved, until what was at fault is alone and goes to `lost`."""
        while parts:
            try:
                with_reconnect(partial(self._write, parts[-1]))
            except (DatabaseError, InterfaceError):
                raise
            except Exception as error:  # noqa: BLE001 - logged; the thread must outlive what nobody thought of
                refused = parts.pop()
                if len(refused) > 1:
                    parts.extend(_halves(refused))
                else:
                    lost.update(dict.fromkeys(refused, error))
            else:
                parts.pop()

    def _take_back(self, parts: Iterable[Mapping[K, V]]) -> None:
        """What is not written goes before what came meanwhile: the oldest are dropped first."""
        with self._changed:
            self._writing = {}
            newer, self._open.items = self._open.items, OrderedDict()
            for part in (*reversed(list(parts)), newer):
                self._absorb(self._open.items, part)

    def _give_up(self, lost: Mapping[K, Exception]) -> None:
        if lost:
            with self._changed:
                self._lost += len(lost)
            # Without the keys, which may be a person's number
            logger.error("%s: %d were lost", self.breaker.what, len(lost), exc_info=next(iter(lost.values())))

    def _log_dropped(self) -> None:
        with self._changed:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.error("%s: %d were dropped, %d at most wait in memory", self.breaker.what, dropped, self._most)


def _halves(items: Mapping[K, V]) -> Iterator[OrderedDict[K, V]]:
    """The younger half first."""
    pairs, middle = list(items.items()), len(items) // 2
    yield OrderedDict(pairs[middle:])
    yield OrderedDict(pairs[:middle])


_groups: WeakSet[GroupCommit[Any, Any]] = WeakSet()


def flush_all(seconds: float = LAST_SECONDS) -> bool:
    """Write what this process still holds; whether all was."""
    ends_at = monotonic() + seconds
    written = [group.flush(max(0.0, ends_at - monotonic())) for group in list(_groups)]
    return all(written)


def close_all(seconds: float = LAST_SECONDS) -> None:
    """At the end of a process: write what it still holds, and end all threads that talk to the database."""
    ends_at = monotonic() + seconds
    for group in list(_groups):
        group.close(max(0.0, ends_at - monotonic()))
    stop_threads(max(0.0, ends_at - monotonic()))


atexit.register(close_all)
