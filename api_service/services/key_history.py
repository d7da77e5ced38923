"""Each service's history: a row for every inventory, made of what its nodes found, and fewer rows the older they are.

Flows (reads, created, removed, expired) are what happened since the row before: rows that are thinned out add theirs
to the row that stays, so that sums over any time stay true. A worker that is killed amid its rows takes along what it
counted on that node: the key table is mended by the next one, these flows are not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypedDict

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from api_service.models import LookupHour, NodeListing, ServiceSnapshot, TrackRun

STOCKS = ("keys", "bytes")
NODE_FLOWS = ("created", "removed", "expired", "expired_unread")
FLOWS = ("reads", *NODE_FLOWS)

# Every run is kept so long, then one an hour, then one a day until the retention ends
EVERY_RUN = timedelta(days=2)
HOURLY = timedelta(days=90)
# Look-ups go into the hour in which they are written; a clock that is behind, or a commit that waits, makes it late
LATE = timedelta(hours=1)


class ServiceJSON(TypedDict):
    """One service: `keys`, `bytes` and `lives` (time left → keys) as found, the others since the run before."""

    keys: int
    bytes: int
    reads: int
    created: int
    removed: int
    expired: int
    expired_unread: int
    lives: dict[str, int]


# --- What a run found -------------------------------------------------------------------------------------------------


@dataclass
class _Total:
    counts: Counter[str] = field(default_factory=Counter)
    lives: Counter[str] = field(default_factory=Counter)

    def add(self, found: Mapping[str, int], names: Iterable[str]) -> None:
        self.counts.update({name: found[name] for name in names})

    def numbers(self) -> dict[str, int]:
        return {name: self.counts[name] for name in (*STOCKS, *FLOWS)}


def write(run: TrackRun) -> None:
    """The rows of a run whose nodes have all ended, and in `run.lookups` what the next run goes on from."""
    before = Baseline.of(run)
    lookups = lookups_since(before.since)
    ServiceSnapshot.objects.bulk_create(_snapshots(run, before, reads_since(before, lookups)))
    run.lookups = before.moved_to(run.finished_at or timezone.now(), lookups)
    run.save(update_fields=["lookups"])


def _snapshots(run: TrackRun, before: Baseline, reads: Mapping[str, int]) -> list[ServiceSnapshot]:
    """One for each service that has keys, or to which something happened since the run before.

    What happened in runs that were interrupted meanwhile counts too: they wrote no row.
    """
    services: defaultdict[str, _Total] = defaultdict(_Total)
    for service, counted in reads.items():
        services[service].counts["reads"] += counted
    listings = NodeListing.objects.filter(run__gt=before.run, run__lte=run.pk)
    for of_run, found in listings.values_list("run", "services"):
        for service, counts in found.items():
            services[service].add(counts, NODE_FLOWS)
            if of_run == run.pk:
                services[service].add(counts, STOCKS)
                services[service].lives.update(counts["lives"])
    return [
        ServiceSnapshot(run=run, service=name, lives=dict(total.lives), **total.numbers())
        for name, total in sorted(services.items())
        if any(total.counts.values())
    ]


def as_json(row: ServiceSnapshot) -> ServiceJSON:
    return ServiceJSON(
        keys=row.keys,
        bytes=row.bytes,
        reads=row.reads,
        created=row.created,
        removed=row.removed,
        expired=row.expired,
        expired_unread=row.expired_unread,
        lives=row.lives,
    )


# --- Look-ups since the run before ------------------------------------------------------------------------------------

Lookups = Mapping[tuple[datetime, str], int]  # (hour, service) -> look-ups


class BaselineJSON(TypedDict):
    since: str  # ISO
    services: dict[str, int]


class Baseline(NamedTuple):
    """What had been counted when run `run` was closed: look-ups by service, of the hours from `since` on."""

    run: int
    since: datetime | None
    counted: Mapping[str, int]

    @classmethod
    def of(cls, run: TrackRun) -> Baseline:
        """That of the last run that was not interrupted."""
        earlier = TrackRun.objects.filter(pk__lt=run.pk).order_by("-pk")
        if last := earlier.exclude(lookups={}).only("lookups").first():
            return cls(last.pk, datetime.fromisoformat(last.lookups["since"]), last.lookups["services"])
        # A run from before look-ups were kept with it
        last = earlier.filter(state=TrackRun.State.DONE).first()
        return cls(last.pk, _hour(last.started_at), {}) if last else cls(0, None, {})

    def moved_to(self, now: datetime, lookups: Lookups) -> BaselineJSON:
        """The baseline of a run that is closed `now`, for its `lookups` column."""
        since = max(_hour(now) - LATE, self.since or datetime.min.replace(tzinfo=now.tzinfo))
        return {"since": since.isoformat(), "services": _by_service(lookups, since)}


def lookups_since(since: datetime | None) -> Lookups:
    """One query: what is written meanwhile belongs to the next run as a whole."""
    rows = LookupHour.objects.filter(hour__gte=since) if since else LookupHour.objects.all()
    counted = rows.values_list("hour", "service").annotate(total=Sum("count"))
    return {(hour, service): total for hour, service, total in counted}


def reads_since(before: Baseline, lookups: Lookups) -> dict[str, int]:
    """Look-ups by service that `before` had not counted."""
    now = _by_service(lookups, before.since)
    return {service: max(0, total - before.counted.get(service, 0)) for service, total in now.items()}


def _by_service(lookups: Lookups, since: datetime | None) -> dict[str, int]:
    services: Counter[str] = Counter()
    for (hour, service), count in lookups.items():
        if since is None or hour >= since:
            services[service] += count
    return dict(services)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# --- Thinning with age ------------------------------------------------------------------------------------------------


class Dated(NamedTuple):
    pk: int
    service: str
    taken_at: datetime


def thin(now: datetime) -> int:
    """Keep one row of each service an hour, or a day, beyond the ages above; the number of rows that went."""
    rows = (
        ServiceSnapshot.objects.filter(run__started_at__lte=now - EVERY_RUN)
        .order_by("service", "run__started_at", "pk")
        .values_list("pk", "service", "run__started_at")
    )
    return sum(_merge(group) for group in to_merge(map(Dated._make, rows.iterator()), now))


def to_merge(rows: Iterable[Dated], now: datetime) -> list[list[int]]:
    """Rows in the order of service and time → groups of at least two that become one, oldest first."""
    groups = groupby(rows, key=lambda row: (row.service, _step(row.taken_at, now)))
    found = [(step, [row.pk for row in group]) for (_service, step), group in groups]
    return [pks for step, pks in found if step is not None and len(pks) > 1]


def _step(taken_at: datetime, now: datetime) -> tuple[str, datetime] | None:
    """Which hour or day it stands for; None while every run is kept."""
    age, local = now - taken_at, timezone.localtime(taken_at)
    if age < EVERY_RUN:
        return None
    return ("hour", _hour(local)) if age < HOURLY else ("day", _hour(local).replace(hour=0))


def _merge(pks: list[int]) -> int:
    """The newest stays, with everybody's flows. Read again under lock: a second clean-up must not add them twice."""
    with transaction.atomic():
        found = {row.pk: row for row in ServiceSnapshot.objects.filter(pk__in=pks).select_for_update()}
        rows = [found[pk] for pk in pks if pk in found]
        if len(rows) < 2:
            return 0
        *older, kept = rows
        for name in FLOWS:
            setattr(kept, name, sum(map(attrgetter(name), rows)))
        kept.save(update_fields=FLOWS)
        return ServiceSnapshot.objects.filter(pk__in=[row.pk for row in older]).delete()[0]
