"""A run lock that its holder renews: it may work for hours, and one that was killed blocks others for seconds only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import sleep

from django.utils import timezone

from api_service.models import RunLock
from api_service.services.backends import Deadline
from api_service.services.locks import run_lock

POLL_SECONDS = 0.5


class LeaseLost(Exception):
    """The holder did not renew in time and another process took over: it must stop."""


class Lease:
    def __init__(self, name: str, token: str, seconds: float) -> None:
        self._mine = RunLock.objects.filter(name=name, token=token)
        self._life = timedelta(seconds=seconds)

    def renew(self) -> None:
        if not self._mine.update(expires_at=timezone.now() + self._life):
            raise LeaseLost("this process did not answer for too long, and another one has taken over")


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
