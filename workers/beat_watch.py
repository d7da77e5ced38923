"""Does Beat still send what is due? Beat can stop silently while its process lives, so its own word does not count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

# A busy database, or a Beat that has just been restarted, is late and not dead
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Due:
    """A schedule and when it should run next, going by what is written down."""

    name: str
    at: datetime


@dataclass(frozen=True)
class Late:
    name: str
    by: timedelta


def late(schedules: Iterable[Due], now: datetime, margin: timedelta = MARGIN) -> list[Late]:
    """The schedules whose time passed more than `margin` ago, the latest first."""
    found = [Late(due.name, now - due.at) for due in schedules if now - due.at > margin]
    return sorted(found, key=lambda one: one.by, reverse=True)
