"""Reads for HTTP and commands; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q, Sum

from api_service.models import HealthSample, LookupHour, SpendHour, TrackedKey, TrackRun
from api_service.services.keys import OTHER


def latest_sample() -> HealthSample | None:
    """The last health run's sample with its nodes, in two queries.

    The last that was written: a clock that is set back must not leave an old sample the newest until it has caught up.
    """
    return HealthSample.objects.order_by("-pk").prefetch_related("nodes").first()


def last_inventory() -> TrackRun | None:
    """The last one that came to its end."""
    return TrackRun.objects.filter(state=TrackRun.State.DONE).order_by("-pk").first()


def lookups_by_outcome(since: datetime) -> dict[str, int]:
    """The outcomes that occurred."""
    rows = LookupHour.objects.filter(hour__gte=since).values_list("outcome")
    return dict(rows.annotate(total=Sum("count")))


def paid_by_purpose(since: datetime) -> dict[str, int]:
    rows = SpendHour.objects.filter(hour__gte=since).values_list("purpose")
    return dict(rows.annotate(total=Sum("queries")))


def keys_of(
    service: str,
    state: str,
    *,
    kind: str | None,
    node: str | None,
    after: Sequence[str] | None,
    most: int,
) -> list[TrackedKey]:
    """A service's keys in the order of key and node, `most` of them, from behind the place `after` (key, node).

    A range of the index of state and key, however many keys there are: what begins with `migo:` ends before `migo;`.
    """
    begin = f"{service}:{kind}_" if kind and kind != OTHER else f"{service}:"
    end = begin[:-1] + chr(ord(begin[-1]) + 1)
    rows = TrackedKey.objects.filter(state=state, key__gte=begin, key__lt=end)
    if kind:
        rows = rows.filter(kind=kind)
    if node:
        rows = rows.filter(node=node)
    if after:
        key, behind = after
        rows = rows.filter(Q(key__gt=key) | Q(key=key, node__gt=behind), key__gte=key)
    return list(rows.order_by("key", "node")[:most])


class _Schema:
    """Nobody takes migrations back under a running process: what was complete once is not read from disk again."""

    complete = False


def missing_migrations() -> list[str]:
    """Migrations that this code has and the database lacks, as `app.name`."""
    if _Schema.complete:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _Schema.complete = not plan
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]
