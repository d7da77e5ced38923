"""Gauges of what the database knows: health, nodes, keys, money, and what other packages register.

For one place only, the web: from several ones, sums over all targets would count everything several times. Read at most
every KEPT_SECONDS, in at most READ_SECONDS; without the database the page says so, and the rest of it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from math import isfinite
from threading import Lock
from time import monotonic
from typing import Final, TypeAlias

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from api_service import selectors
from api_service.models import (
    CircuitState,
    NodeSample,
    ServiceSnapshot,
    Status,
    TrackRun,
    UpstreamCircuit,
)
from api_service.sentences import sentence
from api_service.services import account, budget
from api_service.services.bounded import BoundedCalls, Breaker
from api_service.services.budget_rules import periods
from api_service.services.providers import TABLE

logger = logging.getLogger(__name__)

Reader: TypeAlias = Callable[[datetime], Iterator[Metric]]

KEPT_SECONDS: Final = 10.0
# Less than the ten seconds that Prometheus waits
READ_SECONDS: Final = 3.0
MS: Final = 1000.0
DAY: Final = 86_400.0


# -- the collector


class DatabaseFacts:
    """What the readers say, kept for a while. A reader that fails is logged and named; the others are shown."""

    def __init__(self) -> None:
        self._calls = BoundedCalls("metrics-reader", Breaker(sentence("metrics")))
        self._lock = Lock()
        self._facts: list[Metric] = []
        self._read_at: float | None = None
        self._is_up = True

    def collect(self, now: datetime) -> list[Metric]:
        with self._lock:
            if self._read_at is None or monotonic() - self._read_at >= KEPT_SECONDS:
                self._read(now)
            return [_up(int(self._is_up)), *self._facts]

    def forget(self) -> None:
        with self._lock:
            self._read_at = None

    def _read(self, now: datetime) -> None:
        """What fails is tried again by the next page: while the database is known to be down that costs nothing."""
        try:
            self._facts, self._read_at = self._calls.call(lambda: _all(now), READ_SECONDS), monotonic()
            self._is_up = True
        except (DatabaseError, InterfaceError) as error:
            if self._is_up:
                logger.warning("metrics: nothing of the database is shown until it answers: %s", error)
            self._facts, self._read_at, self._is_up = [], None, False


def _up(value: int) -> Metric:
    return GaugeMetricFamily("cache_worker_database_up", "Whether the database answered the last time.", value)


def _all(now: datetime) -> list[Metric]:
    found: list[Metric] = []
    failed = gauge("metrics_reader_failed", "Whether these facts could not be made; the log says why.", "reader")
    for name, read in READERS.items():
        wrong = 0
        try:
            found += read(now)
        except (DatabaseError, InterfaceError):
            raise
        except Exception:
            # One row that nobody thought of must not take all the others off the page
            logger.exception("metrics: %s cannot be read", name)
            wrong = 1
        failed.add_metric([name], wrong)
    return [*found, failed]


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cache_worker_{name}", text, labels=labels)


def moment(at: datetime | None) -> float:
    """Unix seconds, 0 for never: an age by `time() - …` is then as long as it can be."""
    return at.timestamp() if at else 0.0


def one_of(name: str, text: str, label: str, all_of_them: Mapping[str, bool]) -> GaugeMetricFamily:
    """1 for the one that is, 0 for the others."""
    states = gauge(name, text, label)
    for state, is_it in all_of_them.items():
        states.add_metric([state], int(is_it))
    return states


# -- health and nodes


def health(_now: datetime) -> Iterator[Metric]:
    sample = selectors.latest_sample()
    taken = gauge("health_sample_timestamp_seconds", "When the last health run was, 0 for never.")
    taken.add_metric([], moment(sample.taken_at if sample else None))
    yield taken
    states = {status.value: bool(sample and sample.status == status) for status in Status}
    yield one_of("health_status", "1 for the verdict of the last health run.", "status", states)
    took = gauge("health_run_duration_seconds", "What the last health run took.")
    if sample:
        took.add_metric([], sample.duration_ms / MS)
    yield took
    yield from _of_nodes(list(sample.nodes.all()) if sample else [])


# Column, name, help, factor; what a node does not say is left out
_NODE_GAUGES: Final = (
    ("latency_ms", "node_latency_seconds", "Round trips of a node, set, get and delete.", 1 / MS),
    ("items", "node_items", "Items that a node holds.", 1),
    ("bytes_used", "node_bytes", "Bytes that a node uses for items.", 1),
    ("bytes_limit", "node_limit_bytes", "Bytes that a node may use for items.", 1),
    ("hit_ratio", "node_hit_ratio", "Hits over gets of a node between the last two health runs.", 1),
    ("connections", "node_connections", "Open connections of a node.", 1),
    ("max_connections", "node_max_connections", "Connections that a node accepts.", 1),
)
_NODE_COUNTERS: Final = (
    ("evictions", "node_evictions", "Items that a node threw away before their end, since its boot."),
    ("hits", "node_hits", "Gets that found something, since the boot of the node."),
    ("misses", "node_misses", "Gets that found nothing, since the boot of the node."),
    ("expired_unfetched", "node_expired_unfetched", "Items that expired unread, since the boot of the node."),
    ("rejected_connections", "node_rejected_connections", "Connections refused, since the boot of the node."),
)


def _of_nodes(nodes: list[NodeSample]) -> Iterator[Metric]:
    up = gauge("node_up", "Whether a node passed set, get and delete in the last health run.", "node")
    booted = gauge("node_boot_timestamp_seconds", "When a node started.", "node")
    for node in nodes:
        up.add_metric([node.node], int(node.reachable))
        if node.booted_at:
            booted.add_metric([node.node], moment(node.booted_at))
    yield from (up, booted)
    for column, name, text, factor in _NODE_GAUGES:
        yield _filled(gauge(name, text, "node"), nodes, column, factor)
    for column, name, text in _NODE_COUNTERS:
        yield _filled(CounterMetricFamily(f"cache_worker_{name}", text, labels=["node"]), nodes, column, 1)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, nodes: list[NodeSample], column: str, factor: float
) -> Metric:
    for node in nodes:
        if (value := getattr(node, column)) is not None:
            family.add_metric([node.node], value * factor)
    return family


# -- keys


def inventory(_now: datetime) -> Iterator[Metric]:
    run = TrackRun.objects.filter(state=TrackRun.State.DONE).order_by("-started_at").first()
    listed = gauge("inventory_timestamp_seconds", "When the last complete inventory began, 0 for never.")
    listed.add_metric([], moment(run.started_at if run else None))
    keys = gauge("keys", "Keys of a service at the last inventory.", "service")
    size = gauge("key_bytes", "Bytes of a service's keys at the last inventory.", "service")
    rows = ServiceSnapshot.objects.filter(run=run) if run else ServiceSnapshot.objects.none()
    found = {row.service: row for row in rows}
    for service in sorted({*TABLE, *found}):
        row = found.get(service)
        keys.add_metric([service], row.keys if row else 0)
        size.add_metric([service], row.bytes if row else 0)
    yield from (listed, keys, size)


# -- money


def money(now: datetime) -> Iterator[Metric]:
    is_open = dict(UpstreamCircuit.objects.values_list("service", "state"))
    circuits = gauge("circuit_open", "Whether a service is left alone or only tried (1).", "service")
    for service in TABLE:
        circuits.add_metric([service], int(is_open.get(service, CircuitState.CLOSED) != CircuitState.CLOSED))
    yield circuits
    yield from _budget(now)
    yield from _account(now)


def _budget(now: datetime) -> Iterator[Metric]:
    cap = gauge("budget_cap_queries", "Paid queries at most in a period that has a cap.", "service", "period")
    spent = gauge("budget_spent_queries", "Paid queries of the present period.", "service", "period")
    capped = periods(budget.caps_in_force(), timezone.localtime(now))
    for service in TABLE:
        sums = budget.spent_in(service, capped)
        for period in capped:
            cap.add_metric([service, period.name], period.cap)
            spent.add_metric([service, period.name], sums[period.name])
    yield from (cap, spent)


def _account(now: datetime) -> Iterator[Metric]:
    left = gauge("account_queries_left", "Queries left in the account, by the last reading and the ledger.", "service")
    lasts = gauge("account_lasts_seconds", "How long they last at the present pace.", "service")
    for service in TABLE:
        if outlook := account.outlook(service, now):
            left.add_metric([service], outlook.left)
            if isfinite(outlook.days):
                lasts.add_metric([service], outlook.days * DAY)
    limit = gauge("account_lasts_limit_seconds", "From where the health check warns (ACCOUNT_DAYS_WARNING).")
    limit.add_metric([], settings.ACCOUNT_DAYS_WARNING * DAY)
    yield from (left, lasts, limit)


READERS: dict[str, Reader] = {"health": health, "inventory": inventory, "money": money}


def register(name: str, read: Reader) -> None:
    """Facts that another package knows."""
    READERS[name] = read


facts = DatabaseFacts()
