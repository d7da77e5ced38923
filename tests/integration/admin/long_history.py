"""Ninety days of an installation with traffic, in the rows that the first page of the admin sums up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import pi, sin

from api_service import models

NODES = ("10.0.4.11:11211", "10.0.4.12:11211", "10.0.4.13:11211")
DAYS = 90
ALL_KEPT = timedelta(days=2)
FIVE_MINUTES = timedelta(minutes=5)
HOUR = timedelta(hours=1)
KINDS = (("ruc", 900), ("dni", 60), ("tipo_cambio", 30))
SHARES = (("hit", 0.82), ("negative", 0.05), ("stale", 0.03), ("miss", 0.099), ("outage", 0.001))
TIMES = (
    *(("cache", 100, 40), ("cache", 250, 400), ("cache", 500, 300), ("cache", 1_000, 60), ("cache", 5_000, 3)),
    *(("upstream", 250_000, 5), ("upstream", 500_000, 40), ("upstream", 1_000_000, 12), ("failed", 5_000_000, 1)),
)
CODES = (("node_down", "unhealthy"), ("node_slow", "warning"), ("hit_ratio_low", "warning"), ("queue_old", "warning"))
AT_ONCE = 2000


def fill(now: datetime, incidents: int = 10_000) -> None:
    _lookups(now)
    _samples(now)
    _inventories(now)
    _warm_runs(now)
    _incidents(now, incidents)


def _traffic(moment: datetime) -> float:
    """Most at noon, little at night."""
    return 1.1 + sin((moment.hour - 6) / 24 * 2 * pi)


def _hours(now: datetime) -> Iterator[datetime]:
    last = now.replace(minute=0, second=0, microsecond=0)
    return (last - number * HOUR for number in range(DAYS * 24))


def _lookups(now: datetime) -> None:
    models.LookupHour.objects.bulk_create(
        (
            models.LookupHour(
                hour=hour, service="migo", kind=kind, outcome=outcome, count=int(most * part * _traffic(hour))
            )
            for hour in _hours(now)
            for kind, most in KINDS
            for outcome, part in SHARES
        ),
        batch_size=AT_ONCE,
    )
    models.LookupTime.objects.bulk_create(
        (
            models.LookupTime(hour=hour, service="migo", way=way, bound=bound, count=count)
            for hour in _hours(now)
            for way, bound, count in TIMES
        ),
        batch_size=AT_ONCE,
    )
    models.SpendHour.objects.bulk_create(
        (
            models.SpendHour(hour=hour, service="migo", purpose=purpose, queries=int(most * _traffic(hour)))
            for hour in _hours(now)
            for purpose, most in (("user", 60), ("warm", 25), ("retry", 2))
        ),
        batch_size=AT_ONCE,
    )


def _moments(now: datetime, step: timedelta) -> list[datetime]:
    """Every step of two days, then one an hour."""
    lately = [now - number * step for number in range(int(ALL_KEPT / step))]
    return lately + [now - ALL_KEPT - number * HOUR for number in range((DAYS - 2) * 24)]


def _samples(now: datetime) -> None:
    samples = models.HealthSample.objects.bulk_create(
        (
            models.HealthSample(
                taken_at=at,
                status="warning" if number % 300 == 299 else "healthy",
                backend="memcached",
                duration_ms=120.0,
                hourly=now - at >= ALL_KEPT,
                checks={"connection": "✅ OK"},
                around={"broker": {"reachable": True}},
                judged_at=at,
            )
            for number, at in enumerate(_moments(now, FIVE_MINUTES))
        ),
        batch_size=AT_ONCE,
    )
    models.NodeSample.objects.bulk_create(
        (
            models.NodeSample(
                sample=sample,
                node=node,
                reachable=True,
                latency_ms=0.3 + 0.2 * _traffic(sample.taken_at),
                latency_worst_ms=2.5 + number % 5,
                items=333_000,
                bytes_used=300 * 2**20 + number * 2**20,
                bytes_limit=512 * 2**20,
                hit_ratio=0.9,
            )
            for number, sample in enumerate(samples)
            for node in NODES
        ),
        batch_size=AT_ONCE,
    )


def _inventories(now: datetime) -> None:
    runs = models.TrackRun.objects.bulk_create(
        (
            models.TrackRun(started_at=at, finished_at=at + timedelta(seconds=20), state="done", keys_seen=1_000_000)
            for at in _moments(now, 2 * FIVE_MINUTES)
        ),
        batch_size=AT_ONCE,
    )
    models.ServiceSnapshot.objects.bulk_create(
        (
            models.ServiceSnapshot(
                run=run,
                service=service,
                keys=int(keys * (0.8 + 0.1 * _traffic(run.started_at))),
                bytes=int(keys * 700 * (0.8 + 0.1 * _traffic(run.started_at))),
                lives={"1min": keys // 60, "15min": keys // 6, "1h": keys // 2, "24h": keys // 4, "never": 3},
            )
            for run in runs
            for service, keys in (("migo", 900_000), ("nubefact", 80_000), ("sunat", 20_000))
        ),
        batch_size=AT_ONCE,
    )


def _warm_runs(now: datetime) -> None:
    every_five_minutes = (now - number * FIVE_MINUTES for number in range(DAYS * 288))
    models.WarmRun.objects.bulk_create(
        (
            models.WarmRun(
                started_at=at,
                finished_at=at + timedelta(seconds=9),
                state="done",
                limit=500,
                budget=200,
                useful=18 if now - at > HOUR else None,
                wasted=7 if now - at > HOUR else None,
            )
            for at in every_five_minutes
        ),
        batch_size=AT_ONCE,
    )


def _incidents(now: datetime, number: int) -> None:
    """All but the three newest are over; each a little after the one before."""
    apart = timedelta(days=DAYS) / max(number, 1)
    models.Incident.objects.bulk_create(
        (
            models.Incident(
                code=CODES[one % len(CODES)][0],
                node=NODES[one % len(NODES)],
                severity=CODES[one % len(CODES)][1],
                current=CODES[one % len(CODES)][1] if one < 3 else "healthy",
                value="refused",
                since=now - (one + 1) * apart,
                opened_at=now - (one + 1) * apart,
                resolved_at=None if one < 3 else now - (one + 1) * apart + timedelta(minutes=9),
            )
            for one in range(number)
        ),
        batch_size=AT_ONCE,
    )
