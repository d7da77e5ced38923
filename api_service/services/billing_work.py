"""The work on a billing run, batch by batch: what is known for nothing first, the rest within its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Final, TypeAlias

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from api_service.models import BillingRow, BillingRun
from api_service.sentences import sentence
from api_service.services import answers, billing_rows, filling, inventory, lookup, results
from api_service.services.budget import BudgetExhausted, Ledger, Purpose
from api_service.services.cache_service import MIGO, APICacheService
from api_service.services.errors import UpstreamBadAnswer, UpstreamNotAsked
from api_service.services.failures import Trouble
from api_service.services.leases import Lease, LeaseLost, stopped_by
from api_service.services.outcomes import Lookup, Source
from api_service.services.subjects import RUC, Subject

# One call of the provider, and what a kill costs at most: its answers are in the store, its rows are asked again
BATCH: Final = 100
# Limits that are over within a minute: the run goes on by itself
SHORT_LIMITS: Final = frozenset({"rate", "minute"})
UNANSWERED: Final = sentence("%(failed)s lines have no answer; resume it")

State: TypeAlias = BillingRun.State
Answers: TypeAlias = Mapping[str, Lookup | Trouble]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why it does not go on now; `retry_after` seconds where it may go on by itself then."""

    state: str
    error: str = ""
    retry_after: float | None = None


class Work:
    """One run under its lock, written down with each batch."""

    def __init__(self, run: BillingRun, held: Lease, told: Callable[[], None] | None) -> None:
        self.retry_after: float | None = None
        self._run = run
        self._lease = held
        self._told = told

    def run(self, seconds: float | None) -> None:
        """Until it is over, or for so long; then it waits, and `retry_after` says that it may go on."""
        until = None if seconds is None else monotonic() + seconds
        try:
            stop = self._stopped(until)
        except (LeaseLost, SystemExit):
            # The row may be another process's by now; of a worker that is told to end, the message comes again
            raise
        except BaseException as error:
            self._end(Stop(State.FAILED, stopped_by(error)))
            raise
        self._end(stop)

    def _stopped(self, until: float | None) -> Stop:
        self._begin()
        for rucs in chain(self._known_batches(), iter(self._next_batch, [])):
            if until is not None and monotonic() > until:
                return Stop(State.WAITING, retry_after=0.0)
            self._lease.renew()
            if stop := self._check(rucs):
                return stop
        failed = BillingRow.objects.filter(run=self._run, state=BillingRow.State.FAILED).count()
        return Stop(State.FAILED, UNANSWERED % {"failed": failed}) if failed else Stop(State.DONE)

    def _begin(self) -> None:
        """A batch that was killed counts as paid in full: nobody knows how far it came."""
        run = self._run
        row = BillingRun.objects.filter(pk=run.pk)
        row.update(state=State.RUNNING, error="", paid=F("paid") + F("paying"), paying=0)
        row.filter(started_at=None).update(started_at=timezone.now())
        run.refresh_from_db()

    def _known_batches(self) -> Iterator[list[str]]:
        """What costs nothing comes first: no limit keeps it back, and paid calls are full ones then."""
        for part in inventory.batches(dict.fromkeys(self._pending()), filling.AT_ONCE):
            free = _free(part)
            yield from inventory.batches([ruc for ruc in part if ruc in free], BATCH)

    def _next_batch(self) -> list[str]:
        return list(dict.fromkeys(self._pending()[:BATCH]))

    def _pending(self) -> QuerySet[BillingRow, str]:
        """In the order of the file. What failed before comes last: it must not keep the others from being asked."""
        pending = BillingRow.objects.filter(run=self._run, state=BillingRow.State.PENDING)
        return pending.order_by(F("checked_at").asc(nulls_first=True), "line").values_list("ruc", flat=True)

    # -- a batch

    def _check(self, rucs: Sequence[str]) -> Stop | None:
        left = None if self._run.budget is None else max(0, self._run.budget - self._run.paid)
        asked, unknown = self._affordable(rucs, left)
        if not asked:
            return Stop(State.PAUSED, str(BudgetExhausted("run", self._run.budget or 0, 0)))
        if not self._reserve(len(unknown)):
            return Stop(State.CANCELLED)
        ledger = Ledger(MIGO, Purpose.USER, left)
        found = lookup.get_many(MIGO, RUC, asked, max_stale=0, ledger=ledger)
        self._write(found, ledger.queries)
        if self._told:
            self._told()
        return why_stop(found)

    def _affordable(self, rucs: Sequence[str], left: int | None) -> tuple[list[str], set[str]]:
        """Those to ask about, and which of them somebody may have to pay for: no more than are left."""
        free = _free(rucs)
        unknown = [ruc for ruc in rucs if ruc not in free][:left]
        wanted = free | set(unknown)
        return [ruc for ruc in rucs if ruc in wanted], set(unknown)

    def _reserve(self, queries: int) -> bool:
        """False where somebody has cancelled it meanwhile."""
        return bool(BillingRun.objects.filter(pk=self._run.pk, state=State.RUNNING).update(paying=queries))

    @transaction.atomic
    def _write(self, found: Answers, paid: int) -> None:
        """All of the batch or nothing. Those that a limit kept back stay as they were: nobody was asked."""
        self._lease.renew()
        now = timezone.now()
        said = {
            ruc: billing_rows.verdict(results.of_answer(answer))
            for ruc, answer in found.items()
            if isinstance(answer, Lookup) or limit_of(answer) is None
        }
        pending = BillingRow.objects.filter(run=self._run, ruc__in=said, state=BillingRow.State.PENDING)
        rows = list(pending)
        for row in rows:
            billing_rows.put(row, said[row.ruc], now)
        BillingRow.objects.bulk_update(rows, billing_rows.WRITTEN, batch_size=BATCH)
        fit = [row.fit for row in rows]
        BillingRun.objects.filter(pk=self._run.pk).update(
            paid=F("paid") + paid,
            paying=0,
            checked=F("checked") + fit.count(True) + fit.count(False),
            fit=F("fit") + fit.count(True),
            unfit=F("unfit") + fit.count(False),
            failed=F("failed") + fit.count(None),
        )
        self._run.refresh_from_db()

    def _end(self, stop: Stop) -> None:
        """One that was cancelled meanwhile stays so."""
        now = timezone.now()
        waits = stop.state == State.WAITING
        self.retry_after = stop.retry_after
        running = BillingRun.objects.filter(pk=self._run.pk, state=State.RUNNING)
        ended = running.update(
            state=stop.state, error=stop.error[:300], queued_at=now, finished_at=None if waits else now
        )
        if not ended:
            self.retry_after = None


def _free(rucs: Sequence[str]) -> set[str]:
    """Those that the cache or the store answers now; a look at them, not counted as a look-up."""
    subjects = [Subject(MIGO, RUC, ruc) for ruc in rucs]
    _reads, settled = filling.read_all(APICacheService(), subjects)
    rest = [subject for subject in subjects if subject not in settled]
    life = Subject(MIGO, RUC, "").longest_life
    stored = answers.fresh(MIGO, RUC, [subject.identifier for subject in rest], life, timezone.now().timestamp())
    return {subject.identifier for subject in settled} | set(stored)


# -- decisions, pure


def why_stop(found: Answers) -> Stop | None:
    """A limit that is reached, or a provider that answers nothing: the next batch would fare no better."""
    failed = {ruc: answer for ruc, answer in found.items() if not isinstance(answer, Lookup)}
    limits = [limit for answer in failed.values() if (limit := limit_of(answer))]
    if limits:
        limit = max(limits, key=lambda one: one.retry_after)
        if limit.period in SHORT_LIMITS:
            return Stop(State.WAITING, retry_after=max(1.0, limit.retry_after))
        return Stop(State.PAUSED, str(limit))
    answered = any(isinstance(answer, Lookup) and answer.source is Source.UPSTREAM for answer in found.values())
    broken = [answer for answer in failed.values() if not isinstance(answer, UpstreamBadAnswer)]
    if broken and not answered:
        return Stop(State.FAILED, f"{_code(broken[0])}: {broken[0]}")
    return None


def _code(failure: Trouble) -> str:
    return results.failure_of(failure)["code"]


def limit_of(answer: Trouble) -> BudgetExhausted | None:
    """The limit that kept the question back, if one did."""
    cause = answer.__cause__ if isinstance(answer, UpstreamNotAsked) else answer
    return cause if isinstance(cause, BudgetExhausted) else None
