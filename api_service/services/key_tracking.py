"""`track_keys`: the live inventory of every node, written into the key table.

A node that cannot be listed to the end is reported; its rows stay and become "unknown".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from api_service.models import DailyReads, LookupHour, ServiceSnapshot, SpendHour, TrackedKey, TrackRun, WarmRun
from api_service.services import keys, tracking
from api_service.services.backends import Deadline, Entry, InventoryError
from api_service.services.cache_service import APICacheService
from api_service.services.health import ServiceJSON
from api_service.services.inventory import batches

BATCH = 1000
INTERRUPTED = "interrupted: its worker stopped before the end"
SECONDS = 240.0
COUNTS_KEPT_DAYS = 400
RUNS_KEPT_DAYS = 90
GONE_KEPT_DAYS = 30
FOREIGN_PREFIXES = 100
# Memcached counts whole seconds and does not list what ends in the current one
CLOCK_TOLERANCE = timedelta(seconds=2)


class NodeJSON(TypedDict):
    ok: bool
    keys: int
    error: str


class TrackSummary(TypedDict):
    run: int
    services: dict[str, ServiceJSON]
    nodes: dict[str, NodeJSON]
    foreign: dict[str, int]
    keys: int


class Inventory:
    """One run over all nodes: what was counted, and the rows written on the way."""

    def __init__(self, service: APICacheService, now: datetime) -> None:
        self.service = service
        self.now = now
        self.services: dict[str, ServiceJSON] = {}
        self.foreign: Counter[str] = Counter()
        self.nodes: dict[str, NodeJSON] = {}

    def take(self, node: str, deadline: Deadline) -> None:
        seen = 0
        try:
            for batch in batches(self.service.adapter.scan(node, "", deadline), BATCH):
                seen += self._write(node, batch)
        except InventoryError as error:
            self.nodes[node] = {"ok": False, "keys": seen, "error": error.reason}
            self._of_node(node).filter(seen_at__lt=self.now).update(state=TrackedKey.State.UNKNOWN)
        else:
            self.nodes[node] = {"ok": True, "keys": seen, "error": ""}
            self._close(node)

    def _write(self, node: str, batch: Iterable[Entry]) -> int:
        found = [row for entry in batch if (row := self._row(node, entry))]
        # Locked in the order of their keys, as the read counter does: neither waits for what the other holds
        rows = sorted(found, key=lambda row: row.key)
        TrackedKey.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["key", "node"],
            update_fields=["size", "state", "expires_at", "seen_at"],
        )
        return len(rows)

    def _row(self, node: str, entry: Entry) -> TrackedKey | None:
        """The row of a key of ours; a foreign one is counted by its prefix and left alone."""
        name = entry.key.removeprefix(self.service.wire_prefix)
        parts = keys.parse(name) if entry.key.startswith(self.service.wire_prefix) else None
        if parts is None:
            self._count_foreign(keys.foreign_prefix(name))
            return None
        counted = self.services.setdefault(parts.service, {"keys": 0, "bytes": 0})
        counted["keys"] += 1
        counted["bytes"] += entry.size
        return TrackedKey(
            key=name,
            service=parts.service,
            kind=parts.kind,
            identifier=parts.identifier,
            node=node,
            size=entry.size,
            state=TrackedKey.State.ACTIVE,
            expires_at=None if entry.expires_at is None else datetime.fromtimestamp(entry.expires_at, tz=UTC),
            created_at=self.now,
            seen_at=self.now,
        )

    def _count_foreign(self, prefix: str) -> None:
        """Another application may put random text first: what is stored of it stays small."""
        room = prefix in self.foreign or len(self.foreign) < FOREIGN_PREFIXES
        self.foreign[prefix if room else "(others)"] += 1

    def _close(self, node: str) -> None:
        """Keys of a fully listed node that were not in the list have expired, or were removed before their time."""
        gone, ended = self._of_node(node).filter(seen_at__lt=self.now), timezone.now() + CLOCK_TOLERANCE
        gone.filter(expires_at__lte=ended).update(state=TrackedKey.State.EXPIRED)
        gone.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=ended)).update(state=TrackedKey.State.REMOVED)

    def _of_node(self, node: str) -> QuerySet[TrackedKey]:
        open_states = [TrackedKey.State.ACTIVE, TrackedKey.State.UNKNOWN]
        return TrackedKey.objects.filter(node=node, state__in=open_states)


def track_keys(seconds: float = SECONDS) -> TrackSummary:
    """List every node, write the rows, record the run. Call it under the run lock "track_keys"."""
    _close_interrupted()
    tracking.flush_now()
    now = timezone.now()
    run, inventory = TrackRun.objects.create(started_at=now), Inventory(APICacheService(), now)
    deadline = Deadline.after(seconds)
    for node in inventory.service.adapter.nodes():
        inventory.take(node, deadline)
    _forget_other_nodes(inventory)
    total = sum(row["keys"] for row in inventory.services.values())
    _finish(run, inventory, total)
    return {
        "run": run.pk,
        "services": inventory.services,
        "nodes": inventory.nodes,
        "foreign": dict(inventory.foreign),
        "keys": total,
    }


def _close_interrupted() -> None:
    left = TrackRun.objects.filter(state=TrackRun.State.RUNNING)
    left.update(state=TrackRun.State.FAILED, finished_at=timezone.now(), error=INTERRUPTED)


def _forget_other_nodes(inventory: Inventory) -> None:
    """A node that left CACHE_URL took its keys along."""
    open_states = [TrackedKey.State.ACTIVE, TrackedKey.State.UNKNOWN]
    left = TrackedKey.objects.filter(state__in=open_states).exclude(node__in=list(inventory.nodes))
    left.update(state=TrackedKey.State.REMOVED)


def _finish(run: TrackRun, inventory: Inventory, total: int) -> None:
    failed = {node: facts["error"] for node, facts in inventory.nodes.items() if not facts["ok"]}
    run.state = TrackRun.State.FAILED if failed else TrackRun.State.DONE
    run.error = "; ".join(f"{node}: {error}" for node, error in failed.items())[:300]
    run.finished_at = timezone.now()
    run.keys_seen, run.nodes, run.foreign = total, inventory.nodes, dict(inventory.foreign)
    with transaction.atomic():
        run.save()
        ServiceSnapshot.objects.bulk_create(
            ServiceSnapshot(run=run, service=name, **row) for name, row in inventory.services.items()
        )


def prune(now: datetime) -> dict[str, int]:
    """Drop rows beyond their retention: `{"keys", "runs", "counts"}`."""
    gone = [TrackedKey.State.EXPIRED, TrackedKey.State.REMOVED]
    old = now - timedelta(days=GONE_KEPT_DAYS)
    keys_dropped = TrackedKey.objects.filter(state__in=gone, seen_at__lt=old).delete()[0]
    runs = sum(
        model.objects.filter(started_at__lt=now - timedelta(days=RUNS_KEPT_DAYS)).delete()[0]
        for model in (TrackRun, WarmRun)
    )
    counted_until = now - timedelta(days=COUNTS_KEPT_DAYS)
    counts = sum(model.objects.filter(hour__lt=counted_until).delete()[0] for model in (LookupHour, SpendHour))
    counts += DailyReads.objects.filter(day__lt=timezone.localdate(counted_until)).delete()[0]
    return {"keys": keys_dropped, "runs": runs, "counts": counts}
