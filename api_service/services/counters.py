"""Additive upserts: many counts into a table by one statement, on SQLite and PostgreSQL alike.

All rows of a call are one JSON parameter that the database takes apart. Arrays cost the client twenty times that, and
`executemany` gives up the interpreter with each row, which under busy threads costs a wait for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast

import orjson
from django.db import connection, models

Fields = list["models.Field[Any, Any]"]
GIVEN = "given"  # the rows of a call, as a table


def add(
    model: type[models.Model],
    keys: Sequence[str],
    count: str,
    rows: Iterable[Sequence[Any]],
    *,
    latest: Sequence[str] = (),
) -> None:
    """Each row holds the values of `keys`, the number to add to `count`, and those of `latest` (the greater stays).

    Django's `bulk_create(update_conflicts)` replaces; counters written by many processes must add. Rows are locked in
    the order given: callers that sort do not wait for each other in a circle.
    """
    names = [*keys, count, *latest]
    table, columns = _quoted(model._meta.db_table), [_quoted(name) for name in names]
    updates = [_sum(count, f"{table}.", "excluded."), *(_greater(name, f"{table}.", "excluded.") for name in latest)]
    fields = _fields(model, names)
    # Names come from the model, values are parameters. "WHERE true": SQLite would read ON as a join's
    sql = (
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
        f"SELECT {', '.join(columns)} FROM ({_given(fields)}) AS {GIVEN} WHERE true ORDER BY place "
        f"ON CONFLICT ({', '.join(columns[: len(keys)])}) DO UPDATE SET {', '.join(updates)}"
    )
    _execute(sql, _merged(rows, len(keys)))


def add_to_existing(
    model: type[models.Model],
    key: str,
    count: str,
    latest: str,
    rows: Iterable[Sequence[Any]],
    *,
    only: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Each row holds the value of `key`, the number to add to `count`, and that of `latest` (the greater stays).

    Counted on every row that has the key and, for each column of `only`, one of its values. A key without such a row
    is passed over. Rows are locked in the order given, those of one key in the order they were made.
    """
    fields, only = _fields(model, (key, count, latest)), only or {}
    table, made = _quoted(model._meta.db_table), _quoted(str(model._meta.pk.column))
    wanted = "".join(f" AND target.{_quoted(name)} IN ({', '.join(['%s'] * len(only[name]))})" for name in only)
    locked = "FOR UPDATE OF target" if connection.features.has_select_for_update_of else ""
    # Names come from the model, values are parameters
    sql = (
        f"UPDATE {table} SET {_sum(count, f'{table}.', 'found.')}, {_greater(latest, f'{table}.', 'found.')} "  # noqa: S608
        f"FROM (SELECT target.{made} AS made, {GIVEN}.{_quoted(count)}, {GIVEN}.{_quoted(latest)} "
        f"FROM ({_given(fields)}) AS {GIVEN} "
        f"JOIN {table} AS target ON target.{_quoted(key)} = {GIVEN}.{_quoted(key)}{wanted} "
        f"ORDER BY place, target.{made} {locked}) AS found WHERE {table}.{made} = found.made"
    )
    allowed = [value for values in only.values() for value in values]
    _execute(sql, _merged(rows, 1), allowed)


def _merged(rows: Iterable[Sequence[Any]], keys: int) -> list[Sequence[Any]]:
    """One row for each key: no statement changes a row twice. In the order in which the keys come first."""
    merged: dict[tuple[Any, ...], Sequence[Any]] = {}
    for row in rows:
        key = tuple(row[:keys])
        before = merged.get(key)
        merged[key] = row if before is None else _together(before, row, keys)
    return list(merged.values())


def _together(one: Sequence[Any], other: Sequence[Any], keys: int) -> Sequence[Any]:
    latest = map(max, one[keys + 1 :], other[keys + 1 :])
    return (*one[:keys], one[keys] + other[keys], *latest)


def _given(fields: Fields) -> str:
    """A SELECT of the one JSON parameter: a column for each field, and `place`, the row's number."""
    if connection.vendor == "postgresql":
        values = ", ".join(
            f"(item->>{number})::{_plain_type(field)} AS {_column(field)}" for number, field in enumerate(fields)
        )
        return f"SELECT {values}, place FROM json_array_elements(%s::json) WITH ORDINALITY AS items(item, place)"  # noqa: S608
    values = ", ".join(f"json_extract(value, '$[{number}]') AS {_column(field)}" for number, field in enumerate(fields))
    return f"SELECT {values}, key AS place FROM json_each(%s)"  # noqa: S608


def _column(field: models.Field[Any, Any]) -> str:
    return _quoted(str(field.column))


def _plain_type(field: models.Field[Any, Any]) -> str:
    """Without the length: a cast to it would cut a text short where the column refuses it."""
    return str(field.db_type(connection)).partition("(")[0]


def _sum(name: str, old: str, new: str) -> str:
    return f"{_quoted(name)} = {old}{_quoted(name)} + {new}{_quoted(name)}"


def _greater(name: str, old: str, new: str) -> str:
    """The old one stays only when it is greater; one that is null never is."""
    column = _quoted(name)
    return f"{column} = CASE WHEN {old}{column} > {new}{column} THEN {old}{column} ELSE {new}{column} END"


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _fields(model: type[models.Model], names: Iterable[str]) -> Fields:
    return [cast("models.Field[Any, Any]", model._meta.get_field(name)) for name in names]


def _execute(sql: str, rows: Sequence[Sequence[Any]], more: Sequence[Any] = ()) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(sql, [_json(rows), *more])


def _json(rows: Sequence[Sequence[Any]]) -> str:
    """Texts, numbers, dates and times as the database reads them: times in SQLite are Django's own texts."""
    if connection.vendor == "postgresql":
        return orjson.dumps(rows).decode()
    return orjson.dumps(rows, default=_as_sqlite_keeps_it, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def _as_sqlite_keeps_it(value: object) -> str | None:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, date):
        return connection.ops.adapt_datefield_value(value)
    raise TypeError(f"{type(value).__name__} cannot be counted by")
