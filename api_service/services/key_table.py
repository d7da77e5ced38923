"""One node's listing against the key table: a million keys, and only the rows that changed are written.

The listing goes into a temporary table, the database finds what differs, and the difference is written in short
transactions. A process killed at any line leaves what the next run completes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection, transaction

from api_service.models import TrackedKey
from api_service.services import keys
from api_service.services.backends.base import Entry, InventoryError

# Memcached counts whole seconds and does not list what ends in the current one
CLOCK_TOLERANCE = timedelta(seconds=2)
FOREIGN_PREFIXES = 100
# Entries on their way into the temporary table: a few MB
BLOCK = 10_000
# Rows of one transaction: their locks are held for some 50 ms, which the read counter may have to wait
CHUNK = 5_000

# The histogram of the time left: names, and the seconds that each reaches to
LIVES = {"1min": 60, "5min": 300, "15min": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800}
MORE, NEVER = "more", "never"

# key without the wire prefix, where its service ends, where its kind ends (negative: it has none), bytes,
# end in Unix seconds, read at least once
Row = tuple[str, int, int, int, float | None, bool | None]


@dataclass(slots=True)
class ServiceCounts:
    """One service on one node. `keys`, `bytes` and `lives` are of this listing, the others changed since the last.

    `created` counts those that came back too; `lives`: time left → keys, by the names of `LIVES`, "more" and "never".
    """

    keys: int = 0
    bytes: int = 0
    created: int = 0
    removed: int = 0
    expired: int = 0
    expired_unread: int = 0
    lives: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Recorded:
    """What became of one node's listing. `keys` are ours; `error` is why the listing ended early, or ""."""

    services: dict[str, ServiceCounts] = field(default_factory=dict)
    foreign: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    error: str = ""

    def of(self, service: str) -> ServiceCounts:
        return self.services.setdefault(service, ServiceCounts())


@dataclass(frozen=True, slots=True)
class Comparison:
    """A listing that ended at `ended` against the rows of `node`; after a partial one, what it lacks is unknown."""

    node: str
    now: datetime
    ended: datetime
    complete: bool


class Staging(Protocol):
    """The temporary tables, in the SQL of one database. They belong to the connection and end with it."""

    def open(self) -> None:
        """Empty ones, whatever an earlier run left."""

    def add(self, rows: Sequence[Row]) -> None:
        """Rows in the order of the listing; the same key twice is harmless."""

    def listed(self, now: datetime) -> Iterable[tuple[str, str, int, int]]:
        """Service, name in `LIVES`, keys and bytes. Called once, when all rows are there."""

    def compare(self, comparison: Comparison) -> tuple[int, int]:
        """Find what differs: how many rows have changed, and how many are new."""

    def differing(self) -> Iterable[tuple[str, int, int, int, int]]:
        """Service, created, removed, expired, expired unread."""

    def update(self, comparison: Comparison, first: int, last: int) -> None:
        """Number `first` to `last` of the differing rows: those that have changed come first, and begin at 1."""

    def insert(self, comparison: Comparison, first: int, last: int) -> None:
        """The same of those that are new, which follow."""

    def close(self) -> None: ...


def record(node: str, entries: Iterable[Entry], wire_prefix: str, now: datetime) -> Recorded:
    """Bring the rows of `node` in line with its listing; a listing that raises InventoryError is a partial one."""
    recorded, listing, started = Recorded(), _Listing(entries, wire_prefix), monotonic()
    with _opened() as staging:
        for rows in listing.blocks():
            staging.add(rows)
        ended = now + timedelta(seconds=monotonic() - started) + CLOCK_TOLERANCE
        recorded.foreign, recorded.error = listing.foreign, listing.error
        _count_listed(recorded, staging, now)
        _write(staging, Comparison(node, now, ended, complete=not listing.error))
        _count_differing(recorded, staging)
    return recorded


@contextmanager
def _opened() -> Iterator[Staging]:
    """Closed whatever happens: the connection of a worker lives on, with the tables of a million keys."""
    staging = _staging()
    staging.open()
    try:
        yield staging
    except BaseException:
        # In a broken connection or transaction the tables end by themselves: what broke it is what counts
        with suppress(DatabaseError, InterfaceError):
            staging.close()
        raise
    staging.close()


def _write(staging: Staging, comparison: Comparison) -> None:
    """In short transactions, each in the order of the keys: the read counter, which locks in it too, waits for one."""
    changed, new = staging.compare(comparison)
    for first in range(1, changed + 1, CHUNK):
        with transaction.atomic():
            staging.update(comparison, first, min(first + CHUNK - 1, changed))
    for first in range(changed + 1, changed + new + 1, CHUNK):
        with transaction.atomic():
            staging.insert(comparison, first, first + CHUNK - 1)


def mark_unknown(node: str) -> int:
    """Of a node that cannot be listed: its active rows become unknown. The number of them.

    In the order of their keys and in chunks, as the read counter waits for each.
    """
    active = TrackedKey.objects.filter(node=node, state=TrackedKey.State.ACTIVE).order_by("key")
    marked = 0
    while True:
        with transaction.atomic():
            found = list(active.select_for_update(no_key=True).values_list("key", flat=True)[:CHUNK])
            if not found:
                return marked
            chunk = active.filter(key__gte=found[0], key__lte=found[-1]).order_by()
            marked += chunk.update(state=TrackedKey.State.UNKNOWN)


class _Listing:
    """Entries as rows, in blocks. One that ends early gives what it had, and `error` says why it did."""

    def __init__(self, entries: Iterable[Entry], wire_prefix: str) -> None:
        self.foreign: Counter[str] = Counter()
        self.error = ""
        self._entries = entries
        self._prefix = wire_prefix

    def blocks(self) -> Iterator[list[Row]]:
        match, start, block = key_pattern(self._prefix).fullmatch, len(self._prefix), []
        try:
            for key, size, expires_at, read in self._entries:
                if not (found := match(key)):
                    self._count_foreign(keys.foreign_prefix(key.removeprefix(self._prefix)))
                    continue
                block.append((key[start:], found.end(1) - start, found.end(2) - start, size, expires_at, read))
                if len(block) >= BLOCK:
                    yield block
                    block = []
        except InventoryError as error:
            self.error = error.reason
        yield block

    def _count_foreign(self, prefix: str) -> None:
        """Another application may put random text first: what is stored of it stays small."""
        room = prefix in self.foreign or len(self.foreign) < FOREIGN_PREFIXES
        self.foreign[prefix if room else "(others)"] += 1


def key_pattern(wire_prefix: str) -> re.Pattern[str]:
    """`keys.parse` for a million keys: what it matches is a key of ours, its groups are the service and the kind."""
    # Only a kind with an underscore of its own must be named: the others end at the first one
    named = "|".join(sorted((re.escape(kind) for kind in keys.KINDS if "_" in kind), key=len, reverse=True))
    kind = rf"(?:({named}|[!-^`-~]*)_)?" if named else r"(?:([!-^`-~]*)_)?"
    return re.compile(
        rf"{re.escape(wire_prefix)}(?=.{{1,{keys.MAX_KEY_BYTES}}}\Z)([a-z0-9][a-z0-9_-]{{0,49}}):(?=.){kind}[!-~]*"
    )


def _staging() -> Staging:
    if connection.vendor == "postgresql":
        from api_service.services.key_table_postgres import PostgresStaging

        return PostgresStaging()
    from api_service.services.key_table_sqlite import SQLiteStaging

    return SQLiteStaging()


def _count_listed(recorded: Recorded, staging: Staging, now: datetime) -> None:
    for service, life, number, size in staging.listed(now):
        counts = recorded.of(service)
        counts.keys += number
        counts.bytes += size
        counts.lives[life] = number
        recorded.keys += number


def _count_differing(recorded: Recorded, staging: Staging) -> None:
    for service, created, removed, expired, expired_unread in staging.differing():
        counts = recorded.of(service)
        counts.created, counts.removed = created, removed
        counts.expired, counts.expired_unread = expired, expired_unread
