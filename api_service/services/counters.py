"""Additive upserts: many counts into a table in one transaction, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from django.db import connection, models


def add(
    model: type[models.Model],
    keys: Sequence[str],
    count: str,
    rows: Iterable[Sequence[Any]],
    *,
    latest: Sequence[str] = (),
) -> None:
    """Each row holds the values of `keys`, the number to add to `count`, and those of `latest` (the greater stays).

    Django's `bulk_create(update_conflicts)` replaces; counters written by many processes must add.
    """
    table = connection.ops.quote_name(model._meta.db_table)
    column = connection.ops.quote_name
    names = [*keys, count, *latest]
    updates = [f"{column(count)} = {table}.{column(count)} + excluded.{column(count)}"]
    updates += [
        f"{column(name)} = CASE WHEN excluded.{column(name)} > {table}.{column(name)} "
        f"THEN excluded.{column(name)} ELSE {table}.{column(name)} END"
        for name in latest
    ]
    # Names come from the model, values are parameters
    sql = (
        f"INSERT INTO {table} ({', '.join(map(column, names))}) VALUES ({', '.join(['%s'] * len(names))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(map(column, keys))}) DO UPDATE SET {', '.join(updates)}"
    )
    _execute(model, names, sql, rows)


def add_to_existing(
    model: type[models.Model], key: str, count: str, latest: str, rows: Iterable[Sequence[Any]]
) -> None:
    """Each row holds the value of `key`, the number to add to `count`, and that of `latest` (the greater stays).

    A key without a row is passed over. Rows are locked in the order given.
    """
    column = connection.ops.quote_name
    # Names come from the model, values are parameters
    sql = (
        f"UPDATE {column(model._meta.db_table)} SET {column(count)} = {column(count)} + %s, "  # noqa: S608
        f"{column(latest)} = CASE WHEN {column(latest)} > %s THEN {column(latest)} ELSE %s END WHERE {column(key)} = %s"
    )
    _execute(model, (count, latest, latest, key), sql, [(number, last, last, name) for name, number, last in rows])


def _execute(model: type[models.Model], names: Sequence[str], sql: str, rows: Iterable[Sequence[Any]]) -> None:
    fields = [cast("models.Field[Any, Any]", model._meta.get_field(name)) for name in names]
    parameters = [
        [field.get_db_prep_save(value, connection) for field, value in zip(fields, row, strict=True)] for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql, parameters)
