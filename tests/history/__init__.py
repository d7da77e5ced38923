"""A made-up past of any size, written within seconds or minutes: what pages look like after three months of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection, transaction

NODES = ("10.0.4.11:11211", "10.0.4.12:11211", "10.0.4.13:11211")


@dataclass(frozen=True)
class Size:
    """`keys` tracked, `days` of samples, counts and runs, `incidents` over them."""

    keys: int
    days: int
    incidents: int


FULL = Size(keys=1_000_000, days=90, incidents=10_000)
# Everything to see on the pages, in a few seconds
SHOWN = Size(keys=4_000, days=90, incidents=120)
SMALL = Size(keys=120, days=1, incidents=12)


def fill(size: Size, now: datetime, nodes: tuple[str, ...] = NODES) -> None:
    """Into empty tables; the newest rows are of minutes before `now`."""
    from tests.history import counts, health, incidents, keys, others, runs

    with _filling(), transaction.atomic():
        for write in (health.fill, incidents.fill, counts.fill, runs.fill, keys.fill, others.fill):
            write(size, now, nodes)
        _go_on_behind_them()
    # As autovacuum does, or `PRAGMA optimize`
    _execute(["ANALYZE"])


BEFORE = {
    # Neither the time limit of a statement, nor a look at the other table for each of a million rows
    "postgresql": ("SET statement_timeout = 0", "SET session_replication_role = replica"),
    # Its index pages in memory
    "sqlite": ("PRAGMA cache_size = -600000",),
}
AFTER = {
    "postgresql": ("RESET statement_timeout", "RESET session_replication_role"),
    "sqlite": ("PRAGMA cache_size = -2000",),
}


@contextmanager
def _filling() -> Iterator[None]:
    _execute(BEFORE[connection.vendor])
    try:
        yield
    finally:
        _execute(AFTER[connection.vendor])


def _execute(statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _go_on_behind_them() -> None:
    """Rows that were written with their keys have not moved PostgreSQL's sequences."""
    models = [model for config in apps.get_app_configs() for model in config.get_models()]
    _execute(connection.ops.sequence_reset_sql(no_style(), models))
