"""A node that lost its keys gets them back from the answer store: free, hottest first, for what is left of their life.

A run killed at any point and started again writes what is missing: what is there is left alone, as traffic may have
brought a newer answer.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TypedDict

from django.conf import settings
from django.utils import timezone

from api_service.models import NodeSample, RefillRun
from api_service.sentences import sentence
from api_service.services import inventory, keys, leases, own_hits, providers, refill_order, refill_rows
from api_service.services.backends import Adapter, Deadline, InventoryError, Written
from api_service.services.backends.base import server_of
from api_service.services.cache_service import APICacheService
from api_service.services.leases import Lease, LeaseLost, renewed_lease
from api_service.services.node_facts import BOOT_JITTER_SECONDS, NodeFacts, restarted
from api_service.services.redaction import redact
from api_service.services.refill_plan import other_boot, ratio_between

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
# Longer than a lease: a task that comes again after its worker was killed waits for what the dead one still holds
PATIENCE = LEASE_SECONDS + 5
SECONDS = 240.0
LISTING_SECONDS = 20.0
SLICE = 10_000
PROGRESS_SECONDS = 1.0
LONGEST_LOCK_NAME = 100
ALREADY_RUNNING = "already_running"
DRY_RUN = "dry_run"
NO_NODES = sentence("local memory has no node to refill: each process has its own, which ends with it")
NO_SUCH_NODE = sentence("no node %(node)s; CACHE_URL has: %(nodes)s")
NO_SUCH_RUN = sentence("run: no refill %(run)s of node %(node)s")
WENT_AWAY = sentence("%(node)s went away while it was filled: its next boot is refilled anew")
NO_ANSWER = sentence("%(node)s does not answer (%(error)s): its next boot is refilled anew")
BOOTED_AGAIN = sentence("%(node)s has booted again since: that boot is refilled on its own")
OUT_OF_TIME = sentence("out of time after %(done)s of %(all)s answers: start it by hand for the rest")

State = RefillRun.State


class RefillSummary(TypedDict):
    run: int | None
    node: str
    state: str
    candidates: int
    written: int
    already_there: int
    refused: int
    error: str


class RefillFailed(Exception):
    """The node could not be filled to the end. The text says why and what to do."""


def lock_of(node: str) -> str:
    """The name of the run lock under which that node is refilled."""
    return f"refill:{node}"[:LONGEST_LOCK_NAME]


def check_node(node: str) -> None:
    """Raise ValueError, naming the nodes, for one that is none of CACHE_URL's or cannot be refilled."""
    service = APICacheService()
    if service.backend == "local_memory":
        raise ValueError(NO_NODES)
    if node not in service.adapter.nodes():
        raise ValueError(NO_SUCH_NODE % {"node": repr(node[:255]), "nodes": ", ".join(service.adapter.nodes())})


def refill(node: str, run: int | None = None, requested_by: str = "", *, patience: float = 0.0) -> RefillSummary:
    """Do the run that waits, or one by hand; the state is "already_running" while another fills that node.

    `patience`: seconds to wait for the lease of another one, which may have died.

    A node that is down, or another process again, ends the run as failed: its next boot has a run of its own. Raises
    ValueError for a node or run that does not exist.
    """
    if run is None:
        check_node(node)
    elif not RefillRun.objects.filter(pk=run, node=node).exists():
        raise ValueError(NO_SUCH_RUN % {"run": run, "node": repr(node[:255])})
    with renewed_lease(lock_of(node), LEASE_SECONDS, patience) as held:
        if held is None:
            return _nothing_done(node, ALREADY_RUNNING)
        row = _by_hand(node, requested_by) if run is None else _claimed(run)
        # Done, failed or superseded meanwhile: a message can arrive twice
        if row.state == State.RUNNING:
            _do(row, held)
    return _summary(row)


def candidates(node: str) -> RefillSummary:
    """What a refill would look at; nothing is written, not even a run."""
    check_node(node)
    return {**_nothing_done(node, DRY_RUN), "candidates": len(_candidates(APICacheService(), node))}


def close_abandoned(now: datetime) -> None:
    """One whose process was killed waits again: the next health run has it gone on with."""
    running = RefillRun.objects.filter(state=State.RUNNING)
    leases.close_abandoned(running, lambda row: lock_of(row.node), _wait, now)


def _wait(row: RefillRun, _at: datetime) -> None:
    RefillRun.objects.filter(pk=row.pk, state=State.RUNNING).update(state=State.WAITING)


def _by_hand(node: str, requested_by: str) -> RefillRun:
    by_hand = RefillRun.Reason.BY_HAND
    return RefillRun.objects.create(
        node=node, reason=by_hand, requested_by=requested_by, started_at=timezone.now(), state=State.RUNNING
    )


def _claimed(run: int) -> RefillRun:
    """Running if it was to be done. One that a worker left running when it died is, as we hold its lock."""
    RefillRun.objects.filter(pk=run, state=State.WAITING).update(state=State.RUNNING, started_at=timezone.now())
    return RefillRun.objects.get(pk=run)


def _do(row: RefillRun, held: Lease) -> None:
    try:
        check_node(row.node)
        _fill(APICacheService(), row, held)
    except LeaseLost:
        # The row may be another process's by now
        raise
    except (ValueError, InventoryError, RefillFailed) as error:
        _end(row, State.FAILED, str(error))
        logger.warning("refill %s failed: %s", row.pk, row.error)
    except BaseException as error:
        _end(row, State.FAILED, f"{type(error).__name__}: {error}")
        raise
    else:
        _end(row, State.DONE, row.error)


def _fill(service: APICacheService, row: RefillRun, held: Lease) -> None:
    before = _probed(service.adapter, row)
    _write_all(service, row, held)
    after = service.adapter.probe(row.node)
    if not after.reachable or restarted(after, before):
        raise RefillFailed(WENT_AWAY % {"node": row.node})
    by_hand = row.reason == RefillRun.Reason.BY_HAND
    since = row.started_at if by_hand or row.booted_at is None else row.booted_at
    own = own_hits.within(since, timezone.now(), row.node).get(server_of(row.node), ())
    row.hit_ratio_during = ratio_between(after, before if by_hand else None, _health_runs(row), own)
    row.hits_at_end, row.misses_at_end = after.hits, after.misses


def _probed(adapter: Adapter, row: RefillRun) -> NodeFacts:
    facts = adapter.probe(row.node)
    if not facts.reachable:
        raise RefillFailed(NO_ANSWER % {"node": row.node, "error": facts.error})
    if row.booted_at is None:
        row.pid = facts.pid
        row.booted_at = None if facts.booted_at is None else datetime.fromtimestamp(facts.booted_at, UTC)
    elif other_boot(facts, row.pid, row.booted_at.timestamp()):
        raise RefillFailed(BOOTED_AGAIN % {"node": row.node})
    return facts


def _write_all(service: APICacheService, row: RefillRun, held: Lease) -> None:
    deadline, began = Deadline.after(SECONDS), timezone.now()
    progress = _Progress(row, held)
    with ThreadPoolExecutor(1, "refill-invalid") as beside:
        listing = beside.submit(_invalid, service)
        found = _candidates(service, row.node)
        invalid = listing.result()
    row.candidates, done = len(found), 0
    row.save()
    wanted = found.without({number for name, rucs in invalid.items() for number in refill_order.of_rucs(name, rucs)})
    writing = refill_rows.Writing(service.adapter, row.node, service.wire_prefix, began)
    for numbers, write in writing.steps(wanted, SLICE):
        if not deadline.left():
            raise RefillFailed(OUT_OF_TIME % {"done": done, "all": len(found)})
        progress.add(write())
        done += len(numbers)
    row.save()


def _invalid(service: APICacheService) -> dict[str, list[str]]:
    """The RUCs that are listed as invalid now, by service: the key table knows only those of its last inventory."""
    found: dict[str, list[str]] = {}
    for provider in providers.TABLE:
        start = service.wire_prefix + keys.service_key(provider, "invalid_")
        listed, _failed = inventory.names(service.adapter, start, LISTING_SECONDS)
        found[provider] = [key.removeprefix(start) for key in listed]
    return found


def _candidates(service: APICacheService, node: str) -> refill_order.Candidates:
    prefix, adapter = service.wire_prefix, service.adapter

    def belongs(service_name: str, kind: str, identifier: str) -> bool:
        return adapter.node_for(refill_rows.wire_key(prefix, f"{service_name}:{kind}_{identifier}")) == node

    nodes = len(adapter.nodes())
    first_day = timezone.localdate() - timedelta(days=settings.WARM_WINDOW_DAYS - 1)
    # Hashing costs as much as reading the number does
    return refill_order.candidates(timezone.now(), first_day, None if nodes == 1 else belongs, nodes)


class _Progress:
    """What was written, saved about once a second.

    What the killed worker of the same run wrote is there now: it counts as written still, not as found there.
    """

    def __init__(self, row: RefillRun, held: Lease) -> None:
        held.renew()
        self._row = row
        self._lease = held
        self._earlier = row.written
        self._stored = self._existed = 0
        self._saved_at = monotonic()
        row.refused = 0

    def add(self, written: Written) -> None:
        row = self._row
        self._stored += written.stored
        self._existed += written.existed
        row.written = self._earlier + self._stored
        row.already_there = max(0, self._existed - self._earlier)
        row.refused += len(written.refused)
        if written.refused and not row.error:
            row.error = "{}: {}".format(*next(iter(written.refused.items())))[:300]
        if monotonic() - self._saved_at > PROGRESS_SECONDS:
            self._lease.renew()
            row.save()
            self._saved_at = monotonic()


def _health_runs(row: RefillRun) -> int:
    """How many of them have asked the node since its boot, or since a refill by hand began."""
    seen = NodeSample.objects.filter(node=row.node, reachable=True)
    if row.reason == RefillRun.Reason.BY_HAND or row.booted_at is None:
        return seen.filter(sample__taken_at__gte=row.started_at).count()
    return seen.filter(booted_at__gte=row.booted_at - timedelta(seconds=BOOT_JITTER_SECONDS)).count()


def _end(row: RefillRun, state: RefillRun.State, error: str) -> None:
    row.state, row.error, row.finished_at = state, redact(error)[:300], timezone.now()
    row.save()


def _nothing_done(node: str, state: str) -> RefillSummary:
    return {
        "run": None,
        "node": node,
        "state": state,
        "candidates": 0,
        "written": 0,
        "already_there": 0,
        "refused": 0,
        "error": "",
    }


def _summary(row: RefillRun) -> RefillSummary:
    return {
        "run": row.pk,
        "node": row.node,
        "state": str(row.state),
        "candidates": row.candidates,
        "written": row.written,
        "already_there": row.already_there,
        "refused": row.refused,
        "error": row.error,
    }
