"""One node's listing against the key table: only what changed is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction

from api_service.models import TrackedKey
from api_service.services import keys
from api_service.services.backends.base import Entry, InventoryError

# Memcached counts whole seconds and does not list what ends in the current one
CLOCK_TOLERANCE = timedelta(seconds=2)
# An end that moved by less is the same end, rounded differently
SAME_END = timedelta(seconds=1)
FOREIGN_PREFIXES = 100
CHUNK = 5000
OPEN = (TrackedKey.State.ACTIVE, TrackedKey.State.UNKNOWN)

# Names of the histogram of the time left, and the seconds that each ends at
LIVES = (
    *(("1min", 60), ("5min", 300), ("15min", 900), ("1h", 3600), ("6h", 21_600)),
    *(("24h", 86_400), ("7d", 604_800)),
)
MORE, NEVER = "more", "never"


@dataclass(slots=True)
class ServiceCounts:
    """One service on one node. `keys` and `bytes` are listed now, the others are what changed since the last run.

    `created` counts keys that came back too; `lives`: time left → keys, by the names of `LIVES`, "more" and "never".
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
    """What became of one node's listing. `error`: why the listing ended early, or ""; `keys` are ours."""

    services: dict[str, ServiceCounts] = field(default_factory=dict)
    foreign: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    error: str = ""

    def of(self, service: str) -> ServiceCounts:
        return self.services.setdefault(service, ServiceCounts())


def record(node: str, entries: Iterable[Entry], wire_prefix: str, now: datetime) -> Recorded:
    """Bring the rows of `node` in line with its listing."""
    recorded, listed = Recorded(), {}
    try:
        for entry in entries:
            name = entry.key.removeprefix(wire_prefix)
            parts = keys.parse(name) if entry.key.startswith(wire_prefix) else None
            if parts is None:
                prefix = keys.foreign_prefix(name)
                room = prefix in recorded.foreign or len(recorded.foreign) < FOREIGN_PREFIXES
                recorded.foreign[prefix if room else "(others)"] += 1
            elif name not in listed:
                listed[name] = (entry, parts)
                counts = recorded.of(parts.service)
                counts.keys += 1
                counts.bytes += entry.size
                life = life_name(entry.expires_at, now.timestamp())
                counts.lives[life] = counts.lives.get(life, 0) + 1
    except InventoryError as error:
        recorded.error = error.reason
    recorded.keys = len(listed)
    rows = {row.key: row for row in TrackedKey.objects.filter(node=node)}
    with transaction.atomic():
        for name, (entry, parts) in sorted(listed.items()):
            ends = None if entry.expires_at is None else datetime.fromtimestamp(entry.expires_at, tz=UTC)
            row = rows.pop(name, None)
            if row is None:
                row = TrackedKey(
                    key=name,
                    node=node,
                    service=parts.service,
                    kind=parts.kind,
                    identifier=parts.identifier,
                    created_at=now,
                    state="",
                )
            before = (row.size, row.state, row.fetched)
            moved = row.expires_at != ends and (
                row.expires_at is None or ends is None or abs(row.expires_at - ends) > SAME_END
            )
            if row.state not in OPEN:
                recorded.of(row.service).created += 1
            if moved or before != (entry.size, TrackedKey.State.ACTIVE, entry.read):
                row.size, row.state, row.fetched = entry.size, TrackedKey.State.ACTIVE, entry.read
                row.expires_at, row.seen_at = ends, now
                row.save()
        for name, row in sorted(rows.items()):
            if recorded.error:
                TrackedKey.objects.filter(pk=row.pk, state=TrackedKey.State.ACTIVE).update(
                    state=TrackedKey.State.UNKNOWN
                )
            elif row.state in OPEN:
                counts = recorded.of(row.service)
                expired = row.expires_at is not None and row.expires_at <= now + CLOCK_TOLERANCE
                row.state = TrackedKey.State.EXPIRED if expired else TrackedKey.State.REMOVED
                row.seen_at = now
                counts.expired += expired
                counts.removed += not expired
                unread = row.last_read_at is None or row.last_read_at < row.created_at
                counts.expired_unread += expired and row.fetched is not True and unread
                row.save(update_fields=["state", "seen_at"])
    return recorded


def mark_unknown(node: str) -> int:
    """Of a node that cannot be listed: its active rows become unknown. The number of them."""
    return TrackedKey.objects.filter(node=node, state=TrackedKey.State.ACTIVE).update(state=TrackedKey.State.UNKNOWN)


def life_name(expires_at: float | None, now: float) -> str:
    """The name in `LIVES` for what ends at `expires_at` (both Unix seconds)."""
    if expires_at is None:
        return NEVER
    return next((name for name, seconds in LIVES if expires_at - now <= seconds), MORE)
