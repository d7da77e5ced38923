"""Reads for HTTP and commands; writes nothing."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from api_service.models import HealthSample


def latest_sample() -> HealthSample | None:
    """The last health run's sample with its nodes, in two queries."""
    return HealthSample.objects.order_by("-taken_at").prefetch_related("nodes").first()


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
