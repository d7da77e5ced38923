"""Rows by one statement a table: `INSERT … SELECT` over a series of numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Field, Model
from django.utils import timezone

# Prime: multiplied by something else it brings each number below it once, in no order
PRIME = 1_000_003


def insert(model: type[Model], rows: int, **columns: str) -> None:
    """`columns`: SQL by field, over `x` = 1, 2, …, `rows`. Other fields have their defaults."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key or field.name in columns]
    unknown = set(columns) - {field.name for field in fields}
    assert not unknown, unknown
    names = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    values = ", ".join(columns[field.name].replace("%", "%%") if field.name in columns else "%s" for field in fields)
    defaults = [_default(field) for field in fields if field.name not in columns]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM {_series(rows)}", defaults)


def _default(field: Field[Any, Any]) -> Any:
    return field.get_db_prep_save(None if field.null else field.get_default(), connection)


def _series(rows: int) -> str:
    if connection.vendor == "postgresql":
        return f"(SELECT generate_series(1::bigint, {rows}) AS x) AS series"
    return f"(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows}) SELECT x FROM c)"


def moment(now: datetime, seconds_back: str = "0") -> str:
    """SQL of the time that many seconds before."""
    if connection.vendor == "postgresql":
        return f"timestamptz '{now.isoformat()}' - interval '1 second' * ({seconds_back})"
    return f"strftime('%Y-%m-%d %H:%M:%f', {now.timestamp():.0f} - ({seconds_back}), 'unixepoch')"


def day(now: datetime, days_back: str) -> str:
    """SQL of the date that many days before: reads are counted by Lima's days."""
    today = timezone.localdate(now).isoformat()
    if connection.vendor == "postgresql":
        return f"date '{today}' - ({days_back})::int"
    return f"date('{today}', '-' || ({days_back}) || ' days')"


def scattered(below: int = PRIME) -> str:
    """SQL of a number below `below`, another one for each x where that is the prime itself, in no order."""
    number = f"((x * 7919) % {PRIME})"
    return number if below == PRIME else f"({number} % {below})"


def any_of(*values: str) -> str:
    """SQL of one of these texts, each as often as the others."""
    cases = " ".join(f"WHEN {number} THEN '{value}'" for number, value in enumerate(values))
    return f"CASE x % {len(values)} {cases} END"
