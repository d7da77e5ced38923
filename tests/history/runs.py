"""What ran in the past: inventories with their nodes and services, warm-ups, refills, clearings, copies, schedules."""

from __future__ import annotations

from datetime import datetime, timedelta

from api_service.models import (
    ClearRun,
    CopyRun,
    NodeListing,
    RefillRun,
    RunLock,
    ScheduleRun,
    ServiceSnapshot,
    TrackRun,
    WarmedAnswer,
    WarmRun,
)
from tests.history import Size, series
from tests.history.health import share
from workers.schedules import TABLE

LIVES = {"1min": 1, "5min": 4, "15min": 12, "1h": 60, "6h": 15, "24h": 8}
WARMED_EACH = 20


def fill(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    _inventories(size, now, nodes)
    _warm_runs(size, now)
    _moved(size, now, nodes)
    _schedules(now)


def _inventories(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    """Every ten minutes of two days, one an hour before that, as `key_history` thins them."""
    recent, older = 288, 24 * max(size.days - 2, 0)
    times = [now - timedelta(minutes=4 + 10 * number) for number in range(min(recent, 144 * size.days))]
    times += [times[-1] - timedelta(hours=1 + number) for number in range(older)]
    runs = TrackRun.objects.bulk_create(
        TrackRun(
            started_at=at,
            finished_at=at + timedelta(seconds=8),
            state="done",
            keys_seen=size.keys,
            nodes={node: {"ok": True, "keys": size.keys // 3, "error": ""} for node in nodes},
            foreign={"session": 12},
        )
        for at in reversed(times)
    )
    NodeListing.objects.bulk_create(
        (
            NodeListing(
                run=run,
                node=node,
                state="done",
                worker="worker-1:77",
                attempts=1,
                listed_at=run.started_at,
                finished_at=run.finished_at,
                keys=size.keys // 3,
                services={"migo": {"keys": size.keys // 3, "bytes": 700 * size.keys // 3}},
            )
            for run in runs
            for node in nodes
        ),
        batch_size=5000,
    )
    ServiceSnapshot.objects.bulk_create(
        (_snapshot(run, service, size.keys // part) for run in runs for service, part in (("migo", 1), ("sunat", 12))),
        batch_size=5000,
    )


def _snapshot(run: TrackRun, service: str, keys: int) -> ServiceSnapshot:
    now_there = int(keys * (0.7 + 0.3 * share(run.started_at)))
    return ServiceSnapshot(
        run=run,
        service=service,
        keys=now_there,
        bytes=700 * now_there,
        reads=now_there // 2,
        created=now_there // 30,
        expired=now_there // 32,
        expired_unread=now_there // 90,
        lives={life: now_there * part // 100 for life, part in LIVES.items()},
    )


def _warm_runs(size: Size, now: datetime) -> None:
    runs = WarmRun.objects.bulk_create(
        (_warm_run(number, now - timedelta(minutes=2 + 5 * number)) for number in range(288 * size.days - 1, -1, -1)),
        batch_size=5000,
    )
    newest = runs[-1].pk
    # What was loaded is kept for a week
    kept = min(7, size.days) * 288
    series.insert(
        WarmedAnswer,
        kept * WARMED_EACH,
        run=f"{newest} - (x / {WARMED_EACH}) % {kept}",
        service="'migo'",
        kind="'ruc'",
        identifier=f"'' || (20000000000 + {series.scattered()})",
        chance="(x % 100) / 100.0",
        warmed_at=series.moment(now, "x * 15"),
        ends_at=series.moment(now, "x * 15 - 3600"),
    )


def _warm_run(number: int, at: datetime) -> WarmRun:
    loaded = int(60 * share(at)) + number % 7
    return WarmRun(
        started_at=at,
        finished_at=at + timedelta(seconds=20),
        state="failed" if number % 211 == 7 else "done",
        error="upstream_timeout: no answer in time (ReadTimeout)" if number % 211 == 7 else "",
        limit=500,
        budget=200,
        candidates=loaded * 3,
        from_store=loaded // 6,
        paid=loaded // 2,
        refreshed=loaded,
        skipped={"fresh": loaded * 2, "below_break_even": loaded // 3},
        break_even=0.25,
        useful=int(loaded * 0.8) if number > 12 else None,
        wasted=loaded - int(loaded * 0.8) if number > 12 else None,
    )


def _moved(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    times = [now - timedelta(hours=5 + 11 * number) for number in range(2 * size.days)]
    RefillRun.objects.bulk_create(
        RefillRun(
            started_at=at,
            finished_at=at + timedelta(seconds=9),
            state="done",
            node=nodes[number % 3],
            reason="restarted",
            booted_at=at - timedelta(minutes=2),
            pid=4000 + number,
            candidates=1200,
            written=1188,
            already_there=9,
            refused=3,
            hit_ratio_before=0.93,
            hit_ratio_during=0.5,
            hit_ratio_after=0.91,
        )
        for number, at in enumerate(times)
    )
    ClearRun.objects.bulk_create(_clearing(number, at, nodes) for number, at in enumerate(times))
    CopyRun.objects.bulk_create(
        CopyRun(
            started_at=at,
            finished_at=at + timedelta(minutes=1),
            state="done",
            purpose="copy",
            source=", ".join(nodes),
            target="redis 10.0.4.20:6379",
            found=5000,
            copied=4990,
            already_there=3,
            skipped={"expired": 7},
            checked=200,
            nodes={node: {"state": "copied", "found": 1667, "copied": 1663, "error": ""} for node in nodes},
        )
        for at in times[::9]
    )


def _clearing(number: int, at: datetime, nodes: tuple[str, ...]) -> ClearRun:
    done = {"state": "done", "found": 40, "removed": 40, "kinds": {"ruc": 40}, "error": ""}
    return ClearRun(
        started_at=at,
        finished_at=at + timedelta(seconds=3),
        state="done",
        via=("admin", "command", "http")[number % 3],
        backend="memcached",
        service="migo",
        requested_by="mirona",
        dry_run=number % 4 == 1,
        found=120,
        removed=0 if number % 4 == 1 else 120,
        nodes=dict.fromkeys(nodes, done),
        seconds=2.4,
    )


def _schedules(now: datetime) -> None:
    for name, schedule in TABLE.items():
        ScheduleRun.objects.create(
            name=name,
            task=schedule.task,
            started_at=now - timedelta(minutes=2),
            succeeded_at=now - timedelta(minutes=2),
            duration=1.25,
        )
    RunLock.objects.create(name="track_keys", token="", expires_at=None)
