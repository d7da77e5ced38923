"""Health runs as they are kept: every five minutes of two days, one an hour before that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from api_service.models import HealthSample, NodeSample, OperationReads
from api_service.services.demo import intensity
from tests.history import Size

RECENT = timedelta(days=2)
STEP = timedelta(minutes=5)
HOUR = timedelta(hours=1)
# Every so many runs one finds something
TROUBLE_EVERY = 37
MEMORY = 512 * 2**20


def fill(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    times = list(moments(size, now))
    samples = HealthSample.objects.bulk_create(_sample(number, at, nodes) for number, at in enumerate(times))
    rows = (
        _node(number, sample, place, node) for number, sample in enumerate(samples) for place, node in enumerate(nodes)
    )
    NodeSample.objects.bulk_create(rows, batch_size=5000)
    recent = [at for at in times if at > now - RECENT]
    OperationReads.objects.bulk_create((_read(at, node) for at in recent for node in nodes), batch_size=5000)


def moments(size: Size, now: datetime) -> Iterator[datetime]:
    """The oldest first; the newest three minutes ago."""
    newest = now - timedelta(minutes=3)
    recent = min(RECENT, timedelta(days=size.days))
    hours = int((timedelta(days=size.days) - recent) / HOUR)
    yield from (newest - recent - HOUR * number for number in range(hours, 0, -1))
    yield from (newest - STEP * number for number in range(int(recent / STEP) - 1, -1, -1))


def share(at: datetime) -> float:
    """Of the busiest hour's traffic; half of it on weekends."""
    local = timezone.localtime(at)
    return intensity(local.hour + local.minute / 60) * (0.5 if local.weekday() >= 5 else 1.0)


def is_down(number: int, place: int) -> bool:
    return number % TROUBLE_EVERY == 5 and place == number // TROUBLE_EVERY % 3


def _sample(number: int, at: datetime, nodes: tuple[str, ...]) -> HealthSample:
    down = [node for place, node in enumerate(nodes) if is_down(number, place)]
    slow = number % TROUBLE_EVERY == 11
    findings = [finding("node_down", "unhealthy", node, "connection refused", "", at) for node in down]
    findings += [finding("node_slow", "warning", nodes[0], 71.5, 50.0, at)] if slow else []
    queue = {"length": number % 3, "oldest_seconds": None}
    connection = "❌ " + ", ".join(down) if down else "✅ OK"
    return HealthSample(
        taken_at=at,
        status="unhealthy" if down else "warning" if slow else "healthy",
        backend="memcached",
        duration_ms=30 + number % 23,
        checks={"connection": connection, "basic_operations": "✅ OK", "invalid_rucs": "✅ 12 RUCs"},
        findings=findings,
        around={
            "broker": {"reachable": True, "ms": 1.2, "queues": {"health": queue}},
            "workers": {"queues": ["health", "warming", "tracking", "default"]},
            "database": {"ms": 2.1},
        },
        hourly=number % 12 == 0,
        judged_at=at + timedelta(seconds=1),
    )


def finding(code: str, severity: str, node: str, value: object, limit: object, since: datetime) -> dict[str, Any]:
    facts = {"code": code, "severity": severity, "node": node, "value": value, "limit": limit}
    return {**facts, "since": since.isoformat(), "counts": True}


def _node(number: int, sample: HealthSample, place: int, node: str) -> NodeSample:
    if is_down(number, place):
        return NodeSample(sample=sample, node=node, reachable=False, error="connection refused")
    busy = share(sample.taken_at)
    return NodeSample(
        sample=sample,
        node=node,
        reachable=True,
        latency_ms=0.3 + 0.4 * busy + number % 7 / 50,
        latency_worst_ms=1.4 + number % 11 / 5,
        version="1.6.18",
        pid=4000 + place,
        booted_at=sample.taken_at - timedelta(days=9),
        items=200_000 + 1000 * (number % 60),
        bytes_used=int(MEMORY * (0.4 + 0.2 * busy)),
        bytes_limit=MEMORY,
        evictions=0,
        hits=9_000 * number,
        misses=800 * number,
        connections=24 + number % 9,
        max_connections=1024,
        rejected_connections=0,
        expired_unfetched=40 * number,
        hit_ratio=0.86 + 0.1 * busy - number % 13 / 300,
        evictions_per_minute=0.0,
        expired_unfetched_per_minute=2.0 + number % 5,
    )


def _read(at: datetime, node: str) -> OperationReads:
    """By the warm run before each health run."""
    began, hits = at - timedelta(minutes=3), 600 + int(900 * share(at))
    return OperationReads(
        node=node,
        operation=OperationReads.Operation.WARM_RUN,
        began_at=began,
        over_by=began + timedelta(milliseconds=80),
        hits_before=1_000_000,
        hits_after=1_000_000 + hits + 4,
        hits=hits,
        misses=hits // 20,
    )
