"""The row of an inventory: opened with one listing for each node, closed once by whoever ends last, then summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypedDict

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from api_service.models import NodeListing, TrackRun
from api_service.sentences import sentence
from api_service.services import key_history, leases, node_claims, retired_nodes
from api_service.services.key_history import ServiceJSON

State = TrackRun.State

# Held by who runs an inventory. Longer than its listings may hold up a renewal, on SQLite
LOCK = "track_keys"
LEASE_SECONDS = 90.0
INTERRUPTED = sentence("interrupted: its worker stopped before the end")
FOREIGN_PREFIXES = 100
OTHERS = "(others)"


class NodeJSON(TypedDict):
    ok: bool
    keys: int
    error: str


class TrackSummary(TypedDict):
    """`state`: "done", or "failed" with `error`: a node was not listed to the end, or another run closed this one."""

    run: int
    state: str
    error: str
    services: dict[str, ServiceJSON]
    nodes: dict[str, NodeJSON]
    foreign: dict[str, int]
    keys: int


def open_run(nodes: Sequence[str], now: datetime) -> TrackRun:
    with transaction.atomic():
        run = TrackRun.objects.create(started_at=now)
        listings = [NodeListing(run=run, node=node) for node in nodes]
        listings += [NodeListing(run=run, node=node, retired=True) for node in retired_nodes.retired(nodes)]
        NodeListing.objects.bulk_create(listings)
    return run


def close_left() -> None:
    """End the runs whose workers stopped before the end. Call it under the run lock: all of them are dead."""
    for run in _running():
        _end(run, timezone.now())


def close_abandoned(now: datetime) -> None:
    """Runs whose process was killed, once no other worker lists a node of theirs any more."""
    left = _running().exclude(listings__leased_until__gt=now)
    leases.close_abandoned(left, lambda _run: LOCK, _end, now)


def _running() -> QuerySet[TrackRun]:
    return TrackRun.objects.filter(state=State.RUNNING).order_by("pk")


def _end(run: TrackRun, at: datetime) -> None:
    """As complete where every node has ended: only its last step was not made."""
    if not close_if_complete(run.pk):
        ended = {"state": State.FAILED, "finished_at": at, "error": INTERRUPTED}
        with transaction.atomic():
            if _running().filter(pk=run.pk).update(**ended):
                node_claims.unfinished(run.pk).update(**ended, leased_until=None)


def close_if_complete(run_id: int) -> bool:
    """True for the one that closed the run and wrote its history, when every node has ended."""
    with transaction.atomic():
        run = TrackRun.objects.select_for_update().filter(pk=run_id, state=State.RUNNING).first()
        listings = list(run.listings.order_by("pk")) if run else []
        if run is None or not listings or any(row.state in node_claims.UNFINISHED for row in listings):
            return False
        _fill(run, listings, timezone.now())
        run.save()
        key_history.write(run)
    return True


def _fill(run: TrackRun, listings: Iterable[NodeListing], now: datetime) -> None:
    listed = [row for row in listings if not row.retired]
    failed = [f"{row.node}: {row.error}" for row in listings if row.state != State.DONE]
    run.state, run.error = State.FAILED if failed else State.DONE, "; ".join(failed)[:300]
    run.finished_at = now
    run.keys_seen = sum(row.keys for row in listed)
    run.nodes = {row.node: NodeJSON(ok=row.state == State.DONE, keys=row.keys, error=row.error) for row in listed}
    run.foreign = merged_foreign(row.foreign for row in listed)


def merged_foreign(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Another application may put random text first: what is stored of it stays small."""
    total: Counter[str] = Counter()
    for found in counts:
        total.update(found)
    others = total.pop(OTHERS, 0) + sum(number for _prefix, number in total.most_common()[FOREIGN_PREFIXES:])
    return {**dict(total.most_common(FOREIGN_PREFIXES)), **({OTHERS: others} if others else {})}


def summary(run_id: int) -> TrackSummary:
    run = TrackRun.objects.get(pk=run_id)
    return {
        "run": run.pk,
        "state": run.state,
        "error": run.error,
        "services": {row.service: key_history.as_json(row) for row in run.services.order_by("service")},
        "nodes": run.nodes,
        "foreign": run.foreign,
        "keys": run.keys_seen,
    }
