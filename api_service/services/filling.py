"""What the cache lacks: one flight fetches it, from the answer store (free) or the provider (paid), and keeps it.

Callers on other threads, processes and hosts that want the same wait for that flight's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import monotonic, sleep, time
from typing import Any, TypeAlias

from django.conf import settings
from django.db import Error as DatabaseTrouble

from api_service.services import answers, envelope, failures, flights, inventory, keys, metrics, refusals, store_watch
from api_service.services.backends import Deadline
from api_service.services.budget import BudgetExhausted, BurstLimit, Ledger, Purpose
from api_service.services.cache_service import APICacheService
from api_service.services.errors import UpstreamError
from api_service.services.failures import Trouble
from api_service.services.flights import Flight, Landing
from api_service.services.outcomes import CacheRead, Lookup, Outcome, Source
from api_service.services.providers import Answer, NotFound, provider
from api_service.services.subjects import RUC, Subject

# Longer than a call to the provider with all its attempts
FLIGHT_SECONDS = 60.0
# One multi-get, one query of the store, one flight
AT_ONCE = 1000
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.1

Results: TypeAlias = dict[Subject, "Lookup | Trouble"]

# While the cache is down nothing remembers an answer: without a limit every repeated question would be paid
_burst = BurstLimit(lambda: settings.OUTAGE_MAX_PER_MINUTE)


def fill(
    cache: APICacheService,
    wanted: Mapping[Subject, Outcome],
    *,
    refresh: bool = False,
    ledger: Ledger | None = None,
) -> Results:
    """An answer or a failure for each; `wanted` says what the cache had said. Each is fetched by one flight anywhere.

    `refresh`: what the cache and the store have does not count, only what is answered from now on. `ledger`: the
    caller's, which counts and limits what is paid; without it each call has one of its own, a user's.

    Some at a time: who wants one of many thousands does not wait until all of them are there.
    """
    results: Results = {}
    for part in inventory.batches(wanted, AT_ONCE):
        results |= _fill({subject: wanted[subject] for subject in part}, cache, refresh=refresh, ledger=ledger)
    return results


def _fill(
    left: dict[Subject, Outcome], cache: APICacheService, *, refresh: bool, ledger: Ledger | None = None
) -> Results:
    asked_at, deadline, pause = time(), Deadline.after(FLIGHT_SECONDS), SHORTEST_PAUSE
    results: Results = {}
    waiting: set[Subject] = set()
    while left:
        results |= _flown(cache, left, asked_at, refresh=refresh, ledger=ledger)
        if not (left := _without(left, results)):
            break
        metrics.waited(metrics.ELSEWHERE, len(left.keys() - waiting))
        waiting |= left.keys()
        if not deadline.left():
            return results | dict.fromkeys(left, TimeoutError())
        sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 2)
        results |= _landed(cache, left, asked_at, refresh=refresh)
        left = _without(left, results)
    return results


def read_all(
    cache: APICacheService, subjects: Sequence[Subject], now: float | None = None
) -> tuple[dict[Subject, CacheRead], Results]:
    """What the cache has of each, and the answers that this settles. Ages are those at `now`; by default, of the read.

    Answers in one multi-get; negative answers in a second one, only of those that the first did not find: a hit is
    one round trip, and the server's hit ratio counts no key that nobody expected to be there.
    """
    names = {s: s.key for s in subjects}
    read = cache.read_many(names.values())
    reads = {s: read[name] for s, name in names.items()}
    now = time() if now is None else now
    settled: Results = {s: from_cache(r, now) for s, r in reads.items() if r.outcome is Outcome.HIT}
    return reads, settled | known_absent(cache, [s for s in subjects if s not in settled], now)


def known_absent(cache: APICacheService, subjects: Sequence[Subject], now: float | None = None) -> Results:
    """The negative answers that the cache has of these. Ages as in `read_all`."""
    if not subjects:
        return {}
    names = [s.negative_key for s in subjects]
    reads = cache.read_many(names)
    now = time() if now is None else now
    found = zip(subjects, map(reads.__getitem__, names), strict=True)
    return {s: negative_from_cache(read, now) for s, read in found if read.outcome is Outcome.HIT}


def from_cache(read: CacheRead, now: float) -> Lookup:
    return Lookup(Outcome.HIT, Source.CACHE, read.value, age=max(0.0, now - read.born_at), left=_left_of(read, now))


def negative_from_cache(read: CacheRead, now: float) -> Lookup:
    age = max(0.0, now - read.born_at)
    return Lookup(Outcome.NEGATIVE, Source.CACHE, reason=read.value["reason"], age=age, left=_left_of(read, now))


def _left_of(read: CacheRead, now: float) -> float | None:
    return None if read.expires_at is None else read.expires_at - now


def keep(  # noqa: PLR0913 - what was asked, what came, and how it is kept
    cache: APICacheService,
    service: str,
    kind: str,
    fetched: Mapping[str, Answer],
    lives: Mapping[str, float] | None = None,
    *,
    flight: Flight | None = None,
    wait: bool = True,
) -> None:
    """Put a provider's answers into cache and store. `lives`: seconds by identifier, where the usual is not meant.

    Under a `flight` what came or went meanwhile stays as it is: a late answer is written over nothing. `wait` for the
    store, as who shows an answer must.
    """
    born = time()
    subjects = {name: Subject(service, kind, name) for name in fetched}
    found = {name: answer.data for name, answer in fetched.items() if not isinstance(answer, NotFound)}
    absent = {name: answer.reason for name, answer in fetched.items() if isinstance(answer, NotFound)}
    lasting = {name: life for name, life in (lives or {}).items() if name in found}
    lasting |= {name: subjects[name].life(born) for name in found if name not in lasting}
    late = _late(cache, flight, found, [subjects[name] for name in found], lasting, born)
    on_time = {name: data for name, data in found.items() if name not in late}
    answers.save(service, kind, on_time, born, wait=wait)
    _store_late(service, kind, {name: found[name] for name in late}, flight)
    if flight is None or flight.over_negatives:
        _drop_negatives(cache, [subjects[name] for name in on_time])
    gone = _ours_to_remove(cache, flight, {name: subjects[name] for name in absent})
    answers.forget(service, kind, gone, born)
    for name in gone:
        _keep_negative(cache, subjects[name], absent[name], born)


def _store_late(service: str, kind: str, found: Mapping[str, dict[str, Any]], flight: Flight | None) -> None:
    """It was paid for, so the store has it: as old as its question, and not where it was told to forget since."""
    if found and flight and not answers.may_have_been_forgotten(flight.departed_at):
        answers.save(service, kind, found, flight.departed_at)


def _late(
    cache: APICacheService,
    flight: Flight | None,
    found: Mapping[str, dict[str, Any]],
    subjects: Sequence[Subject],
    lasting: Mapping[str, float],
    born: float,
) -> set[str]:
    """Write the answers into the cache, those of `subjects` in their order; whose place somebody else has taken."""
    if flight is None or not subjects:
        for subject, (name, data) in zip(subjects, found.items(), strict=True):
            cache.set(subject.key, data, lasting[name], born_at=born, stale=subject.stale_while_revalidate)
        return set()
    names = dict(zip(found, wire_names(cache, subjects), strict=True))
    now, stale = time(), subjects[0].stale_while_revalidate
    landed = flight.land(
        {
            names[name]: Landing(envelope.wrap(data, now, lasting[name], born), lasting[name] + stale)
            for name, data in found.items()
        }
    )
    return {name for name, wire in names.items() if wire not in landed}


def _drop_negatives(cache: APICacheService, subjects: Iterable[Subject]) -> None:
    """One round trip per node; on one that is down they are as unreachable as the answers."""
    cache.cache.remove_many(keys.normalize(s.negative_key, len(cache.wire_prefix)) for s in subjects)


def _ours_to_remove(cache: APICacheService, flight: Flight | None, absent: Mapping[str, Subject]) -> set[str]:
    """Those whose place nobody has taken. The claims stay until the negative answers are there to be found."""
    if flight is None:
        return set(absent)
    names = {name: wire_name(cache, subject) for name, subject in absent.items()}
    held = flight.hold(list(names.values())) if names else set()
    return {name for name, wire in names.items() if wire in held}


def _keep_negative(cache: APICacheService, subject: Subject, reason: str, born: float) -> None:
    if subject.kind == RUC:
        cache.add_invalid_ruc(subject.identifier, reason)
    else:
        cache.set(subject.negative_key, {"reason": reason}, subject.negative_life(born))
    cache.delete(subject.key)


def wire_name(cache: APICacheService, subject: Subject) -> str:
    return keys.normalize(subject.key, len(cache.wire_prefix))


def wire_names(cache: APICacheService, subjects: Iterable[Subject]) -> Sequence[str]:
    """In their order."""
    return keys.normalize_all([subject.key for subject in subjects], len(cache.wire_prefix))


def _without(left: Mapping[Subject, Outcome], results: Iterable[Subject]) -> dict[Subject, Outcome]:
    done = set(results)
    return {subject: outcome for subject, outcome in left.items() if subject not in done}


# -- one flight


def _flown(
    cache: APICacheService,
    wanted: Mapping[Subject, Outcome],
    asked_at: float,
    *,
    refresh: bool,
    ledger: Ledger | None,
) -> Results:
    """What this process could claim, fetched; the rest is another flight's."""
    names = dict(zip(wanted, wire_names(cache, wanted), strict=True))
    departure = flights.depart(cache, list(names.values()), settings.FLIGHT_LOCK_SECONDS, asked_at, refresh=refresh)
    mine = {s: wanted[s] for s, name in names.items() if name in departure.mine}
    # Nobody can say, and nobody will be able to: this process decides for itself
    lost = {s: Outcome.OUTAGE for s, name in names.items() if name in departure.unreachable}
    results: Results = {}
    if mine:
        with departure.flight.under_way() as flight:
            # Since the caller's miss another flight may have landed: a negative answer leaves nothing under the key
            now = time()
            results |= _made_since(asked_at if refresh else 0.0, known_absent(cache, list(mine), now), now)
            flight.over_negatives = refresh
            results |= _fetched(cache, _without(mine, results), flight, refresh=refresh, ledger=ledger)
    if lost:
        results |= _fetched(cache, lost, None, refresh=refresh, ledger=ledger)
    return results


def _fetched(
    cache: APICacheService,
    wanted: Mapping[Subject, Outcome],
    flight: Flight | None,
    *,
    refresh: bool,
    ledger: Ledger | None,
) -> Results:
    stored = {} if refresh else _from_store(cache, wanted, flight)
    return stored | _paid(cache, _without(wanted, stored), flight, ledger)


def _made_since(moment: float, settled: Results, now: float) -> Results:
    """Those of the answers that were made since then.

    `now` is what their ages were taken at: by a later clock, those of a process that had to wait look younger.
    """
    return {s: found for s, found in settled.items() if isinstance(found, Lookup) and now - found.age >= moment}


def _from_store(cache: APICacheService, wanted: Mapping[Subject, Outcome], flight: Flight | None) -> Results:
    """Still-valid answers of the store, put back into the cache for what is left of their life."""
    if not wanted:
        return {}
    first, now = next(iter(wanted)), time()
    stored = answers.fresh(first.service, first.kind, [s.identifier for s in wanted], first.longest_life, now)
    store_watch.note(cache, first.service)
    left = {s: _left(s, stored[s.identifier].born_at, now) for s in wanted if s.identifier in stored}
    fresh = {s: seconds for s, seconds in left.items() if seconds > 0}
    if flight:
        flight.land(
            {
                wire_name(cache, s): Landing(
                    envelope.wrap(stored[s.identifier].data, now, seconds, stored[s.identifier].born_at),
                    seconds + s.stale_while_revalidate,
                )
                for s, seconds in fresh.items()
            }
        )
    return {s: _of_stored(stored[s.identifier], wanted[s], now) for s in fresh}


def _left(subject: Subject, born_at: float, now: float) -> float:
    return subject.life(born_at) - (now - born_at)


def _of_stored(stored: answers.Stored, outcome: Outcome, now: float) -> Lookup:
    return Lookup(outcome, Source.STORE, data=stored.data, age=max(0.0, now - stored.born_at))


def _paid(
    cache: APICacheService, wanted: Mapping[Subject, Outcome], flight: Flight | None, ledger: Ledger | None
) -> Results:
    if not wanted:
        return {}
    first = next(iter(wanted))
    names = [s.identifier for s in wanted]
    kept = partial(keep, cache, first.service, first.kind, flight=flight)
    try:
        _burst.check(sum(outcome is Outcome.OUTAGE for outcome in wanted.values()), monotonic())
        fetched = _asked(first.service, first.kind, names, kept, ledger or Ledger(first.service, Purpose.USER))
    except (BudgetExhausted, DatabaseTrouble) as error:
        failed: dict[Subject, Trouble] = dict.fromkeys(wanted, error)
        _tell(cache, flight, failed)
        return {**failed}
    refusals.note(cache, first.service, fetched.values())
    results: Results = {s: _of_fetched(fetched[s.identifier], outcome) for s, outcome in wanted.items()}
    _tell(cache, flight, {s: result for s, result in results.items() if not isinstance(result, Lookup)})
    return results


def _asked(
    service: str, kind: str, names: Sequence[str], kept: partial[None], spend: Ledger
) -> Mapping[str, Answer | UpstreamError]:
    if len(names) > 1:
        return provider(service).fetch_many(kind, names, spend=spend, answered=kept)
    try:
        answer = provider(service).fetch(kind, names[0], spend=spend)
    except UpstreamError as error:
        return {names[0]: error}
    kept({names[0]: answer})
    return {names[0]: answer}


def _tell(cache: APICacheService, flight: Flight | None, failed: Mapping[Subject, Trouble]) -> None:
    """Those who wait elsewhere hear the same, instead of each asking a provider that is down."""
    if flight is None:
        return
    for subject, failure in failed.items():
        if note := failures.as_note(failure):
            flight.fail([wire_name(cache, subject)], note)


def _of_fetched(fetched: Answer | UpstreamError, outcome: Outcome) -> Lookup | UpstreamError:
    if isinstance(fetched, UpstreamError):
        return fetched
    if isinstance(fetched, NotFound):
        return Lookup(outcome, Source.UPSTREAM, reason=fetched.reason)
    return Lookup(outcome, Source.UPSTREAM, data=fetched.data)


# -- another's flight


def _landed(cache: APICacheService, wanted: Mapping[Subject, Outcome], asked_at: float, *, refresh: bool) -> Results:
    """What other flights brought meanwhile, as it was for the caller: paid by the one that led."""
    now = time()
    reads, settled = read_all(cache, list(wanted), now)
    landed = _made_since(asked_at if refresh else 0.0, settled, now)
    failed = _failures(cache, reads)
    results: Results = {}
    for subject, outcome in wanted.items():
        answer, failure = landed.get(subject), failed.get(subject)
        if isinstance(answer, Lookup):
            results[subject] = Lookup(outcome, Source.UPSTREAM, answer.data, answer.reason, answer.age)
        elif failure and float(failure.get("at", 0)) > asked_at:
            results[subject] = failures.from_note(failure)
    return results


def _failures(cache: APICacheService, reads: Mapping[Subject, CacheRead]) -> dict[Subject, Mapping[str, Any]]:
    """What flights failed with: under the key, or beside the value that was to be replaced."""
    under = {s: read.failure for s, read in reads.items() if read.failure}
    valued = [s for s, read in reads.items() if read.outcome in {Outcome.HIT, Outcome.STALE}]
    names = wire_names(cache, valued)
    beside = flights.failures_beside(cache, names)
    return under | {s: beside[name] for s, name in zip(valued, names, strict=True) if name in beside}
