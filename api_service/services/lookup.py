"""A look-up: cache, then the answer store (free), then the provider (paid); what the cache said is kept apart."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic, time
from typing import TypeAlias
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import Error as DatabaseTrouble

from api_service.services import answers, keys, lifetimes, refusals, tracking
from api_service.services.budget import BudgetExhausted, BurstLimit, Ledger, Purpose
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamError
from api_service.services.outcomes import CacheRead, Lookup, Outcome, Source
from api_service.services.providers import Answer, NotFound, provider
from api_service.services.ruc import is_eleven_digits
from api_service.services.single_flight import SingleFlight

logger = logging.getLogger(__name__)

RUC = "ruc"
DNI = "dni"
EXCHANGE_RATE = "tipo_cambio"
REPRESENTATIVES = "representantes"
LIMA = ZoneInfo("America/Lima")
_LIVES = {
    DNI: lifetimes.DNI_LIFE,
    REPRESENTATIVES: lifetimes.REPRESENTATIVES_LIFE,
    EXCHANGE_RATE: lifetimes.LONGEST_RATE_LIFE,
}
FLIGHT_SECONDS = 60.0
SETTLED = frozenset({Outcome.HIT, Outcome.NEGATIVE})

# The database's: with a cap set, nothing is paid that cannot be entered in the ledger
LookupFailure: TypeAlias = UpstreamError | BudgetExhausted | DatabaseTrouble

_flights: SingleFlight[Lookup] = SingleFlight(FLIGHT_SECONDS)
# While the cache is down nothing remembers an answer: without a limit every repeated question would be paid
_burst = BurstLimit(lambda: settings.OUTAGE_MAX_PER_MINUTE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked up: everything that depends on the kind is decided here."""

    service: str
    kind: str
    identifier: str

    @property
    def key(self) -> str:
        return keys.service_key(self.service, f"{self.kind}_{self.identifier}")

    @property
    def negative_key(self) -> str:
        """A RUC's is the public list of invalid RUCs; no other kind may get into that."""
        prefix = "invalid" if self.kind == RUC else f"absent_{self.kind}"
        return keys.service_key(self.service, f"{prefix}_{self.identifier}")

    def life(self, born_at: float) -> float:
        """Seconds that an answer made at `born_at` holds."""
        if self.kind == EXCHANGE_RATE:
            return lifetimes.rate_life(self.identifier, datetime.fromtimestamp(born_at, LIMA))
        return self.longest_life

    @property
    def longest_life(self) -> float:
        return float(_LIVES.get(self.kind) or settings.CACHE_TTL_RUC)

    def negative_life(self, born_at: float) -> float:
        return self.life(born_at) if self.kind == EXCHANGE_RATE else float(settings.CACHE_TTL_INVALID_RUC)


def look_up(service: str, kind: str, identifier: str, *, force_refresh: bool = False) -> Lookup:
    """One answer. Raises a LookupFailure, or TimeoutError, when there is none and none could be had."""
    return _settle(Subject(service, kind, identifier), force_refresh=force_refresh)


def _settle(subject: Subject, *, force_refresh: bool) -> Lookup:
    cache = APICacheService()
    if refused := _impossible(cache, subject):
        return refused
    cached = Lookup(Outcome.MISS, Source.UPSTREAM) if force_refresh else _from_cache(cache, subject)
    tracking.count(subject.service, subject.kind, subject.identifier, cached.cache)
    if cached.cache in SETTLED:
        return cached
    return _flights.do((subject, force_refresh), lambda: _without_cache(cache, subject, cached.cache, force_refresh))


def _without_cache(cache: APICacheService, subject: Subject, outcome: Outcome, force_refresh: bool) -> Lookup:
    if not force_refresh and (free := _landed(cache, subject, outcome) or _from_store(cache, {subject: outcome})):
        return free[subject]
    _burst.check(outcome is Outcome.OUTAGE, monotonic())
    try:
        answer = provider(subject.service).fetch(
            subject.kind, subject.identifier, spend=Ledger(subject.service, Purpose.USER)
        )
    except UpstreamError as error:
        refusals.note(cache, subject.service, [error])
        raise
    refusals.note(cache, subject.service, [answer])
    keep(cache, subject.service, subject.kind, {subject.identifier: answer})
    return _of_answer(answer, outcome)


def _landed(cache: APICacheService, subject: Subject, outcome: Outcome) -> dict[Subject, Lookup]:
    """What another flight has brought since this caller's miss: a negative answer is in no store."""
    if outcome is not Outcome.MISS:
        return {}
    return {s: read for s, read in _read_all(cache, [subject]).items() if read.cache in SETTLED}


def look_up_many(service: str, kind: str, identifiers: Sequence[str]) -> dict[str, Lookup | LookupFailure]:
    """Every identifier once, each with its answer or its failure: cache first, then the store, then paid calls."""
    cache = APICacheService()
    subjects = [Subject(service, kind, name) for name in dict.fromkeys(identifiers)]
    results: dict[Subject, Lookup | LookupFailure] = {s: no for s in subjects if (no := _impossible(cache, s))}
    reads = _read_all(cache, [s for s in subjects if s not in results])
    for subject, read in reads.items():
        tracking.count(service, kind, subject.identifier, read.cache)
    results |= {s: read for s, read in reads.items() if read.cache in SETTLED}
    results |= _from_store(cache, {s: read.cache for s, read in reads.items() if s not in results})
    results |= _paid(cache, service, kind, {s: read.cache for s, read in reads.items() if s not in results})
    return {subject.identifier: results[subject] for subject in subjects}


def _paid(
    cache: APICacheService, service: str, kind: str, subjects: Mapping[Subject, Outcome]
) -> dict[Subject, Lookup | LookupFailure]:
    if not subjects:
        return {}
    try:
        _burst.check(sum(outcome is Outcome.OUTAGE for outcome in subjects.values()), monotonic())
        fetched = provider(service).fetch_many(
            kind,
            [subject.identifier for subject in subjects],
            spend=Ledger(service, Purpose.USER),
            answered=partial(keep, cache, service, kind),
        )
    except (BudgetExhausted, DatabaseTrouble) as error:
        return dict.fromkeys(subjects, error)
    refusals.note(cache, service, fetched.values())
    return {s: _of_fetched(fetched[s.identifier], outcome) for s, outcome in subjects.items()}


def keep(
    cache: APICacheService,
    service: str,
    kind: str,
    fetched: Mapping[str, Answer],
    lives: Mapping[str, float] | None = None,
) -> None:
    """Put a provider's answers into store and cache. `lives`: seconds by identifier, where the usual is not meant."""
    born = time()
    found = {name: answer.data for name, answer in fetched.items() if not isinstance(answer, NotFound)}
    answers.save(service, kind, found, born)
    for name, data in found.items():
        subject = Subject(service, kind, name)
        cache.set(subject.key, data, (lives or {}).get(name, subject.life(born)), born_at=born)
        cache.delete(subject.negative_key)
    absent = {name: answer.reason for name, answer in fetched.items() if isinstance(answer, NotFound)}
    answers.forget(service, kind, absent, born)
    for name, reason in absent.items():
        _keep_negative(cache, Subject(service, kind, name), reason, born)


def _keep_negative(cache: APICacheService, subject: Subject, reason: str, born: float) -> None:
    if subject.kind == RUC:
        cache.add_invalid_ruc(subject.identifier, reason)
    else:
        cache.set(subject.negative_key, {"reason": reason}, subject.negative_life(born))
    cache.delete(subject.key)


def _impossible(cache: APICacheService, subject: Subject) -> Lookup | None:
    """What cannot exist is never sent upstream; a RUC of eleven digits is listed with its reason."""
    reason = provider(subject.service).validate(subject.kind, subject.identifier)
    if reason is None:
        return None
    if subject.kind == RUC and is_eleven_digits(subject.identifier) and not cache.is_ruc_invalid(subject.identifier):
        cache.add_invalid_ruc(subject.identifier, reason)
    return Lookup(Outcome.NEGATIVE, Source.VALIDATION, reason=reason)


def _from_cache(cache: APICacheService, subject: Subject) -> Lookup:
    return _read_all(cache, [subject])[subject]


def _read_all(cache: APICacheService, subjects: Sequence[Subject]) -> dict[Subject, Lookup]:
    """Answers in one multi-get; negative answers in a second one, only of those that the first did not find.

    A hit is one round trip, and the server's hit ratio counts no key that nobody expected to be there.
    """
    answers_read = cache.read_many(s.key for s in subjects)
    missing = [s for s in subjects if answers_read[s.key].outcome is not Outcome.HIT]
    negatives = cache.read_many(s.negative_key for s in missing) if missing else {}
    now = time()
    return {s: _of_reads(answers_read[s.key], negatives.get(s.negative_key), now) for s in subjects}


def _of_reads(answer: CacheRead, negative: CacheRead | None, now: float) -> Lookup:
    if answer.outcome is Outcome.HIT:
        return Lookup(Outcome.HIT, Source.CACHE, data=answer.value, age=max(0.0, now - answer.born_at))
    if negative is not None and negative.outcome is Outcome.HIT:
        return Lookup(
            Outcome.NEGATIVE, Source.CACHE, reason=negative.value["reason"], age=max(0.0, now - negative.born_at)
        )
    return Lookup(answer.outcome, Source.UPSTREAM)


def _from_store(cache: APICacheService, subjects: Mapping[Subject, Outcome]) -> dict[Subject, Lookup]:
    """Still-valid answers of the store, put back into the cache for what is left of their life."""
    if not subjects:
        return {}
    first, now = next(iter(subjects)), time()
    stored = answers.fresh(first.service, first.kind, [s.identifier for s in subjects], first.longest_life, now)
    found: dict[Subject, Lookup] = {}
    for subject, outcome in subjects.items():
        answer = stored.get(subject.identifier)
        left = subject.life(answer.born_at) - (now - answer.born_at) if answer else 0.0
        if answer and left > 0:
            cache.set(subject.key, answer.data, left, born_at=answer.born_at)
            found[subject] = Lookup(outcome, Source.STORE, data=answer.data, age=max(0.0, now - answer.born_at))
    return found


def _of_fetched(fetched: Answer | UpstreamError, outcome: Outcome) -> Lookup | LookupFailure:
    return fetched if isinstance(fetched, UpstreamError) else _of_answer(fetched, outcome)


def _of_answer(answer: Answer, outcome: Outcome) -> Lookup:
    if isinstance(answer, NotFound):
        return Lookup(outcome, Source.UPSTREAM, reason=answer.reason)
    return Lookup(outcome, Source.UPSTREAM, data=answer.data)
