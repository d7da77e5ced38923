"""Copies of the live keys to another cache, or to their places among other nodes: recorded, resumable, proved.

One copy at a time (run lock). Each source node is listed and copied as a stream; a node that is done is not read
again when an interrupted copy goes on, and one that was half done begins anew: keys that are there are left alone.
A copy that overwrites reads those again that were copied without.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic, time
from typing import TypeAlias, TypedDict

from django.db.models import QuerySet
from django.utils import timezone

from api_service.models import CopyRun
from api_service.sentences import sentence
from api_service.services import copy_plan, counted, leases
from api_service.services.backends import Deadline, Entry, InventoryError, Item
from api_service.services.copy_checks import Job, check
from api_service.services.copy_plan import COPIED, FAILED, RUNNING, Marks, NodeJSON, Reason, Sample, Shares
from api_service.services.copy_proof import Proof, prove
from api_service.services.leases import Lease, LeaseLost, renewed_lease
from api_service.services.own_hits import Operation

LOCK = "copy_cache"
# A copy that ended longer ago, by itself or by its kill, is begun anew: of its keys many have ended since
GO_ON_WITHIN = timedelta(hours=1)
LEASE_SECONDS = 30.0
# Longer than a lease: one that was killed still holds it when its copy is begun again
PATIENCE = LEASE_SECONDS + 5
SCAN_SECONDS = 3600.0
TELL_SECONDS = 1.0
INTERRUPTED = sentence("interrupted: its process stopped before the end; copy again")

State: TypeAlias = CopyRun.State
Tell = Callable[["CopySummary"], None]


class CopySummary(TypedDict):
    """`skipped`: reason → keys; `examples`: reason → one key and what was said of it."""

    run: int
    purpose: str
    source: str
    target: str
    state: str
    resumed: bool
    nodes: dict[str, NodeJSON]
    found: int
    copied: int
    already_there: int
    skipped: dict[str, int]
    examples: dict[str, str]
    missing: int
    checked: int
    verdicts: dict[str, int]
    unproved: dict[str, str]
    seconds: float
    error: str


class CopyUnderWay(Exception):
    """Another process is copying: nothing was done."""


def shares(job: Job) -> tuple[Shares, dict[str, int], dict[str, str]]:
    """Keys and bytes per node now and then, what would be left out, and the nodes that could not be listed."""
    found, skipped = Shares.of(job.source.nodes(), job.target.nodes()), Counter[str]()
    failed: dict[str, str] = {}
    with counted.adapter(Operation.COPY, job.source) as source:
        for node in source.nodes():
            try:
                for entry in seen(replace(job, source=source), node, skipped):
                    found.add(entry.size, node, job.target.node_for(entry.key))
            except InventoryError as error:
                failed[node] = error.reason
    return found, dict(skipped), failed


def copy(job: Job, *, restart: bool = False, patience: float | None = None, tell: Tell | None = None) -> CopySummary:
    """Go on with the last copy of the same two caches if it was interrupted, else begin one.

    Raises CannotCopy before anything was done, CopyUnderWay after `patience` seconds, LeaseLost.
    """
    check(job)
    # Before the lease is ours: the lock still tells since when nobody copies
    close_abandoned(timezone.now())
    with renewed_lease(LOCK, LEASE_SECONDS, PATIENCE if patience is None else patience) as held:
        if held is None:
            raise CopyUnderWay
        with (
            counted.adapter(Operation.COPY, job.source) as source,
            counted.adapter(Operation.COPY, job.target) as target,
        ):
            return _Copying(replace(job, source=source, target=target), held, tell, restart=restart).carry_out()


def close_abandoned(now: datetime) -> None:
    """A copy whose process was killed has failed, as of the end of its lease: for GO_ON_WITHIN from then it is gone on
    with, after that begun anew.
    """
    leases.close_abandoned(_running(), lambda _run: LOCK, _interrupt, now)


def seen(job: Job, node: str, skipped: Counter[str]) -> Iterator[Entry]:
    """Live keys of ours on a node where the cache looks for them."""
    entries = job.source.scan(node, job.wire_prefix, Deadline.after(SCAN_SECONDS))
    return copy_plan.chosen(entries, job.wire_prefix, lambda key: job.is_seen(key, node), skipped)


class _Copying:
    """One copy under its lock, written down as it goes."""

    def __init__(self, job: Job, held: Lease, tell: Tell | None, *, restart: bool) -> None:
        self._job = job
        self._lease = held
        self._tell = tell
        self._run, self._resumed = _row(job, restart=restart)
        self._earlier = [node for node, row in self._run.nodes.items() if row["state"] == COPIED]
        self._marks, self._sample = Marks(), Sample(job.sample)
        self._down: dict[str, str] = {}
        self._examples: dict[str, str] = {}
        self._proof = Proof()
        self._started = self._told = monotonic()

    def carry_out(self) -> CopySummary:
        run = self._run
        try:
            self._save()
            for node, row in run.nodes.items():
                if row["state"] != COPIED:
                    run.nodes[node] = self._node(node)
                    self._save()
            self._prove()
        except LeaseLost:
            raise
        except BaseException as error:
            self._end(State.FAILED, leases.stopped_by(error))
            raise
        failed = "; ".join(f"{node}: {row['error']}" for node, row in run.nodes.items() if row["state"] == FAILED)
        self._end(State.FAILED if failed else State.DONE, failed)
        return self.summary()

    def summary(self) -> CopySummary:
        run = self._run
        return {
            "run": run.pk,
            "purpose": run.purpose,
            "source": run.source,
            "target": run.target,
            "state": run.state,
            "resumed": self._resumed,
            "nodes": run.nodes,
            "found": run.found,
            "copied": run.copied,
            "already_there": run.already_there,
            "skipped": run.skipped,
            "examples": self._examples,
            "missing": run.missing,
            "checked": run.checked,
            "verdicts": dict(self._proof.verdicts),
            "unproved": self._proof.unproved,
            "seconds": round(monotonic() - self._started, 3),
            "error": run.error,
        }

    # -- one node

    def _node(self, node: str) -> NodeJSON:
        job, skipped = self._job, Counter[str]()
        row = copy_plan.new_node(RUNNING, replaced=job.replace)
        self._run.nodes[node] = row
        entries = (entry for entry in seen(job, node, skipped) if job.is_wanted(entry.key, node))
        try:
            for batch in copy_plan.sized(entries):
                self._batch(node, batch, row, skipped)
                row["skipped"] = dict(skipped)
                self._progress()
        except InventoryError as error:
            row["state"], row["error"] = FAILED, error.reason[:300]
        else:
            lost = skipped[Reason.TARGET_DOWN]
            row["state"] = FAILED if lost else COPIED
            row["error"] = "; ".join(f"{name}: {why}" for name, why in self._down.items())[:300] if lost else ""
        row["skipped"] = dict(skipped)
        return row

    def _batch(self, node: str, batch: list[Entry], row: NodeJSON, skipped: Counter[str]) -> None:
        self._lease.renew()
        found, now = self._job.source.read(node, [entry.key for entry in batch]), time()
        row["found"] += len(batch)
        foreign = set(found.foreign)
        places: defaultdict[str, list[Item]] = defaultdict(list)
        for key, _size, expires_at, _read in batch:
            data = found.values.get(key)
            if data is not None:
                places[self._job.target.node_for(key)].append(Item(key, data, copy_plan.end_of(data, expires_at)))
            elif key in foreign:
                skipped[Reason.FOREIGN] += 1
            else:
                skipped[copy_plan.why_gone(expires_at, now)] += 1
        for place, items in places.items():
            if place not in self._down:
                self._store(place, items, row, skipped)
            else:
                skipped[Reason.TARGET_DOWN] += len(items)

    def _store(self, place: str, items: list[Item], row: NodeJSON, skipped: Counter[str]) -> None:
        """A target that fails is left alone from now on: its keys are told as not copied."""
        try:
            written = self._job.target.write(place, items, replace=self._job.replace)
            renewed = self._renew(place, items) if written.existed else 0
        except InventoryError as error:
            self._down[place] = error.reason
            skipped[Reason.TARGET_DOWN] += len(items)
            return
        row["copied"] += written.stored + renewed
        row["already_there"] += written.existed - renewed
        skipped.update(self._refused(written.refused))
        if ended := len(items) - written.stored - written.existed - len(written.refused):
            skipped[Reason.EXPIRED] += ended
        for key, _data, expires_at in items:
            if key not in written.refused:
                self._marks.add(key, expires_at)
                self._sample.add(key)

    def _renew(self, place: str, items: list[Item]) -> int:
        """Newer answers win over what is there already, and only they."""
        there = self._job.target.read(place, (item.key for item in items)).values
        newer = [item for item in items if item.key in there and copy_plan.is_newer(item.data, there[item.key])]
        return self._job.target.write(place, newer, replace=True).stored if newer else 0

    def _refused(self, refused: dict[str, str]) -> Counter[str]:
        reasons = Counter[str]()
        for key, words in refused.items():
            reason = copy_plan.reason_of(words)
            reasons[reason] += 1
            self._examples.setdefault(reason, f"{key}: {words}")
        return reasons

    # -- the proof

    def _prove(self) -> None:
        run = self._run
        for node in self._earlier:
            self._mark_again(node)
        self._proof.unproved |= self._down
        prove(self._job, self._marks, self._sample, run.started_at.timestamp(), self._proof, self._lease.renew)
        run.missing, run.checked, run.differing = self._proof.missing, self._proof.checked, self._proof.differing

    def _mark_again(self, node: str) -> None:
        """Copied before the interruption, by a process whose marks are gone: its keys as they are now."""
        try:
            for entry in seen(self._job, node, Counter()):
                if self._job.is_wanted(entry.key, node):
                    self._marks.add(entry.key, entry.expires_at)
                    self._sample.add(entry.key)
        except InventoryError as error:
            self._proof.unproved[node] = error.reason

    # -- the row

    def _progress(self) -> None:
        if monotonic() - self._told >= TELL_SECONDS:
            self._told = monotonic()
            self._save()
            if self._tell:
                self._tell(self.summary())

    def _end(self, state: State, error: str) -> None:
        self._run.state, self._run.error, self._run.finished_at = state, error[:300], timezone.now()
        self._save()

    def _save(self) -> None:
        """Raises LeaseLost: the row may be another process's by now."""
        self._lease.renew()
        run, rows = self._run, list(self._run.nodes.values())
        run.found = sum(row["found"] for row in rows)
        run.copied = sum(row["copied"] for row in rows)
        run.already_there = sum(row["already_there"] for row in rows)
        skipped = Counter[str]()
        for row in rows:
            skipped.update(row["skipped"])
        run.skipped = dict(skipped)
        run.save()


def _row(job: Job, *, restart: bool) -> tuple[CopyRun, bool]:
    """The row to work on, and whether it was begun before. Under the lock: no other row is at work."""
    source = copy_plan.label(job.source.name, job.source.nodes())
    target = copy_plan.label(job.target.name, job.target.nodes())
    # What was refused has a row without nodes: it is no copy that could be the last one
    same = CopyRun.objects.filter(purpose=job.purpose, source=source, target=target).exclude(nodes={})
    last = same.order_by("-started_at", "-pk").first()
    run = last if last is not None and not restart and _goes_on(last) else None
    before = run is not None
    if run is None:
        run = CopyRun(purpose=job.purpose, source=source, target=target, started_at=timezone.now())
    for left in _running().exclude(pk=run.pk):
        _interrupt(left, timezone.now())
    run.state, run.error, run.finished_at, run.requested_by = State.RUNNING, "", None, job.requested_by[:150]
    run.nodes = copy_plan.resumed(job.source.nodes(), run.nodes, replace=job.replace)
    return run, before


def _goes_on(last: CopyRun) -> bool:
    """Whether it has something left, and what it copied is likely to be there still: answers live for hours."""
    is_old = last.finished_at is not None and last.finished_at < timezone.now() - GO_ON_WITHIN
    return not is_old and copy_plan.can_go_on(last.state, last.nodes)


def _running() -> QuerySet[CopyRun]:
    return CopyRun.objects.filter(state=State.RUNNING)


def _interrupt(run: CopyRun, at: datetime) -> None:
    nodes = copy_plan.interrupted(run.nodes, INTERRUPTED)
    _running().filter(pk=run.pk).update(state=State.FAILED, error=INTERRUPTED, finished_at=at, nodes=nodes)
