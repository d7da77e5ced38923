"""A run lock that its holder renews: it may work for hours, and one that was killed blocks others for seconds only.

A row says that its run goes on while somebody holds the lease of that run: `close_abandoned` ends the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread
from time import sleep
from typing import TypeVar

from django.db import Error as DatabaseTrouble
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from api_service.models import RunLock
from api_service.sentences import sentence
from api_service.services.backends import Deadline
from api_service.services.locks import is_held, run_lock, take_turn

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=Model)

POLL_SECONDS = 0.5
# What the last renewal may still need: whoever waits for it longer waits for a database that hangs
RENEWAL_SECONDS = 1.0


class LeaseLost(Exception):
    """The holder did not renew in time and another process took over: it must stop."""


class Lease:
    def __init__(self, name: str, token: str, seconds: float) -> None:
        self._mine = RunLock.objects.filter(name=name, token=token)
        self._life = timedelta(seconds=seconds)

    def renew(self) -> None:
        if not self._mine.update(expires_at=timezone.now() + self._life):
            raise LeaseLost(sentence("this process did not answer for too long, and another one has taken over"))


@contextmanager
def lease(name: str, seconds: float, patience: float) -> Iterator[Lease | None]:
    """None when another process still holds it after `patience` seconds."""
    deadline = Deadline.after(patience)
    while True:
        with run_lock(name, seconds) as held:
            if held:
                yield Lease(name, RunLock.objects.get(name=name).token, seconds)
                return
        if not deadline.left():
            break
        sleep(POLL_SECONDS)
    yield None


@contextmanager
def renewed_lease(name: str, seconds: float, patience: float) -> Iterator[Lease | None]:
    """A lease that a thread renews: one that was killed blocks the others for `seconds`, however long a step of its
    work may last. Its holder renews it, too, before each effect that two must not have: that says that it was lost.
    """
    with lease(name, seconds, patience) as held:
        if held is None:
            yield None
            return
        with _renewing(held, seconds / 3):
            yield held


@contextmanager
def renewed_lock(name: str, seconds: float) -> Iterator[bool]:
    """True for the one holder, as in `renewed_lease`. One that lost it is not told: for work that two may do at once,
    at worst.
    """
    with renewed_lease(name, seconds, 0.0) as held:
        yield held is not None


def close_abandoned(
    running: QuerySet[Row], lock_of: Callable[[Row], str], end: Callable[[Row, datetime], None], now: datetime
) -> None:
    """`end` each of the rows whose lease nobody holds, as of when it ran out.

    Who works on a row has taken its lease before and gives it back afterwards. Nobody takes one while its row is ended.
    """
    for row in running:
        name = lock_of(row)
        if not is_held(name, now):
            with transaction.atomic():
                take_turn(name)
                left = running.filter(pk=row.pk).first()
                if left is not None and not is_held(name, now):
                    end(left, _ran_out(name, now))


def close_seen(close: Callable[[datetime], None], now: datetime) -> None:
    """`close` what was killed, for who only looks: where nothing can be written, rows are shown as they are."""
    try:
        close(now)
    except DatabaseTrouble as error:
        logger.warning("runs whose process was killed are shown as running, they cannot be closed: %s", error)


def _ran_out(name: str, now: datetime) -> datetime:
    """Of a lock that was given back nobody knows."""
    return RunLock.objects.filter(name=name, expires_at__lte=now).values_list("expires_at", flat=True).first() or now


def stopped_by(error: BaseException) -> str:
    """What a row says of the run that `error` ended."""
    known = {"kind": type(error).__name__, "error": error}
    return sentence("stopped: %(kind)s %(error)s") % known if str(error) else sentence("stopped: %(kind)s") % known


@contextmanager
def _renewing(held: Lease, every: float) -> Iterator[None]:
    ended = Event()
    thread = Thread(target=_renew, args=(held, every, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(RENEWAL_SECONDS)


def _renew(held: Lease, every: float, ended: Event) -> None:
    try:
        while not ended.wait(every):
            try:
                held.renew()
            except DatabaseTrouble as error:
                logger.warning("a lease was not renewed, it is tried again: %s", error)
    except LeaseLost as error:
        logger.warning("a lease was lost: %s", error)
    finally:
        connections.close_all()
