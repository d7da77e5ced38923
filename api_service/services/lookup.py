"""A look-up: cache, then the answer store (free), then the provider (paid); an old answer rather than an error.

Hit, stale, negative, miss and outage stay apart up to the caller, and what is old says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter, time
from typing import TypedDict

from api_service.services import answers, filling, inventory, metrics, refreshing, stale_counts, tracking
from api_service.services.budget import Ledger
from api_service.services.cache_service import APICacheService
from api_service.services.failures import TROUBLE, Trouble
from api_service.services.filling import FLIGHT_SECONDS
from api_service.services.freshness import REFRESHING, Wish, code_of, shown_on, shown_while_refreshing
from api_service.services.latencies import Way, way_of
from api_service.services.outcomes import CacheRead, Lookup, Outcome, Source
from api_service.services.providers import provider
from api_service.services.ruc import is_eleven_digits
from api_service.services.single_flight import SingleFlight
from api_service.services.subjects import RUC, Subject

# Before one thread asks the other processes: the threads of this one wait for it
_flights: SingleFlight[Lookup] = SingleFlight(FLIGHT_SECONDS)


class RefreshSummary(TypedDict):
    asked: int
    already_fresh: int
    refreshed: int
    failed: int


def get(service: str, kind: str, identifier: str, *, max_stale: float | None = None, refresh: bool = False) -> Lookup:
    """One answer. Raises one of TROUBLE when there is none, and none that is old enough to be shown.

    `max_stale`: seconds past its life that an answer may be; 0 for none that is old, None for what the settings say.
    `refresh`: an answer made from now on, paid for; an old one instead of an error only with a `max_stale`.
    """
    started = perf_counter()
    subject, cache = Subject(service, kind, identifier), APICacheService()
    read = CacheRead(Outcome.MISS) if refresh else cache.read(subject.key)
    if read.outcome is Outcome.HIT:
        tracking.count(service, kind, identifier, Outcome.HIT, perf_counter() - started)
        return filling.from_cache(read, time())
    try:
        found = _not_fresh(cache, subject, read, Wish(max_stale, refresh))
    except TROUBLE as failure:
        metrics.failed(service, kind, code_of(failure))
        _timed(service, kind, metrics.FAILED, Way.FAILED, perf_counter() - started)
        raise
    if way := way_of(found):
        _timed(service, kind, found.cache, way, perf_counter() - started)
    return found


def _timed(service: str, kind: str, said: str, way: Way, seconds: float) -> None:
    metrics.answered(service, kind, said, seconds)
    tracking.answered(service, way, seconds)


def get_many(
    service: str,
    kind: str,
    identifiers: Sequence[str],
    *,
    max_stale: float | None = None,
    refresh: bool = False,
    ledger: Ledger | None = None,
) -> dict[str, Lookup | Trouble]:
    """Every identifier once, each with its answer or its failure: the cache in one go, the store in one query.

    What is left is paid for side by side, as many in one call as the provider takes. `ledger`: of a caller that has a
    limit of its own, or wants to know what it paid.
    """
    results: dict[str, Lookup | Trouble] = {}
    for part in stream_many(service, kind, identifiers, max_stale=max_stale, refresh=refresh, ledger=ledger):
        results |= part
    return {name: results[name] for name in identifiers}


def stream_many(  # noqa: PLR0913 - what is asked for, how old it may be, how it comes, who pays
    service: str,
    kind: str,
    identifiers: Sequence[str],
    *,
    max_stale: float | None = None,
    refresh: bool = False,
    at_once: int = filling.AT_ONCE,
    ledger: Ledger | None = None,
) -> Iterator[dict[str, Lookup | Trouble]]:
    """As `get_many`, as it comes: first what needs no provider, then `at_once` at a time what is paid for.

    Who stops taking stops the paying.
    """
    cache, wish = APICacheService(), Wish(max_stale, refresh)
    subjects = [Subject(service, kind, name) for name in dict.fromkeys(identifiers)]
    known: dict[Subject, Lookup | Trouble] = {s: no for s in subjects if (no := _impossible(cache, s))}
    possible = [s for s in subjects if s not in known]
    reads, settled = ({}, {}) if refresh else filling.read_all(cache, possible)
    reads = {s: reads.get(s, CacheRead(Outcome.MISS)) for s in possible}
    settled |= _old_while_refreshing(reads, wish)
    outcomes = {s: _said(settled.get(s), reads[s]) for s in possible}
    for subject, outcome in outcomes.items():
        tracking.count(service, kind, subject.identifier, outcome)
    if known or settled:
        yield _by_identifier(known | settled)
    for part in inventory.batches([s for s in possible if s not in settled], at_once):
        results = filling.fill(cache, {s: outcomes[s] for s in part}, refresh=refresh, ledger=ledger)
        failed = {s: result for s, result in results.items() if not isinstance(result, Lookup)}
        results |= _old_on_failure(failed, reads, outcomes, wish)
        _count_failures(service, kind, failed, results)
        yield _by_identifier(results)


def _count_failures(
    service: str, kind: str, failed: Mapping[Subject, Trouble], results: Mapping[Subject, Lookup | Trouble]
) -> None:
    """Those that nobody was shown an old answer instead of."""
    for subject, failure in failed.items():
        if results[subject] is failure:
            metrics.failed(service, kind, code_of(failure))


def _by_identifier(results: Mapping[Subject, Lookup | Trouble]) -> dict[str, Lookup | Trouble]:
    return {subject.identifier: result for subject, result in results.items()}


def refresh_many(service: str, kind: str, identifiers: Sequence[str]) -> RefreshSummary:
    """Fetch anew those that are not fresh any more: what callers were shown an old answer of."""
    cache = APICacheService()
    subjects = [Subject(service, kind, name) for name in dict.fromkeys(identifiers)]
    _reads, fresh = filling.read_all(cache, subjects)
    due = {s: Outcome.STALE for s in subjects if s not in fresh and not _impossible(cache, s)}
    results = filling.fill(cache, due, refresh=True)
    renewed = [s for s, result in results.items() if isinstance(result, Lookup)]
    # Of those that failed the marks stay for a while: a provider that is down is not asked with each look-up
    refreshing.done(cache, [*fresh, *renewed])
    return {
        "asked": len(subjects),
        "already_fresh": len(fresh),
        "refreshed": len(renewed),
        "failed": len(results) - len(renewed),
    }


def _not_fresh(cache: APICacheService, subject: Subject, read: CacheRead, wish: Wish) -> Lookup:
    if refused := _impossible(cache, subject):
        return refused
    if old := _old_while_refreshing({subject: read}, wish):
        tracking.count(subject.service, subject.kind, subject.identifier, Outcome.STALE)
        return old[subject]
    negative = CacheRead(Outcome.MISS) if wish.refresh else cache.read(subject.negative_key)
    outcome = Outcome.NEGATIVE if negative.outcome is Outcome.HIT else _said(None, read)
    tracking.count(subject.service, subject.kind, subject.identifier, outcome)
    if outcome is Outcome.NEGATIVE:
        return filling.negative_from_cache(negative, time())
    try:
        return _flights.do((subject, wish), partial(_filled, cache, subject, outcome, refresh=wish.refresh))
    except TROUBLE as failure:
        if old := _old_on_failure({subject: failure}, {subject: read}, {subject: outcome}, wish):
            return old[subject]
        raise


def _filled(cache: APICacheService, subject: Subject, outcome: Outcome, *, refresh: bool) -> Lookup:
    result = filling.fill(cache, {subject: outcome}, refresh=refresh)[subject]
    if isinstance(result, Lookup):
        return result
    raise result


def _said(settled: Lookup | Trouble | None, read: CacheRead) -> Outcome:
    """What the cache said, as it is counted. What is too old for the caller is none: a miss."""
    if isinstance(settled, Lookup):
        return settled.cache
    return Outcome.MISS if read.outcome is Outcome.STALE else read.outcome


def _impossible(cache: APICacheService, subject: Subject) -> Lookup | None:
    """What cannot exist is never sent upstream; a RUC of eleven digits is listed with its reason."""
    reason = provider(subject.service).validate(subject.kind, subject.identifier)
    if reason is None:
        return None
    if subject.kind == RUC and is_eleven_digits(subject.identifier) and not cache.is_ruc_invalid(subject.identifier):
        cache.add_invalid_ruc(subject.identifier, reason)
    return Lookup(Outcome.NEGATIVE, Source.VALIDATION, reason=reason)


# -- old answers


def _old_while_refreshing(reads: Mapping[Subject, CacheRead], wish: Wish) -> dict[Subject, Lookup]:
    """Those that are shown at once though they are past their life; a newer one of each is asked for behind them."""
    now = time()
    old = {
        s: Lookup(
            Outcome.STALE,
            Source.CACHE,
            read.value,
            age=max(0.0, now - read.born_at),
            stale_because=REFRESHING,
            left=(read.expires_at or now) - now,
        )
        for s, read in reads.items()
        if shown_while_refreshing(read, now, wish.while_refreshing(s.stale_while_revalidate))
    }
    for subject, shown in old.items():
        stale_counts.note(subject.service, subject.kind, REFRESHING, shown.age, now)
    refreshing.ask(old)
    return old


def _old_on_failure(
    failed: Mapping[Subject, Trouble],
    reads: Mapping[Subject, CacheRead],
    outcomes: Mapping[Subject, Outcome],
    wish: Wish,
) -> dict[Subject, Lookup]:
    """Answers past their life instead of these failures: of the cache, else of the store, in one query."""
    now = time()
    allowed = {s: wish.on_failure(s.stale_if_error) for s in failed}
    wanted = [s for s, failure in failed.items() if shown_on(failure, allowed[s])]
    found = _cached_or_stored(wanted, reads, allowed, now)
    for subject, (_source, _data, born) in found.items():
        stale_counts.note(subject.service, subject.kind, code_of(failed[subject]), now - born, now)
    return {
        s: Lookup(outcomes[s], source, data, None, max(0.0, now - born), code_of(failed[s]))
        for s, (source, data, born) in found.items()
    }


def _cached_or_stored(
    wanted: Sequence[Subject], reads: Mapping[Subject, CacheRead], allowed: Mapping[Subject, float], now: float
) -> dict[Subject, tuple[Source, Mapping[str, object], float]]:
    found = {
        s: (Source.CACHE, reads[s].value, reads[s].born_at)
        for s in wanted
        if shown_while_refreshing(reads[s], now, allowed[s])
    }
    if rest := [s for s in wanted if s not in found]:
        oldest = max(s.longest_life + allowed[s] for s in rest)
        stored = answers.fresh(rest[0].service, rest[0].kind, [s.identifier for s in rest], oldest, now)
        found |= {
            s: (Source.STORE, answer.data, answer.born_at)
            for s in rest
            if (answer := stored.get(s.identifier)) and now - answer.born_at <= s.life(answer.born_at) + allowed[s]
        }
    return found
