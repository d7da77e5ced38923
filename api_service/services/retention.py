"""Rows beyond their retention go in batches: no long transaction, and a clean-up that is cut off goes on later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.utils import timezone

from api_service.models import (
    AccountReading,
    BillingRow,
    BillingRun,
    CircuitChange,
    CopyRun,
    DailyReads,
    Delivery,
    HealthSample,
    Incident,
    LookupHour,
    LookupTime,
    Notice,
    OperationReads,
    RefillRun,
    ServiceSnapshot,
    SpendHour,
    StaleServed,
    TrackedKey,
    TrackRun,
    Transition,
    UpstreamCalls,
    WarmedAnswer,
    WarmRun,
)
from api_service.services import (
    health_history,
    key_history,
    own_hits,
    stale_counts,
    upstream_calls,
    warm_results,
    warm_statistics,
)

BATCH = 5000
COUNTS_KEPT_DAYS = 400
RUNS_KEPT_DAYS = 90

Row = TypeVar("Row", bound=Model)


def prune(now: datetime) -> dict[str, int]:
    """Rows dropped, by what they are of: keys, runs, counts, history, habits, …; active keys never."""
    history = key_history.thin(now)
    dropped = {"keys": _gone_keys(now), "runs": _runs(now), "counts": _counts(now), "history": history}
    return {**dropped, "habits": _habits(now), "incidents": _incidents(now), "health_samples": _health(now)}


def _gone_keys(now: datetime) -> int:
    gone = [TrackedKey.State.EXPIRED, TrackedKey.State.REMOVED]
    old = now - timedelta(days=settings.TRACK_GONE_DAYS)
    return drop(TrackedKey.objects.filter(state__in=gone, seen_at__lt=old))


def _runs(now: datetime) -> int:
    """An inventory stays for as long as the history has rows of it, and the newest that the next one goes on from."""
    old, ended = now - timedelta(days=RUNS_KEPT_DAYS), now - timedelta(days=settings.TRACK_HISTORY_DAYS)
    has_history = Exists(ServiceSnapshot.objects.filter(run=OuterRef("pk")))
    beyond = Q(started_at__lt=ended) | Q(~has_history, started_at__lt=old)
    newest = TrackRun.objects.exclude(lookups={}).order_by("-pk").values("pk")[:1]
    inventories = drop(TrackRun.objects.filter(beyond).exclude(pk__in=newest))
    money = drop(CircuitChange.objects.filter(at__lt=old)) + drop(AccountReading.objects.filter(taken_at__lt=old))
    runs = sum(drop(model.objects.filter(started_at__lt=old)) for model in (WarmRun, RefillRun, CopyRun))
    return inventories + runs + money + _billing(old)


def _billing(old: datetime) -> int:
    """The rows first, in batches of their own: a cascade would take all of many runs in one transaction."""
    drop(BillingRow.objects.filter(run__uploaded_at__lt=old))
    return drop(BillingRun.objects.filter(uploaded_at__lt=old))


def _habits(now: datetime) -> int:
    bins, habits = warm_statistics.forgotten(now)
    return drop(bins) + drop(habits) + drop(WarmedAnswer.objects.filter(ends_at__lt=now - warm_results.KEPT))


def _health(now: datetime) -> int:
    oldest = now - timedelta(days=settings.HEALTH_RETENTION_DAYS)
    drop(OperationReads.objects.filter(over_by__lt=now - own_hits.KEPT))
    return drop(HealthSample.objects.filter(taken_at__lt=oldest)) + health_history.thin(now)


def _incidents(now: datetime) -> int:
    """With their transitions; then what was told of them. One that is open stays, however old, and what it told."""
    old = now - timedelta(days=settings.HEALTH_RETENTION_DAYS)
    incidents = drop(Incident.objects.filter(resolved_at__lt=old))
    waiting = Exists(Delivery.objects.filter(notice=OuterRef("pk"), state=Delivery.State.PENDING))
    of_one_kept = Exists(Transition.objects.filter(notice=OuterRef("pk")))
    drop(Notice.objects.filter(~waiting, ~of_one_kept, created_at__lt=old))
    return incidents


def _counts(now: datetime) -> int:
    until = now - timedelta(days=COUNTS_KEPT_DAYS)
    lookups = drop(LookupHour.objects.filter(hour__lt=until)) + drop(LookupTime.objects.filter(hour__lt=until))
    paid = drop(SpendHour.objects.filter(hour__lt=until))
    stale = drop(StaleServed.objects.filter(since__lt=now - stale_counts.KEPT))
    calls = drop(UpstreamCalls.objects.filter(since__lt=now - upstream_calls.KEPT))
    return lookups + paid + stale + calls + drop(DailyReads.objects.filter(day__lt=timezone.localdate(until)))


def drop(rows: QuerySet[Row]) -> int:
    """Walks the table once, in the order of its primary key; rows that go along by cascade are not counted."""
    dropped = last = 0
    while pks := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        dropped += rows.filter(pk__in=pks).delete()[1].get(rows.model._meta.label, 0)
        last = pks[-1]
    return dropped
