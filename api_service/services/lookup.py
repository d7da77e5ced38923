"""A look-up: cache, then the answer store (free), then the provider (paid); what the cache said is kept apart."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import TypeAlias

from django.conf import settings

from api_service.services import answers, keys, tracking
from api_service.services.budget import BudgetExhausted, Ledger, Purpose
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamError
from api_service.services.outcomes import CacheRead, Lookup, Outcome, Source
from api_service.services.providers import Answer, NotFound, provider
from api_service.services.ruc import is_eleven_digits
from api_service.services.single_flight import SingleFlight

logger = logging.getLogger(__name__)

RUC = "ruc"
FLIGHT_SECONDS = 60.0

LookupFailure: TypeAlias = UpstreamError | BudgetExhausted

_flights: SingleFlight[Lookup] = SingleFlight(FLIGHT_SECONDS)


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
    def invalid_key(self) -> str:
        return keys.service_key(self.service, f"invalid_{self.identifier}")

    @property
    def life(self) -> float:
        return float(settings.CACHE_TTL_RUC)


def look_up(service: str, kind: str, identifier: str, *, force_refresh: bool = False) -> Lookup:
    """One answer. Raises UpstreamError or BudgetExhausted when there is none and none could be had."""
    return _settle(Subject(service, kind, identifier), force_refresh=force_refresh)


def _settle(subject: Subject, *, force_refresh: bool) -> Lookup:
    cache = APICacheService()
    if refused := _impossible(cache, subject):
        return refused
    cached = Lookup(Outcome.MISS, Source.UPSTREAM) if force_refresh else _from_cache(cache, subject)
    tracking.count(subject.service, subject.kind, subject.identifier, cached.cache)
    if cached.cache in {Outcome.HIT, Outcome.NEGATIVE}:
        return cached
    return _flights.do((subject, force_refresh), lambda: _without_cache(cache, subject, cached.cache, force_refresh))


def _without_cache(cache: APICacheService, subject: Subject, outcome: Outcome, force_refresh: bool) -> Lookup:
    if not force_refresh and (stored := _from_store(cache, [subject], outcome).get(subject)):
        return stored
    answer = provider(subject.service).fetch(
        subject.kind, subject.identifier, spend=Ledger(subject.service, Purpose.USER)
    )
    keep(cache, subject.service, subject.kind, {subject.identifier: answer})
    return _of_answer(answer, outcome)


def look_up_many(service: str, kind: str, identifiers: Sequence[str]) -> dict[str, Lookup | LookupFailure]:
    """Every identifier once, each with its answer or its failure: cache first, then the store, then paid calls."""
    cache = APICacheService()
    subjects = [Subject(service, kind, name) for name in dict.fromkeys(identifiers)]
    results: dict[Subject, Lookup | LookupFailure] = {s: no for s in subjects if (no := _impossible(cache, s))}
    reads = _read_all(cache, [s for s in subjects if s not in results])
    for subject, read in reads.items():
        tracking.count(service, kind, subject.identifier, read.cache)
    open_ones = [s for s, read in reads.items() if read.cache not in {Outcome.HIT, Outcome.NEGATIVE}]
    results |= {s: read for s, read in reads.items() if s not in open_ones}
    results |= _from_store(cache, open_ones, Outcome.MISS)
    results |= _paid(cache, service, kind, [s for s in open_ones if s not in results])
    return {subject.identifier: results[subject] for subject in subjects}


def _paid(
    cache: APICacheService, service: str, kind: str, subjects: Sequence[Subject]
) -> dict[Subject, Lookup | LookupFailure]:
    if not subjects:
        return {}
    try:
        fetched = provider(service).fetch_many(
            kind, [subject.identifier for subject in subjects], spend=Ledger(service, Purpose.USER)
        )
    except BudgetExhausted as error:
        return dict.fromkeys(subjects, error)
    found = {name: answer for name, answer in fetched.items() if not isinstance(answer, UpstreamError)}
    keep(cache, service, kind, found)
    return {s: _of_fetched(fetched[s.identifier]) for s in subjects}


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
    if found:
        answers.save(service, kind, found, born)
    for name, data in found.items():
        subject = Subject(service, kind, name)
        cache.set(subject.key, data, (lives or {}).get(name, subject.life), born_at=born)
        if kind == RUC:
            cache.delete(subject.invalid_key)
    for name, answer in fetched.items():
        if isinstance(answer, NotFound):
            _keep_negative(cache, Subject(service, kind, name), answer.reason)


def _keep_negative(cache: APICacheService, subject: Subject, reason: str) -> None:
    answers.forget(subject.service, subject.kind, subject.identifier)
    if subject.kind == RUC:
        cache.add_invalid_ruc(subject.identifier, reason)
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
    """Answers and negative answers in one multi-get."""
    names = [subject.key for subject in subjects]
    names += [subject.invalid_key for subject in subjects if subject.kind == RUC]
    reads, now = cache.read_many(names), time()
    return {s: _of_reads(reads[s.key], reads.get(s.invalid_key), now) for s in subjects}


def _of_reads(answer: CacheRead, negative: CacheRead | None, now: float) -> Lookup:
    """The newer of answer and negative answer: a RUC may be registered, and may be struck off."""
    hit = answer.outcome is Outcome.HIT
    if negative is not None and negative.outcome is Outcome.HIT and not (hit and answer.born_at > negative.born_at):
        return Lookup(
            Outcome.NEGATIVE, Source.CACHE, reason=negative.value["reason"], age=max(0.0, now - negative.born_at)
        )
    if hit:
        return Lookup(Outcome.HIT, Source.CACHE, data=answer.value, age=max(0.0, now - answer.born_at))
    return Lookup(answer.outcome, Source.UPSTREAM)


def _from_store(cache: APICacheService, subjects: Sequence[Subject], outcome: Outcome) -> dict[Subject, Lookup]:
    """Still-valid answers of the store, put back into the cache for what is left of their life."""
    if not subjects:
        return {}
    first, now = subjects[0], time()
    stored = answers.fresh(first.service, first.kind, [s.identifier for s in subjects], first.life, now)
    found = {s: stored[s.identifier] for s in subjects if s.identifier in stored}
    for subject, answer in found.items():
        cache.set(subject.key, answer.data, subject.life - (now - answer.born_at), born_at=answer.born_at)
    return {
        s: Lookup(outcome, Source.STORE, data=answer.data, age=max(0.0, now - answer.born_at))
        for s, answer in found.items()
    }


def _of_fetched(fetched: Answer | UpstreamError) -> Lookup | LookupFailure:
    return fetched if isinstance(fetched, UpstreamError) else _of_answer(fetched, Outcome.MISS)


def _of_answer(answer: Answer, outcome: Outcome) -> Lookup:
    if isinstance(answer, NotFound):
        return Lookup(outcome, Source.UPSTREAM, reason=answer.reason)
    return Lookup(outcome, Source.UPSTREAM, data=answer.data)
