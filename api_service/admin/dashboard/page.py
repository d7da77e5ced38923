"""The parts of the page put together: what a person may see of each, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Value
from django.db.models.functions import Concat, Left
from django.utils import timezone

from api_service.admin.dashboard import health, history, keys, money, recent, runs, timeline, times, trouble
from api_service.admin.dashboard.charts import Chart, Values, total
from api_service.admin.dashboard.health import Health
from api_service.admin.dashboard.links import User, may_see
from api_service.admin.dashboard.money import Latency, Lookups, Saved, Spend
from api_service.admin.dashboard.periods import Period, buckets
from api_service.admin.dashboard.runs import LastRun
from api_service.admin.dashboard.timeline import Timeline
from api_service.admin.dashboard.times import Times
from api_service.admin.dashboard.trouble import Incidents, Schedules
from api_service.models import (
    ClearRun,
    CopyRun,
    Delivery,
    HealthSample,
    Incident,
    LookupHour,
    LookupTime,
    RefillRun,
    Run,
    ScheduleRun,
    ServiceSnapshot,
    SpendHour,
    TrackRun,
    WarmRun,
)
from api_service.services import beat_watch, clearing, copying, leases, refill, track_runs, warming
from api_service.services.budget import caps_in_force
from api_service.services.budget_rules import periods
from api_service.services.locks import holding
from api_service.services.providers import TABLE as PROVIDERS

CLOSING: dict[str, Callable[[datetime], None]] = {
    "TrackRun": track_runs.close_abandoned,
    "WarmRun": warming.close_abandoned,
    "RefillRun": refill.close_abandoned,
    "ClearRun": clearing.close_abandoned,
    "CopyRun": copying.close_abandoned,
}
# With the names of their leases, for the database
LEASED = (
    (TrackRun.objects, Value(track_runs.LOCK)),
    (WarmRun.objects, Value(warming.LOCK)),
    (RefillRun.objects, Left(Concat(Value(refill.lock_of("")), OuterRef("node")), refill.LONGEST_LOCK_NAME)),
    (ClearRun.objects, Concat(Value(clearing.lock_of("")), OuterRef("service"))),
    (CopyRun.objects, Value(copying.LOCK)),
)


@dataclass(frozen=True)
class Now:
    """None is what the person may not see."""

    health: Health | None
    incidents: Incidents | None
    undelivered: str
    schedules: Schedules | None
    lookups: Lookups | None
    spend: Spend | None
    saved: Saved | None
    times: Times | None
    latency: Latency | None


@dataclass(frozen=True)
class Runs:
    last: tuple[LastRun, ...]
    recent: tuple[recent.Line, ...]


@dataclass(frozen=True)
class Charts:
    drawn: tuple[Chart, ...]
    timeline: Timeline | None


def now_of(user: User, period: Period, now: datetime) -> Now:
    """Ten queries."""
    of, local = buckets(period, now), timezone.localtime(now)
    sample = health.last_sample() if may_see(user, HealthSample) else None
    counts = money.lookups_between(of) if may_see(user, LookupHour) else None
    caps = caps_in_force()
    ledger = money.ledger(of, periods(caps, local)) if may_see(user, SpendHour) else None
    account = money.account_words(sample.around) if sample else []
    price = settings.MIGO_QUERY_PRICE
    return Now(
        health=health.look(sample, now, _seconds(settings.HEALTH_PERIOD)) if may_see(user, HealthSample) else None,
        incidents=trouble.incidents(trouble.open_incidents(), now) if may_see(user, Incident) else None,
        undelivered=trouble.undelivered(now) if may_see(user, Delivery) else "",
        schedules=trouble.schedules_of(beat_watch.look(now), now) if may_see(user, ScheduleRun) else None,
        lookups=money.lookups(counts) if counts is not None else None,
        spend=money.spend(ledger, PROVIDERS, caps, local, price, account) if ledger else None,
        saved=money.saved(counts, ledger.warmed, price) if ledger and counts is not None else None,
        times=times.times(of) if may_see(user, LookupTime) else None,
        latency=money.latency(of) if may_see(user, HealthSample) else None,
    )


def runs_of(user: User, now: datetime) -> Runs:
    """Seven queries, and more for each kind of which a run was killed: it is not shown as under way."""
    leases.close_seen(_close_abandoned, now)
    return Runs(tuple(_last_runs(user, now)), recent.lines(user, now))


def _close_abandoned(now: datetime) -> None:
    for kind in _left(now):
        CLOSING[kind](now)


def _left(now: datetime) -> list[str]:
    """The kinds of which a run is not over and nobody holds its lease, by their names in CLOSING. One query."""
    running = [
        rows.filter(~Exists(holding(lock, now)), state=Run.State.RUNNING)
        .order_by()
        .values_list(Value(rows.model.__name__))
        for rows, lock in LEASED
    ]
    return [name for (name,) in running[0].union(*running[1:])]


def _last_runs(user: User, now: datetime) -> Iterator[LastRun]:
    if may_see(user, TrackRun):
        yield runs.inventory(now, _seconds(settings.TRACK_PERIOD))
    if may_see(user, WarmRun):
        yield runs.warming(now, _seconds(settings.WARM_PERIOD))


def charts_of(user: User, period: Period, now: datetime) -> Charts:
    """Nine queries."""
    on = history.axis(period, buckets(period, now))
    found = tuple(_charts(user, on))
    if not may_see(user, Incident):
        return Charts(found, None)
    seen = timeline.troubles(on.buckets.start, now)
    return Charts(found, timeline.timeline(on, seen, now))


def _charts(user: User, on: history.Axis) -> Iterator[Chart]:
    measured: Values = [None] * on.buckets.count
    if may_see(user, LookupHour):
        counts = history.lookups(on)
        measured = total(list(counts.values()))
        yield history.hit_ratio(on, counts)
        yield history.outcomes(on, counts)
    if may_see(user, SpendHour):
        yield history.calls(on, measured)
    if may_see(user, LookupTime):
        yield from times.drawn(on)
    if may_see(user, HealthSample):
        yield history.latency(on)
    if may_see(user, ServiceSnapshot):
        stock = keys.stock(on)
        yield keys.keys(on, stock.keys)
        yield keys.sizes(on, stock.bytes)
        yield keys.lives(keys.last_snapshots())
    if may_see(user, TrackRun):
        yield keys.reasons(keys.last_reasons())
    if may_see(user, WarmRun):
        yield history.warming(on)


def _seconds(number: int) -> timedelta:
    return timedelta(seconds=number)
