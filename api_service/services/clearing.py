"""Clearings on record: asked for, carried out, resumed. Each is a row of `ClearRun`: who, what, how many, how long.

One clearing of a service at a time (run lock "clear:<service>"). The lock is short and renewed while the clearing
goes on: a process that is killed blocks the next one for `LEASE_SECONDS` at most, and its row is closed then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import TypeAlias

from django.db.models import QuerySet
from django.utils import timezone

from api_service.models import ClearRun, StoredAnswer
from api_service.sentences import sentence
from api_service.services import clear_plan, leases, task_sending
from api_service.services.cache_service import APICacheService
from api_service.services.clear_nodes import SECONDS, NodesClearing
from api_service.services.clear_plan import NodeJSON, Selection, Totals
from api_service.services.leases import Lease, LeaseLost, renewed_lease

TASK = "workers.tasks.clear_service_cache"
LEASE_SECONDS = 30.0
# Longer than a lease: a task that comes again after its worker was killed waits for what the dead one still holds
PATIENCE = LEASE_SECONDS + 5
# The broker drops the task then; a little later the row says so
WAITING_AT_MOST = timedelta(seconds=task_sending.EXPIRES_SECONDS + 30)
INTERRUPTED = sentence("interrupted: its process stopped before the end; resume it, or clear again")
ANOTHER = sentence("another clearing of %(service)s is under way")
ANOTHER_RUN = sentence("another clearing of %(service)s is under way (run %(run)s)")
NOT_TAKEN = sentence("no worker took it in time; resume it, or clear again")
ANSWERS_BATCH = 1000
DRY_RUNS_KEPT = timedelta(days=30)
RUNS_KEPT = timedelta(days=400)

State: TypeAlias = ClearRun.State
OPEN = (State.WAITING, State.RUNNING)
Tell = Callable[["ClearSummary"], None]


@dataclass(frozen=True, slots=True)
class ClearRequest:
    """`requested_by`: a user's name or what else tells who it was."""

    wanted: Selection
    via: str
    requested_by: str = ""
    with_answers: bool = False
    dry_run: bool = False


class ClearSummary(Totals):
    """`failed`: keys that were found and may still be there; `answers_*`: rows of the answer store."""

    run: int
    state: str
    service: str
    kind: str
    pattern: str
    dry_run: bool
    with_answers: bool
    answers_found: int
    answers_removed: int
    kinds: dict[str, int]
    nodes: dict[str, NodeJSON]
    seconds: float
    error: str


class ClearingUnderWay(Exception):
    """Another clearing of the service holds the lock: nothing was done."""


class NoSuchClearing(Exception):
    """No row of that number."""


def request(
    service: str, kind: str = "", pattern: str = "", *, via: str, requested_by: str = "", **switches: bool
) -> ClearRequest:
    """`switches`: `with_answers` and `dry_run`. Raises ValueError for what no key can be called."""
    return ClearRequest(clear_plan.selection(service, kind, pattern), via, requested_by[:150], **switches)


def clear(asked: ClearRequest, *, patience: float = 0.0, tell: Tell | None = None) -> ClearSummary:
    """Carry it out here and now. Raises ClearingUnderWay after `patience` seconds."""
    return carry_out(_record(asked), patience=patience, tell=tell)


def submit(asked: ClearRequest) -> ClearRun:
    """Let a worker do it. Raises task_sending.BrokerDown: no row is left then."""
    close_abandoned(timezone.now())
    run = _record(asked)
    try:
        _send(run)
    except task_sending.BrokerDown:
        run.delete()
        raise
    return run


def submit_again(run: ClearRun) -> None:
    """Let a worker go on with what failed. Raises task_sending.BrokerDown: the row is as before."""
    again = ClearRun.objects.filter(pk=run.pk, state=State.FAILED)
    if not again.update(state=State.WAITING, queued_at=timezone.now(), finished_at=None):
        return
    try:
        _send(run)
    except task_sending.BrokerDown:
        waiting = ClearRun.objects.filter(pk=run.pk, state=State.WAITING)
        waiting.update(state=State.FAILED, finished_at=run.finished_at)
        raise


def _send(run: ClearRun) -> None:
    names = ("service", "kind", "pattern", "dry_run", "with_answers")
    task_sending.send(TASK, {**{name: getattr(run, name) for name in names}, "run": run.pk})


def find(number: int) -> ClearRun:
    leases.close_seen(close_abandoned, timezone.now())
    return _row(number)


def _row(number: int) -> ClearRun:
    try:
        return ClearRun.objects.get(pk=number)
    except ClearRun.DoesNotExist:
        raise NoSuchClearing(f"there is no clearing {number}") from None


def of_request(number: int, asked: ClearRequest) -> ClearRun:
    """The clearing of that number. Raises ValueError when it is of something else than `asked`: a number mistyped.

    It is not closed when its process was killed: the message that comes again goes on with it.
    """
    run = _row(number)
    same = (run.dry_run, run.with_answers) == (asked.dry_run, asked.with_answers)
    if selection_of(run) != asked.wanted or not same:
        raise ValueError(f"clearing {number} is of {selection_of(run)}: name what it is of, or leave the number out")
    return run


def selection_of(run: ClearRun) -> Selection:
    return clear_plan.selection(run.service, run.kind, run.pattern)


def carry_out(run: ClearRun, *, patience: float = 0.0, tell: Tell | None = None, revive: bool = True) -> ClearSummary:
    """Begin it, or go on with the nodes that are not done; one that is done is only told again.

    So is one that failed unless `revive`: somebody was told that it is over, a message that comes late changes nothing.

    Raises ClearingUnderWay when another one of the service is still at it after `patience` seconds, and LeaseLost
    when this process was held up for so long that another one took over.
    """
    with renewed_lease(lock_of(run.service), LEASE_SECONDS, patience) as held:
        if held is None:
            raise ClearingUnderWay(_refuse(run))
        run.refresh_from_db()
        if run.state in OPEN or (revive and run.state == State.FAILED):
            _Recorded(run, held, tell).carry_out()
    return as_json(run)


def as_json(run: ClearRun) -> ClearSummary:
    return {
        "run": run.pk,
        "state": run.state,
        "service": run.service,
        "kind": run.kind,
        "pattern": run.pattern,
        "dry_run": run.dry_run,
        "with_answers": run.with_answers,
        "answers_found": run.answers_found,
        "answers_removed": run.answers_removed,
        "kinds": clear_plan.by_kind(run.nodes.values()),
        "nodes": run.nodes,
        "seconds": round(run.seconds, 3),
        "error": run.error,
        **clear_plan.totals(run.nodes.values(), dry_run=run.dry_run),
    }


def close_abandoned(now: datetime) -> None:
    """Rows that nobody will bring to an end: their process was killed, or no worker took the task."""
    running, waiting = (ClearRun.objects.filter(state=state) for state in (State.RUNNING, State.WAITING))
    leases.close_abandoned(running, lambda run: lock_of(run.service), partial(_fail, INTERRUPTED), now)
    for run in waiting.filter(queued_at__lt=now - WAITING_AT_MOST):
        _fail(NOT_TAKEN, run, now)


def prune(now: datetime) -> int:
    """Drop rows beyond their retention; the number dropped."""
    counted_only = ClearRun.objects.filter(dry_run=True, started_at__lt=now - DRY_RUNS_KEPT)
    return counted_only.delete()[0] + ClearRun.objects.filter(started_at__lt=now - RUNS_KEPT).delete()[0]


class _Recorded:
    """A clearing under its lock, written down as it goes."""

    def __init__(self, run: ClearRun, held: Lease, tell: Tell | None) -> None:
        self._run = run
        self._lease = held
        self._tell = tell
        self._wanted = selection_of(run)
        self._before = run.seconds
        self._started = monotonic()

    def carry_out(self) -> None:
        cache, now = APICacheService(), timezone.now()
        run = self._run
        for other in ClearRun.objects.filter(service=run.service, state=State.RUNNING).exclude(pk=run.pk):
            _fail(INTERRUPTED, other, now)
        if not run.nodes:
            run.started_at = now
        run.state, run.error, run.finished_at, run.backend = State.RUNNING, "", None, cache.backend
        run.nodes = clear_plan.start(cache.adapter.nodes(), run.nodes)
        try:
            self._save()
            self._clear(cache)
        except (LeaseLost, SystemExit):
            # The row may be another process's by now; of a worker that is told to end, the message comes again
            raise
        except BaseException as error:
            self._end(State.FAILED, leases.stopped_by(error))
            raise
        failed = clear_plan.errors(run.nodes)
        self._end(State.FAILED if failed else State.DONE, failed)

    def _clear(self, cache: APICacheService) -> None:
        """Stored answers first: a look-up in between would fill the cache from them again."""
        run = self._run
        if run.with_answers:
            run.answers_found = run.answers_removed
            for found in _answers(self._wanted):
                run.answers_found += len(found)
                if not run.dry_run:
                    run.answers_removed += StoredAnswer.objects.filter(pk__in=found).delete()[0]
                self._progress(run.nodes)
        clearing = NodesClearing(cache.adapter, cache.wire_prefix, self._wanted, dict(run.nodes), dry_run=run.dry_run)
        try:
            clearing.run(SECONDS, lambda: self._progress(clearing.nodes))
        finally:
            run.nodes = dict(clearing.nodes)

    def _progress(self, nodes: dict[str, NodeJSON]) -> None:
        self._run.nodes = dict(nodes)
        self._lease.renew()
        self._save()
        if self._tell:
            self._tell(as_json(self._run))

    def _end(self, state: State, error: str) -> None:
        self._run.state, self._run.error, self._run.finished_at = state, error[:300], timezone.now()
        self._save()

    def _save(self) -> None:
        run = self._run
        counts = clear_plan.totals(run.nodes.values(), dry_run=run.dry_run)
        run.found, run.removed, run.failed = counts["found"], counts["removed"], counts["failed"]
        run.seconds = self._before + monotonic() - self._started
        run.save()


def _answers(wanted: Selection) -> Iterator[list[int]]:
    """Primary keys of the stored answers of the selection, in batches; they may be deleted meanwhile."""
    rows, last = StoredAnswer.objects.filter(service=wanted.service).order_by("pk"), 0
    if wanted.kind:
        rows = rows.filter(kind=wanted.kind)
    matches = clear_plan.matcher(wanted.pattern or "*")
    while batch := list(rows.filter(pk__gt=last).values_list("pk", "identifier")[:ANSWERS_BATCH]):
        last = batch[-1][0]
        if found := [number for number, identifier in batch if matches(identifier)]:
            yield found


# --- The lock ------------------------------------------------------------------------------------------


def lock_of(service: str) -> str:
    return f"clear:{service}"


# --- Rows ----------------------------------------------------------------------------------------------


def _record(asked: ClearRequest) -> ClearRun:
    now = timezone.now()
    return ClearRun.objects.create(
        state=State.WAITING,
        started_at=now,
        queued_at=now,
        requested_by=asked.requested_by,
        via=asked.via,
        service=asked.wanted.service,
        kind=asked.wanted.kind,
        pattern=asked.wanted.pattern,
        with_answers=asked.with_answers,
        dry_run=asked.dry_run,
    )


def _refuse(run: ClearRun) -> str:
    """Why it was not begun. A row that another process is at, or that had failed before, stays as it is."""
    others: QuerySet[ClearRun] = ClearRun.objects.filter(service=run.service, state=State.RUNNING).exclude(pk=run.pk)
    other = others.order_by("-started_at").first()
    text = ANOTHER_RUN if other else ANOTHER
    error = text % {"service": run.service, "run": other.pk if other else ""}
    if run.state == State.WAITING:
        _fail(error, run, timezone.now())
    return error


def _fail(error: str, run: ClearRun, at: datetime) -> None:
    """Unless it is in another state by now."""
    same = ClearRun.objects.filter(pk=run.pk, state=run.state)
    same.update(state=State.FAILED, error=error, finished_at=at)
