"""APIMIGO as a provider: typed answers over its wire, versions 1 and 2."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import ClassVar, Final, Self, TypeGuard, TypeVar

from api_service.sentences import sentence
from api_service.services import metrics
from api_service.services import migo_wire as wire
from api_service.services.breakers import AlwaysClosed, CircuitBreaker, attempt
from api_service.services.errors import UpstreamAuthRefused, UpstreamError, UpstreamNotAsked
from api_service.services.migo_wire import Account, Question, Version
from api_service.services.providers import (
    Answer,
    Answered,
    Claims,
    JSONDict,
    NotFound,
    Spend,
    Unclaimed,
    wait_and_spend,
    when_there_is_a_place,
)
from api_service.services.redaction import register_secrets
from api_service.services.side_by_side import FAILURES_THAT_STOP, Results, SideBySide, not_asked
from api_service.services.upstream import Door, Patience, Request, Response, door, with_retries

# Single look-ups in flight at once where there is no collection: quick enough, and polite to the service.
WAVE: Final = 8
COLLECTION, RANGE, ACCOUNT = "ruc_collection", "tipo_cambio_range", "account"

T = TypeVar("T")


@dataclass(frozen=True)
class MigoConfig:
    token: str = field(repr=False)
    base_url: str = "https://api.migo.pe"
    version: Version = "v1"
    connect_timeout: float = 3.05
    read_timeout: float = 10.0
    deadline: float = 25.0
    attempts: int = 3
    largest_call: int = wire.LARGEST_COLLECTION
    parallel: int = 4

    @property
    def patience(self) -> Patience:
        return Patience(self.connect_timeout, self.read_timeout, self.deadline, self.attempts)


class MigoClient:
    """A provider. Cheap to build, safe to share between threads; nothing is sent before the first question.

    While `circuit` is open, UpstreamCircuitOpen is raised before `spend` is told, whoever asks.
    """

    name = "migo"
    # What can be looked up, and what is asked for over HTTP: the names in the metrics
    kinds: ClassVar = (wire.RUC, wire.DNI, wire.EXCHANGE_RATE, wire.REPRESENTATIVES)
    calls: ClassVar = (*kinds, COLLECTION, RANGE, ACCOUNT)

    def __init__(self, config: MigoConfig, use: Door | None = None, circuit: CircuitBreaker | None = None) -> None:
        register_secrets([config.token])
        self._door = use or door()
        self._circuit = circuit or AlwaysClosed()
        self._config = config
        self._patience = config.patience
        self._wire = wire.Wire(config.version, wire.api_root(config.base_url, config.version), config.token)

    @classmethod
    def from_settings(cls) -> Self:
        from django.conf import settings

        from api_service.services import budget, circuit
        from api_service.services.budget_rules import largest_call

        return cls(
            MigoConfig(
                token=settings.MIGO_TOKEN,
                base_url=settings.MIGO_BASE_URL,
                version=wire.version_of(settings.MIGO_API_VERSION),
                connect_timeout=settings.MIGO_CONNECT_TIMEOUT,
                read_timeout=settings.MIGO_READ_TIMEOUT,
                deadline=settings.MIGO_DEADLINE,
                attempts=settings.MIGO_ATTEMPTS,
                largest_call=largest_call(budget.caps_in_force()),
                parallel=settings.MIGO_PARALLEL,
            ),
            circuit=circuit.from_settings(cls.name),
        )

    def validate(self, kind: str, identifier: str) -> str | None:
        return wire.malformed_reason(kind, identifier)

    def fetch(self, kind: str, identifier: str, *, spend: Spend | None = None) -> Answer:
        if (reason := self.validate(kind, identifier)) is not None:
            return NotFound(reason)
        question = Question(kind, identifier)
        return self._ask(kind, self._wire.one(question), partial(wire.read_one, question=question), _Bill(spend))

    def fetch_many(
        self,
        kind: str,
        identifiers: Sequence[str],
        *,
        spend: Spend | None = None,
        answered: Answered | None = None,
        claims: Claims | None = None,
    ) -> Results:
        """One HTTP call for 100 RUCs where there are collections, several at once; else single calls, eight at a time.

        A chunk that failed does not stop the others; two in a row do, as does a refused token: the service is down,
        and every further call would only cost time. The rest then carry that error, without having been asked for.
        """
        wanted = list(dict.fromkeys(identifiers))
        malformed: dict[str, Answer | UpstreamError] = {}
        chunks = self._chunks(kind, wanted, malformed)
        collects = self._collects(kind) and self._wire.token
        ask_all = self._side_by_side if collects else partial(self._in_waves, kind)
        answers = {**ask_all(chunks, spend, answered, claims), **malformed}
        return {one: answers[one] for one in wanted if one in answers}

    def _chunks(
        self, kind: str, wanted: Iterable[str], malformed: dict[str, Answer | UpstreamError]
    ) -> Iterator[Sequence[str]]:
        """Cut while others are under way; what cannot exist goes to `malformed`, and nobody is asked for it."""
        chunk: list[str] = []
        for one in wanted:
            if (reason := self.validate(kind, one)) is not None:
                malformed[one] = NotFound(reason)
                continue
            chunk.append(one)
            if len(chunk) == self._chunk_size(kind):
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def exchange_range(self, start: date, end: date, *, spend: Spend | None = None) -> JSONDict:
        """The rates from `start` to `end`, both included, under `data`."""
        return self._ask(RANGE, self._wire.exchange_range(start, end), wire.read_record, _Bill(spend))

    def account(self, seconds: float | None = None) -> Account:
        """Free of charge, and past the circuit breaker; with `seconds` there is one attempt, which takes no longer."""
        self._need_token()
        patience = self._patience if seconds is None else Patience(seconds, seconds, seconds, attempts=1)

        def once(_number: int, ends_at: float) -> JSONDict:
            left = replace(patience, attempts=1, deadline=ends_at - time.monotonic())
            return self._timed(ACCOUNT, self._wire.account(), left, wire.read_record)

        return wire.account_of(with_retries(patience, once))

    def _collects(self, kind: str) -> bool:
        return kind == wire.RUC and self._wire.has_collections

    def _chunk_size(self, kind: str) -> int:
        return min(self._config.largest_call, wire.LARGEST_COLLECTION if self._collects(kind) else WAVE)

    def _side_by_side(
        self, chunks: Iterable[Sequence[str]], spend: Spend | None, answered: Answered | None, claims: Claims | None
    ) -> Results:
        def send(chunk: Sequence[str], ends_at: float) -> Response:
            once = replace(self._patience, attempts=1, deadline=ends_at - time.monotonic())
            started = time.monotonic()
            with metrics.called_if_it_fails(self.name, COLLECTION, lambda: time.monotonic() - started):
                return self._door.call(self._wire.collection(chunk), once, lambda response: response)

        def read(chunk: Sequence[str], response: Response) -> Results:
            with metrics.called_if_it_fails(self.name, COLLECTION, lambda: response.elapsed):
                answers = wire.read_collection(response, chunk)
            metrics.called(self.name, COLLECTION, metrics.OK, response.elapsed)
            return answers

        batch = SideBySide(send, read, spend or _free_of_charge, self._circuit, self._patience)
        return batch.run(chunks, self._config.parallel, answered, claims)

    def _in_waves(
        self,
        kind: str,
        chunks: Iterable[Sequence[str]],
        spend: Spend | None,
        answered: Answered | None,
        claims: Claims | None,
    ) -> Results:
        bill = _Bill(spend, claims)
        answers: dict[str, Answer | UpstreamError] = {}
        closed: UpstreamError | None = None
        failures = 0
        for chunk in chunks:
            if closed is not None:
                answers.update(dict.fromkeys(chunk, closed))
                continue
            if not (got := self._try_wave(kind, chunk, bill)):
                continue
            answers.update(got if claims is None else _failures(got))
            if answered is not None:
                answered({one: answer for one, answer in got.items() if not isinstance(answer, UpstreamError)})
            bill.claims.give_up(list(got))
            failures = failures + 1 if _all_failed(got) else 0
            closed = _what_closes_the_door(got, failures)
        return answers

    def _try_wave(self, kind: str, chunk: Sequence[str], bill: "_Bill") -> Results:
        """An entry for each that was asked for. Raises only what the caller raised before anything was answered."""
        got: dict[str, Answer | UpstreamError] = {}
        try:
            self._need_token()
            if not (chunk := bill.take(chunk)):
                return got
            self._ask_wave(kind, chunk, bill, got)
        except UpstreamError as failed:
            error = failed
        except Exception as forbidden:
            if forbidden is not bill.forbidden or not (bill.answered or got):
                raise
            error = not_asked(forbidden)
        else:
            bill.answered = True
            return got
        return {one: got.get(one, error) for one in chunk}

    def _ask_wave(self, kind: str, chunk: Sequence[str], bill: "_Bill", got: dict[str, Answer | UpstreamError]) -> None:
        """Single calls side by side. Rounds of them, so that only the caller's own thread ever calls `spend`."""

        def round_of(number: int, ends_at: float) -> None:
            open_ones = [one for one in chunk if one not in got or _may_pass(got[one])]
            for group in self._groups(open_ones):
                got.update(self._ask_each(kind, group, bill, number, ends_at))
            if failures := [answer for answer in got.values() if _may_pass(answer)]:
                raise max(failures, key=lambda error: error.retry_after or 0.0)

        try:
            with_retries(self._patience, round_of)
        except UpstreamError as error:
            # Who was asked for has an error of its own; the others were not, because of this one
            got.update({one: error for one in chunk if one not in got})

    def _groups(self, identifiers: Sequence[str]) -> list[Sequence[str]]:
        """To a service that is only tried again one goes ahead."""
        if self._circuit.is_closed:
            return [identifiers]
        return [part for part in (identifiers[:1], identifiers[1:]) if part]

    def _ask_each(self, kind: str, identifiers: Sequence[str], bill: "_Bill", number: int, ends_at: float) -> Results:
        """Side by side, once each."""
        permit = self._circuit.admit()
        try:
            bill.charge(len(identifiers), retry=number > 1)
        except BaseException:
            self._circuit.release(permit)
            raise
        once = self._once(number, ends_at)

        def ask(identifier: str) -> Answer | UpstreamError:
            question = Question(kind, identifier)
            try:
                return self._timed(kind, self._wire.one(question), once, partial(wire.read_one, question=question))
            except UpstreamError as error:
                return error

        with ThreadPoolExecutor(WAVE, thread_name_prefix="migo") as pool:
            got = dict(zip(identifiers, pool.map(ask, identifiers), strict=True))
        self._circuit.record(permit, *(a if isinstance(a, UpstreamError) else None for a in got.values()))
        return got

    def _ask(self, kind: str, request: Request, read: Callable[[Response], T], bill: "_Bill") -> T:
        self._need_token()

        def once(number: int, ends_at: float) -> T:
            with attempt(self._circuit):
                bill.charge(1, retry=number > 1)
                return self._timed(kind, request, self._once(number, ends_at), read)

        return with_retries(self._patience, once)

    def _timed(self, kind: str, request: Request, once: Patience, read: Callable[[Response], T]) -> T:
        return metrics.timed_call(self.name, kind, lambda: self._door.call(request, once, read))

    def _once(self, number: int, ends_at: float) -> Patience:
        """What is left for one attempt. The first has all of it, however long its place was waited for."""
        left = self._patience.deadline if number == 1 else ends_at - time.monotonic()
        return replace(self._patience, attempts=1, deadline=left)

    def _need_token(self) -> None:
        if not self._wire.token:
            raise UpstreamAuthRefused(sentence("no token is set: MIGO_TOKEN is empty"))


class _Bill:
    """Passes every paid attempt on to the caller's `spend`, and remembers what it raised to forbid one."""

    def __init__(self, spend: Spend | None, claims: Claims | None = None) -> None:
        self._spend = spend
        self.claims = claims or Unclaimed()
        self.forbidden: Exception | None = None
        self.answered = False

    def take(self, identifiers: Sequence[str]) -> Sequence[str]:
        try:
            return when_there_is_a_place(partial(self.claims.take, identifiers))
        except Exception as forbidden:
            self.forbidden = forbidden
            raise

    def charge(self, queries: int, *, retry: bool) -> None:
        if self._spend is None:
            return
        try:
            wait_and_spend(self._spend, queries, retry=retry)
        except Exception as forbidden:
            self.forbidden = forbidden
            raise


def _may_pass(answer: Answer | UpstreamError) -> TypeGuard[UpstreamError]:
    return isinstance(answer, UpstreamError) and not answer.permanent


def _failures(got: Results) -> dict[str, UpstreamError]:
    return {one: answer for one, answer in got.items() if isinstance(answer, UpstreamError)}


def _all_failed(got: Results) -> bool:
    return all(isinstance(answer, UpstreamError) for answer in got.values())


def _what_closes_the_door(got: Results, failures: int) -> UpstreamError | None:
    errors = list(_failures(got).values())
    final = next((error for error in errors if isinstance(error, UpstreamAuthRefused | UpstreamNotAsked)), None)
    return final or (errors[0] if failures >= FAILURES_THAT_STOP else None)


def _free_of_charge(queries: int, *, retry: bool) -> None:
    """Nobody keeps count."""
