"""Billing runs: a list of RUCs is recorded, counted for nothing, then checked batch by batch until it is done.

Its rows say what is done, so that a run goes on after a kill, a limit or an outage, and asks for nothing twice. One
process at a time works on it (run lock "billing:<number>", renewed with each batch). Answers past their life are not
good enough to invoice by: such are asked for anew, and paid for within the run's budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypedDict

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from api_service.models import BillingRow, BillingRun
from api_service.sentences import sentence
from api_service.services import answers, billing_work, filling, inventory, leases, task_sending
from api_service.services.billing_upload import Line
from api_service.services.cache_service import MIGO, APICacheService
from api_service.services.leases import renewed_lease
from api_service.services.subjects import RUC, Subject

TASK: Final = "workers.tasks.check_billing"
LEASE_SECONDS: Final = 90.0
# A task that comes again after its worker was killed waits for what the dead one still holds
PATIENCE: Final = LEASE_SECONDS + 5
TURN_SECONDS: Final = 60.0
WAITING_AT_MOST: Final = timedelta(seconds=task_sending.EXPIRES_SECONDS + 120)
INTERRUPTED: Final = sentence("interrupted: its process stopped before the end; resume it")
NOT_TAKEN: Final = sentence("no worker took it in time; resume it")
NOT_SENT: Final = sentence("its next turn could not be sent: %(error)s; resume it")
ROWS_A_WRITE: Final = 1000

State: TypeAlias = BillingRun.State
OPEN: Final = (State.WAITING, State.RUNNING)
RESUMABLE: Final = (State.PLANNED, State.PAUSED, State.FAILED, State.CANCELLED)
Tell: TypeAlias = Callable[["BillingSummary"], None]


class BillingSummary(TypedDict):
    """`retry_after`: seconds after which it may go on by itself, None where it is over or somebody has to act."""

    run: int
    state: str
    file: str
    lines: int
    distinct: int
    cached: int
    stored: int
    to_pay: int
    budget: int | None
    checked: int
    fit: int
    unfit: int
    failed: int
    paid: int
    reasons: dict[str, int]
    retry_after: float | None
    error: str


class BillingUnderWay(Exception):
    """Another process is at this run: nothing was done."""


class NoSuchRun(Exception):
    """No row of that number."""


# -- a new one


def estimate(lines: list[Line], file_name: str) -> BillingSummary:
    """What a list would cost, as it is now; nothing is kept."""
    return as_json(_counted(lines, file_name, timezone.now()))


def plan(lines: list[Line], *, file_name: str, via: str, requested_by: str, budget: int | None = None) -> BillingRun:
    """Record the list and count what it would cost. Nothing is paid, and nothing is begun."""
    now = timezone.now()
    run, rows = _counted(lines, file_name, now), [_row(line, now) for line in lines]
    run.requested_by, run.via, run.budget = requested_by[:150], via, budget
    with transaction.atomic():
        run.save()
        for row in rows:
            row.run = run
        BillingRow.objects.bulk_create(rows, batch_size=ROWS_A_WRITE)
        count(run)
        run.save()
    return run


def _counted(lines: list[Line], file_name: str, now: datetime) -> BillingRun:
    distinct = list(dict.fromkeys(line.ruc for line in lines if line.ruc))
    cached, stored = _known(distinct, now)
    return BillingRun(
        uploaded_at=now,
        file_name=file_name[:150],
        lines=len(lines),
        distinct=len(distinct),
        cached=cached,
        stored=stored,
        to_pay=len(distinct) - cached - stored,
    )


def _row(line: Line, now: datetime) -> BillingRow:
    if not line.problem:
        return BillingRow(line=line.number, given=line.given, ruc=line.ruc)
    done = BillingRow.State.DONE
    reasons = [line.problem]
    return BillingRow(
        line=line.number, given=line.given, state=done, fit=False, reasons=reasons, source="validation", checked_at=now
    )


def _known(rucs: list[str], now: datetime) -> tuple[int, int]:
    """How many the cache answers, and how many of the others the store would, as it is now."""
    cache, cached, rest = APICacheService(), 0, list[str]()
    for part in inventory.batches([Subject(MIGO, RUC, ruc) for ruc in rucs], filling.AT_ONCE):
        _reads, settled = filling.read_all(cache, list(part))
        cached += len(settled)
        rest += [subject.identifier for subject in part if subject not in settled]
    life = Subject(MIGO, RUC, "").longest_life
    return cached, len(answers.fresh(MIGO, RUC, rest, life, now.timestamp()))


# -- its course


def submit(run: BillingRun, budget: int | None) -> bool:
    """Let a worker begin it, or go on with what has no verdict; False where it is under way or done already.

    `budget`: paid queries at most, over all its parts. Raises task_sending.BrokerDown: the row is as before.
    """
    before = run.state
    if not release(run, budget):
        return False
    try:
        task_sending.send(TASK, {"run": run.pk})
    except task_sending.BrokerDown:
        BillingRun.objects.filter(pk=run.pk, state=State.WAITING).update(state=before)
        raise
    return True


def release(run: BillingRun, budget: int | None) -> bool:
    """Make it ready to be worked on: True for the one caller that does. Those that got no answer are asked again."""
    now = timezone.now()
    with transaction.atomic():
        ready = BillingRun.objects.filter(pk=run.pk, state__in=RESUMABLE)
        if not ready.update(state=State.WAITING, queued_at=now, finished_at=None, error="", budget=budget):
            return False
        failed = BillingRow.objects.filter(run=run, state=BillingRow.State.FAILED)
        failed.update(state=BillingRow.State.PENDING, reasons=[])
        run.refresh_from_db()
        count(run)
        run.save(update_fields=COUNTED)
    return True


def cancel(run: BillingRun) -> bool:
    """It ends before its next batch; what was paid for is kept. False where it is over already."""
    open_ones = BillingRun.objects.filter(pk=run.pk).exclude(state__in=[State.DONE, State.CANCELLED])
    return bool(open_ones.update(state=State.CANCELLED, finished_at=timezone.now()))


def carry_out(
    run: BillingRun, *, seconds: float | None = None, patience: float = 0.0, tell: Tell | None = None
) -> BillingSummary:
    """Work on it for `seconds`, or to its end; one that nobody released, or that is over, is only told.

    Raises BillingUnderWay when another process is still at it after `patience` seconds, and LeaseLost when this one
    was held up for so long that another took over.
    """
    with renewed_lease(_lock_name(run.pk), LEASE_SECONDS, patience) as held:
        if held is None:
            raise BillingUnderWay(f"another process works on billing run {run.pk}")
        run.refresh_from_db()
        if run.state not in OPEN:
            return as_json(run)
        work = billing_work.Work(run, held, tell and (lambda: tell(as_json(run))))
        work.run(seconds)
        finish(run)
    return as_json(run, work.retry_after)


def take_turn(run: BillingRun) -> BillingSummary:
    """A worker's turn. What is left is sent again, behind the tasks that wait: a long list holds no queue."""
    summary = carry_out(run, seconds=TURN_SECONDS, patience=PATIENCE)
    if summary["retry_after"] is not None:
        try:
            task_sending.send(TASK, {"run": run.pk}, countdown=summary["retry_after"])
        except task_sending.BrokerDown as error:
            _fail(NOT_SENT % {"error": error}, run, timezone.now())
            raise
    return summary


def finish(run: BillingRun) -> None:
    run.refresh_from_db()
    count(run)
    run.save(update_fields=COUNTED)


def find(number: int) -> BillingRun:
    """It is not closed when its process was killed: the message that comes again goes on with it."""
    try:
        return BillingRun.objects.get(pk=number)
    except BillingRun.DoesNotExist:
        raise NoSuchRun(f"there is no billing run {number}") from None


def close_abandoned(now: datetime) -> None:
    """Runs that nobody will bring to an end: their process was killed, or no worker took the task."""
    running, waiting = (BillingRun.objects.filter(state=state) for state in (State.RUNNING, State.WAITING))
    leases.close_abandoned(running, lambda run: _lock_name(run.pk), partial(_fail, INTERRUPTED), now)
    for run in waiting.filter(queued_at__lt=now - WAITING_AT_MOST):
        _fail(NOT_TAKEN, run, now)


def _fail(error: str, run: BillingRun, now: datetime) -> None:
    same = BillingRun.objects.filter(pk=run.pk, state=run.state)
    same.update(state=State.FAILED, error=error, finished_at=now)


def _lock_name(number: int) -> str:
    return f"billing:{number}"


# -- what came of it

COUNTED: Final = ("checked", "fit", "unfit", "failed", "reasons")


def count(run: BillingRun) -> None:
    """Set the counts of `run` by its rows; not saved."""
    rows = BillingRow.objects.filter(run=run)
    # An alias like the column's own name would be taken for it
    sums = rows.aggregate(
        n_checked=Count("pk", filter=Q(state=BillingRow.State.DONE)),
        n_fit=Count("pk", filter=Q(fit=True)),
        n_unfit=Count("pk", filter=Q(fit=False)),
        n_failed=Count("pk", filter=Q(state=BillingRow.State.FAILED)),
    )
    for name, number in sums.items():
        setattr(run, name.removeprefix("n_"), number)
    coded = rows.filter(Q(fit=False) | Q(state=BillingRow.State.FAILED)).values_list("reasons", flat=True)
    run.reasons = dict(Counter(code for codes in coded for code in codes).most_common())


def as_json(run: BillingRun, retry_after: float | None = None) -> BillingSummary:
    return {
        "run": run.pk,
        "state": run.state,
        "file": run.file_name,
        "lines": run.lines,
        "distinct": run.distinct,
        "cached": run.cached,
        "stored": run.stored,
        "to_pay": run.to_pay,
        "budget": run.budget,
        "checked": run.checked,
        "fit": run.fit,
        "unfit": run.unfit,
        "failed": run.failed,
        "paid": run.paid,
        "reasons": run.reasons,
        "retry_after": retry_after,
        "error": run.error,
    }
