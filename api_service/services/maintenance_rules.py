"""Which planned work covers what, and until when: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Window:
    """As `MaintenanceWindow`. A weekly one takes day of the week and time of day from its first start, in local time.

    `service` covers what is told of that service and of its parts ("migo/day"), `node` what is told of that node;
    both empty cover everything.
    """

    name: str
    starts_at: datetime
    length: timedelta
    weekly: bool = False
    service: str = ""
    node: str = ""


def covering(windows: Iterable[Window], node: str, now: datetime, zone: tzinfo) -> str:
    """The name of a window that covers what is told of `node` now; "" when none does."""
    return next((window.name for window in windows if covers(window, node, now, zone)), "")


def covers(window: Window, node: str, now: datetime, zone: tzinfo) -> bool:
    return concerns(window, node) and ends_at(window, now, zone) is not None


def concerns(window: Window, node: str) -> bool:
    if not window.service and not window.node:
        return True
    of_service = bool(window.service) and (node == window.service or node.startswith(f"{window.service}/"))
    return of_service or (bool(window.node) and node == window.node)


def ends_at(window: Window, now: datetime, zone: tzinfo) -> datetime | None:
    """The end of the occurrence that lasts at `now`; None when none does."""
    start = last_start(window, now, zone)
    return start + window.length if start is not None and now < start + window.length else None


def next_start(window: Window, now: datetime, zone: tzinfo) -> datetime | None:
    """The first start after `now`; None when there is none any more."""
    last = last_start(window, now, zone)
    if last is None:
        return window.starts_at
    return last + WEEK if window.weekly else None


def last_start(window: Window, now: datetime, zone: tzinfo) -> datetime | None:
    """The newest start that is not after `now`; None before the first one."""
    if now < window.starts_at:
        return None
    if not window.weekly:
        return window.starts_at
    first = window.starts_at.astimezone(zone)
    weeks = (now.astimezone(zone).replace(tzinfo=None) - first.replace(tzinfo=None)) // WEEK
    # On the wall clock: through a change to summer time it starts at the same hour
    return first + weeks * WEEK
