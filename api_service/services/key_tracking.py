"""`track_keys`: the live inventory of every node, written into the key table.

Each node is listed by whoever claims it first: workers that got a `track_node` task, or the one that runs the
inventory, which takes every node that nobody else has. So one worker is enough, and more of them list side by side.
A node that cannot be listed to the end is reported; its rows stay and become "unknown".
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from time import sleep
from typing import TypedDict

from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from api_service.models import NodeListing
from api_service.sentences import sentence
from api_service.services import (
    counted,
    invalid_reasons,
    key_table,
    node_claims,
    retired_nodes,
    task_sending,
    track_runs,
    tracking,
)
from api_service.services.backends import Adapter, Deadline, Entry
from api_service.services.backends.base import error_text
from api_service.services.cache_service import APICacheService
from api_service.services.key_table import Recorded
from api_service.services.own_hits import Operation
from api_service.services.track_runs import State, TrackSummary

logger = logging.getLogger(__name__)

NODE_TASK = "workers.tasks.track_node"
# For listing all nodes; then what is listed is still written, and what others do is waited for
SECONDS = 240.0
SETTLE_SECONDS = 20.0
POLL_SECONDS = 0.1
NOT_IN_TIME = sentence("its worker did not end in time")


class NodeSummary(TypedDict):
    """`state`: "done"; "nothing_to_do" where another worker has the node or the run is closed; "claim_lost"."""

    state: str
    run: int
    node: str
    keys: int
    error: str


@dataclass
class Counted:
    """Entries as they pass by, and how many did."""

    entries: Iterable[Entry]
    keys: int = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.keys += 1
            yield entry


def track_keys(seconds: float = SECONDS) -> TrackSummary:
    """List every node, write the rows, record the run. Call it under the lease `track_runs.LOCK`."""
    track_runs.close_left()
    tracking.flush_now()
    deadline, nodes = Deadline.after(seconds), APICacheService().adapter.nodes()
    run = track_runs.open_run(nodes, timezone.now()).pk
    _invite(run, nodes[1:])
    failures = _list_all(run, deadline)
    track_runs.close_if_complete(run)
    if failures:
        raise failures[0]
    invalid_reasons.note(run)
    return track_runs.summary(run)


def track_node(run: int, node: str) -> NodeSummary:
    """List one node of a run that another process began, if nobody else does; close the run when it was the last."""
    # A worker that was started with other settings does not know every node
    known = node in APICacheService().adapter.nodes()
    listing = node_claims.claim(run, node, timezone.now()) if known else None
    if listing is None:
        return NodeSummary(state="nothing_to_do", run=run, node=node, keys=0, error="")
    passed = (timezone.now() - listing.run.started_at).total_seconds()
    kept = _list(listing, Deadline.after(max(0.0, SECONDS - passed)))
    track_runs.close_if_complete(run)
    listing.refresh_from_db()
    return NodeSummary(
        state="done" if kept else "claim_lost", run=run, node=node, keys=listing.keys, error=listing.error
    )


def _invite(run: int, nodes: Iterable[str]) -> None:
    """Without a broker this process lists them all."""
    try:
        for node in nodes:
            task_sending.send(NODE_TASK, {"run": run, "node": node})
    except task_sending.BrokerDown as error:
        logger.warning("no other worker is asked to list nodes, the broker did not take the task: %s", error)


def _list_all(run: int, deadline: Deadline) -> list[Exception]:
    """Until no node is left. A node whose error nobody foresaw is set aside; the errors, to be raised in the end."""
    failures: list[Exception] = []
    patience = Deadline.after(deadline.left() + SETTLE_SECONDS)
    while node_claims.unfinished(run).exists():
        if listing := node_claims.claim_next(run, timezone.now()):
            try:
                _list(listing, deadline)
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - raised when the other nodes are done
                failures.append(error)
        elif patience.left():
            sleep(POLL_SECONDS)
        else:
            _give_up(run)
    return failures


def _give_up(run: int) -> None:
    for node in node_claims.give_up(run, NOT_IN_TIME, timezone.now()):
        key_table.mark_unknown(node)


def _list(listing: NodeListing, deadline: Deadline) -> bool:
    """Bring the rows of a claimed node in line with what it holds; False when the claim was lost meanwhile."""
    try:
        recorded = _retire(listing) if listing.retired else _record(listing, deadline)
    except Exception as error:
        if _end(listing, Recorded(error=error_text(error))):
            key_table.mark_unknown(listing.node)
        raise
    return _end(listing, recorded)


def _record(listing: NodeListing, deadline: Deadline) -> Recorded:
    service, now = APICacheService(), listing.listed_at or timezone.now()
    scan = _scanned(listing, service.adapter, deadline)
    entries = Counted(scan)
    # A scan that was not taken to its end asks the node once more, and writes: here, not when its frame is collected
    with closing(scan), node_claims.renewed(listing, lambda: entries.keys, deadline):
        return key_table.record(listing.node, entries, service.wire_prefix, now)


def _scanned(listing: NodeListing, adapter: Adapter, deadline: Deadline) -> Generator[Entry, None, None]:
    if not adapter.scan_counts:
        yield from adapter.scan(listing.node, "", deadline)
        return
    with counted.adapter(Operation.INVENTORY, adapter, [listing.node]) as counting:
        yield from counting.scan(listing.node, "", deadline)


def _retire(listing: NodeListing) -> Recorded:
    recorded = Recorded()
    for service, removed in retired_nodes.close_rows(listing.node, timezone.now()).items():
        recorded.of(service).removed = removed
    return recorded


def _end(listing: NodeListing, recorded: Recorded) -> bool:
    kept = node_claims.finish(
        listing,
        state=State.FAILED if recorded.error else State.DONE,
        finished_at=timezone.now(),
        keys=recorded.keys,
        services={name: asdict(counts) for name, counts in recorded.services.items()},
        foreign=dict(recorded.foreign),
        error=recorded.error[: node_claims.ERROR_LENGTH],
    )
    if not kept:
        logger.warning("the listing of %s took longer than its claim: another one counts", listing.node)
    return kept
