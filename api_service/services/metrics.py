"""What Prometheus is told of this process: every series in one place, and one call for each place that counts.

Names are few and fixed: services, kinds, outcomes, codes. Never an identifier or a key. Whatever callers make up is
counted under "(others)".

With PROMETHEUS_MULTIPROC_DIR in the environment, before this module is imported, each process counts in files of that
folder, and any of them answers for all. It has to be a folder of this service alone.
"""

from __future__ import annotations

import collections
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Final, TypeVar

from django.utils.module_loading import import_string
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from api_service.caches import node_state, serializer
from api_service.services import latencies
from api_service.services.backends import adapter_for
from api_service.services.budget_rules import BudgetExhausted, Purpose
from api_service.services.errors import UpstreamCircuitOpen, UpstreamError, UpstreamNotAsked, UpstreamNotOffered
from api_service.services.freshness import REFRESHING
from api_service.services.lookup_counts import OUTCOME_OF, Entry, OutcomeKey
from api_service.services.outcomes import Outcome
from api_service.services.providers import TABLE, NotFound

T = TypeVar("T")

# A counter's time of birth is a series of its own for each, and nobody asks for it
disable_created_metrics()

FOLDER: Final = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if FOLDER:
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
REGISTRY: Final = CollectorRegistry()

OTHERS: Final = "(others)"
# As services and kinds are written; with many digits in a row it is somebody's number
_NAME: Final = re.compile(r"(?!.*\d{4})[a-z][a-z0-9_-]{0,49}")
# Pairs of service and kind; more than an installation has, fewer than a monitoring system minds
MOST_NAMES: Final = 50
FAILED: Final = "failed"
OK: Final = "ok"
NOT_FOUND: Final = "not_found"
IN_PROCESS: Final = "process"
ELSEWHERE: Final = "elsewhere"

_ERRORS: Final[tuple[type[UpstreamError], ...]] = (UpstreamError, *UpstreamError.__subclasses__())
# Refused by ourselves: nobody was called
_NOT_CALLED: Final[tuple[type[UpstreamError], ...]] = (UpstreamCircuitOpen, UpstreamNotAsked, UpstreamNotOffered)
CALL_OUTCOMES: Final = (
    OK,
    NOT_FOUND,
    *(error.code.removeprefix("upstream_") for error in _ERRORS if error not in _NOT_CALLED),
)
FAILURE_CODES: Final = (
    *(error.code for error in _ERRORS),
    *(BudgetExhausted.code, "busy", "database_unavailable"),
)
_CALL_BUCKETS: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 10, 25)


class Times(Histogram):
    """A histogram that takes many values at the price of a few."""

    def observe_many(self, seconds: Iterable[float]) -> None:
        ordered = sorted(seconds)
        self._sum.inc(sum(ordered))
        counted = 0
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            until = bisect_right(ordered, bound)
            if until > counted:
                bucket.inc(until - counted)
                counted = until


LOOKUPS = Counter(
    "cache_worker_lookups_total",
    "Look-ups by what the cache said; up to READ_FLUSH_SECONDS / 2 late.",
    ("service", "kind", "outcome"),
    registry=REGISTRY,
)
LOOKUP_SECONDS = Times(
    "cache_worker_lookup_duration_seconds",
    "Single look-ups from question to answer, by what the cache said, or failed; batches are not timed.",
    ("service", "kind", "outcome"),
    buckets=latencies.IN_SECONDS,
    registry=REGISTRY,
)
LOOKUP_FAILURES = Counter(
    "cache_worker_lookup_failures_total",
    "Look-ups that ended in an error for whoever asked, by its code.",
    ("service", "kind", "code"),
    registry=REGISTRY,
)
STALE_ANSWERS = Counter(
    "cache_worker_stale_answers_total",
    "Answers past their life that were shown, by why no newer one came.",
    ("service", "kind", "reason"),
    registry=REGISTRY,
)
FLIGHT_WAITS = Counter(
    "cache_worker_single_flight_waits_total",
    "Look-ups that waited for somebody else's call for the same: in this process, or elsewhere.",
    ("where",),
    registry=REGISTRY,
)
UPSTREAM_CALLS = Counter(
    "cache_worker_upstream_calls_total",
    "HTTP calls to a provider, each attempt one, by what was asked for and how it ended.",
    ("service", "kind", "outcome"),
    registry=REGISTRY,
)
UPSTREAM_SECONDS = Times(
    "cache_worker_upstream_call_duration_seconds",
    "HTTP calls to a provider, each attempt one.",
    ("service", "kind"),
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)
CACHE_ERRORS = Counter(
    "cache_worker_cache_errors_total",
    "Calls of the application to a node of the cache that failed; while it is left alone nobody calls.",
    ("node",),
    registry=REGISTRY,
)
UNREADABLE_VALUES = Counter(
    "cache_worker_unreadable_values_total",
    "Cached values that were taken for misses, by why they could not be read.",
    ("reason",),
    registry=REGISTRY,
)
PAID_QUERIES = Counter(
    "cache_worker_paid_queries_total",
    "Queries entered in the ledger by this process, by what they were for.",
    ("service", "purpose"),
    registry=REGISTRY,
)


# -- names


class Names:
    """Pairs of service and kind that are labels: at most so many, and nothing that may be an identifier."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._known: set[tuple[str, str]] = set()

    def of(self, service: str, kind: str) -> tuple[str, str]:
        pair = (service, kind)
        if pair in self._known:
            return pair
        if len(self._known) >= self._most or not (_NAME.fullmatch(service) and _NAME.fullmatch(kind)):
            return OTHERS, OTHERS
        self._known.add(pair)
        return pair


_names = Names()


# -- what is counted


def looked_up(entries: Sequence[Entry]) -> None:
    """Add up look-ups. Not for each: the hit path has no time for a lock and a table of labels."""
    for (service, kind, outcome), number in collections.Counter(map(OUTCOME_OF, entries)).items():
        LOOKUPS.labels(*_names.of(service, kind), outcome).inc(number)


def took(times: Mapping[OutcomeKey, Sequence[float]]) -> None:
    """What those of them took that were timed."""
    for (service, kind, outcome), seconds in times.items():
        LOOKUP_SECONDS.labels(*_names.of(service, kind), outcome).observe_many(seconds)


def answered(service: str, kind: str, outcome: str, seconds: float) -> None:
    """One look-up that the cache alone did not answer has its answer, or has failed."""
    LOOKUP_SECONDS.labels(*_names.of(service, kind), outcome).observe(seconds)


def failed(service: str, kind: str, code: str) -> None:
    """Whoever looked up was shown an error."""
    LOOKUP_FAILURES.labels(*_names.of(service, kind), code).inc()


def shown_old(service: str, kind: str, reason: str) -> None:
    STALE_ANSWERS.labels(*_names.of(service, kind), reason).inc()


def waited(where: str, number: int = 1) -> None:
    FLIGHT_WAITS.labels(where).inc(number)


def paid(service: str, purpose: Purpose, queries: int) -> None:
    PAID_QUERIES.labels(_names.of(service, "paid")[0], purpose.value).inc(queries)


def cache_failed(node: str) -> None:
    CACHE_ERRORS.labels(node).inc()


def unreadable(reason: str) -> None:
    UNREADABLE_VALUES.labels(reason).inc()


node_state.on_failure.append(cache_failed)
serializer.on_unreadable.append(unreadable)


def called(service: str, kind: str, outcome: str, seconds: float) -> None:
    """One HTTP attempt."""
    names = _names.of(service, kind)
    UPSTREAM_CALLS.labels(*names, outcome).inc()
    UPSTREAM_SECONDS.labels(*names).observe(seconds)


def timed_call(service: str, kind: str, call: Callable[[], T]) -> T:
    """The result of one HTTP attempt, or its error."""
    started = perf_counter()
    with called_if_it_fails(service, kind, lambda: perf_counter() - started):
        result = call()
    called(service, kind, NOT_FOUND if isinstance(result, NotFound) else OK, perf_counter() - started)
    return result


@contextmanager
def called_if_it_fails(service: str, kind: str, seconds: Callable[[], float]) -> Iterator[None]:
    """For an attempt that is sent in one place and read in another: either may end it."""
    try:
        yield
    except UpstreamError as error:
        called(service, kind, error.code.removeprefix("upstream_"), seconds())
        raise


# -- what is shown


@cache
def begin() -> None:
    """Every series at 0 from the start: an alert on a rate must not miss the first of its kind."""
    for start in _starts:
        start()
    for service, path in TABLE.items():
        provider = import_string(path)
        for kind in getattr(provider, "kinds", ()):
            _begin_lookups(service, kind)
        for kind in getattr(provider, "calls", ()):
            UPSTREAM_SECONDS.labels(*_names.of(service, kind))
            for outcome in CALL_OUTCOMES:
                UPSTREAM_CALLS.labels(*_names.of(service, kind), outcome)
        for purpose in Purpose:
            PAID_QUERIES.labels(service, purpose.value)
    for where in (IN_PROCESS, ELSEWHERE):
        FLIGHT_WAITS.labels(where)
    for node in adapter_for().nodes():
        CACHE_ERRORS.labels(node)
    for reason in serializer.REASONS:
        UNREADABLE_VALUES.labels(reason)


def _begin_lookups(service: str, kind: str) -> None:
    names = _names.of(service, kind)
    for outcome in Outcome:
        LOOKUPS.labels(*names, outcome.value)
    for outcome_or_failed in (*Outcome, FAILED):
        LOOKUP_SECONDS.labels(*names, str(outcome_or_failed))
    for code in FAILURE_CODES:
        LOOKUP_FAILURES.labels(*names, code)
    for reason in (REFRESHING, *FAILURE_CODES):
        STALE_ANSWERS.labels(*names, reason)


_starts: list[Callable[[], None]] = []


def at_start(start: Callable[[], None]) -> None:
    """Have series of another package at 0, too."""
    _starts.append(start)


def of_all_processes() -> Iterator[Metric]:
    """What the processes that share the folder have counted; without a folder, this process."""
    begin()
    if FOLDER:
        yield from MultiProcessCollector(None, FOLDER).collect()
    else:
        yield from REGISTRY.collect()


def forget_the_dead() -> None:
    """Drop the files of processes that are gone: once, before a service starts its own.

    Later the counts of a child that died have to stay, or the sums would fall.
    """
    for file in Path(FOLDER).glob("*.db") if FOLDER else ():
        if not Path(f"/proc/{_process_of(file)}").exists():
            file.unlink(missing_ok=True)


def _process_of(file: Path) -> str:
    """`counter_123.db`, `gauge_all_123.db`"""
    return file.stem.rpartition("_")[2]
