"""Stored health runs as they age: all of two days, then the worst of each hour, then none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.db import transaction

from api_service.models import HealthSample
from api_service.services.health_rules import RANK, Severity

ALL_KEPT = timedelta(days=2)
# Samples looked at at a time, and what one transaction deletes: an hour, at most 60 of them
BATCH = 1000
# A page of the history: a week of it, and with the nodes of a large cache a few megabytes
PAGE = 1000


def thin(now: datetime) -> int:
    """Samples dropped of the hours that are two days old: all but the worst of each.

    Goes on where a run was cut off, and changes nothing when it is done again.
    """
    return sum(_keep_worst(start) for start in _hours(hour_of(now - ALL_KEPT)))


def _hours(until: datetime) -> Iterator[datetime]:
    """The beginnings of hours that end by `until` and have a sample not kept yet, oldest first."""
    waiting = HealthSample.objects.filter(hourly=False, taken_at__lt=until).order_by("taken_at")
    after = datetime.min.replace(tzinfo=UTC)
    while times := list(waiting.filter(taken_at__gte=after).values_list("taken_at", flat=True)[:BATCH]):
        yield from (hour for hour, _samples in groupby(map(hour_of, times)))
        after = hour_of(times[-1]) + timedelta(hours=1)


def _keep_worst(start: datetime) -> int:
    """One transaction: the hour is as it was, or has its one sample."""
    with transaction.atomic():
        samples = HealthSample.objects.filter(taken_at__gte=start, taken_at__lt=start + timedelta(hours=1))
        kept = worst(list(samples))
        HealthSample.objects.filter(pk=kept.pk).update(hourly=True)
        return samples.exclude(pk=kept.pk).delete()[1].get(HealthSample._meta.label, 0)


def worst(samples: Sequence[HealthSample]) -> HealthSample:
    """By its verdict, then by how much was wrong; of equals the first."""
    return min(samples, key=lambda sample: (-RANK[Severity(sample.status)], -len(sample.findings), sample.taken_at))


def hour_of(moment: datetime) -> datetime:
    """Hours of UTC: a change to summer time makes none of them longer."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def between(since: datetime, until: datetime) -> tuple[list[HealthSample], bool]:
    """The newest PAGE samples of that time with their nodes, oldest first, and whether there are older ones."""
    rows = HealthSample.objects.filter(taken_at__gte=since, taken_at__lt=until).order_by("-taken_at")
    found = list(rows.prefetch_related("nodes")[: PAGE + 1])
    return found[PAGE - 1 :: -1] if len(found) > PAGE else found[::-1], len(found) > PAGE
