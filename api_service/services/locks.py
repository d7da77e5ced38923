"""Run locks in the database: they hold while the cache is down, belong to a token, and end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone

from api_service.models import RunLock

# Nobody takes a lock for longer: one that ends later was taken by a clock that was ahead
LONGEST = timedelta(days=1)


@contextmanager
def run_lock(name: str, seconds: float) -> Iterator[bool]:
    """True for the one holder of `name`, False for everybody else; a holder that died blocks for `seconds` at most."""
    token = uuid4().hex
    held = _claim(name, token, seconds)
    try:
        yield held
    finally:
        if held:
            RunLock.objects.filter(name=name, token=token).update(token="", expires_at=None)


def claim_for(name: str, seconds: float) -> bool:
    """True for one caller in `seconds`: nobody gives it back, so that something is done at most so often."""
    return _claim(name, uuid4().hex, seconds)


def is_held(name: str, now: datetime) -> bool:
    return holding(name, now).exists()


def holding(name: str | Combinable, now: datetime) -> QuerySet[RunLock]:
    """The lock where somebody holds it; also for a condition of what is to happen only while nobody does."""
    return RunLock.objects.filter(name=name, expires_at__gt=now).exclude(token="")


def take_turn(name: str) -> None:
    """Inside a transaction: wait for that of everybody who took a turn at `name`, and keep it until ours ends."""
    row = RunLock.objects.select_for_update().filter(name=name)
    if row.first() is None:
        RunLock.objects.bulk_create([RunLock(name=name)], ignore_conflicts=True)
        row.get()


def _claim(name: str, token: str, seconds: float) -> bool:
    now = timezone.now()
    RunLock.objects.bulk_create([RunLock(name=name)], ignore_conflicts=True)
    free = Q(token="") | Q(expires_at__isnull=True) | Q(expires_at__lte=now) | Q(expires_at__gt=now + LONGEST)
    claimed = RunLock.objects.filter(free, name=name).update(token=token, expires_at=now + timedelta(seconds=seconds))
    return claimed == 1
