"""Rows of the answer store, many in one statement, on SQLite and PostgreSQL alike. Errors are the database's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias, cast

import orjson
from django.db import DataError, connection, models, transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone

from api_service.models import StoredAnswer

logger = logging.getLogger(__name__)

Identity: TypeAlias = tuple[str, str, str]  # service, kind, identifier

ROWS_A_STATEMENT = 1000
PRUNED_AT_ONCE = 2000
_KEY = ("service", "kind", "identifier")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known at `born_at` (Unix seconds): the answer as JSON, or None where there is none any more."""

    data: str | None
    born_at: float


def newest(older: Kept, newer: Kept) -> Kept:
    return older if older.born_at > newer.born_at else newer


def write(items: Mapping[Identity, Kept]) -> None:
    """Store or remove each, unless the row there is newer; may be repeated. What no column takes is set aside.

    In one order everywhere: two processes that write the same rows wait for each other in turn, not for ever. Each
    statement is a transaction, so none holds rows while it waits for those of the next.
    """
    names = sorted(items)
    for act, wanted in ((_upsert, True), (_remove, False)):
        rows = [(*name, items[name]) for name in names if (items[name].data is not None) is wanted]
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            _set_aside_what_does_not_fit(act, rows[start : start + ROWS_A_STATEMENT])


def read(service: str, kind: str, identifiers: Sequence[str], oldest: datetime) -> list[tuple[str, str, datetime]]:
    """Identifier, JSON and birth time of the answers younger than `oldest`; one query, however many identifiers."""
    if connection.vendor == "sqlite":
        named = RawSQL(
            "identifier IN (SELECT value FROM json_each(%s))",
            [orjson.dumps(identifiers).decode()],
            models.BooleanField(),
        )
    else:
        named = RawSQL("identifier = ANY(%s)", [list(identifiers)], models.BooleanField())
    rows = StoredAnswer.objects.filter(named, service=service, kind=kind, born_at__gt=oldest)
    return list(rows.values_list("identifier", "data", "born_at"))


def drop_older(oldest: datetime) -> int:
    """Remove the answers older than `oldest`, some thousand at a time; the number removed."""
    return sum(_drop_in_batches(StoredAnswer.objects.filter(born_at__lt=oldest), None))


def drop_beyond(most: int) -> int:
    """Remove the oldest answers of those beyond `most`; the number removed."""
    return sum(_drop_in_batches(StoredAnswer.objects.all(), max(0, StoredAnswer.objects.count() - most)))


def _drop_in_batches(rows: models.QuerySet[StoredAnswer], limit: int | None) -> Iterator[int]:
    """A transaction each: a table that lost a million rows at once would have kept all writers waiting."""
    left = float("inf") if limit is None else limit
    while left > 0:
        dropped = _drop_oldest(rows, int(min(left, PRUNED_AT_ONCE)))
        if not dropped:
            return
        left -= dropped
        yield dropped


def _drop_oldest(rows: models.QuerySet[StoredAnswer], number: int) -> int:
    with transaction.atomic():
        # Skipped: who renews an answer now keeps it, and neither waits for the other
        oldest = rows.select_for_update(skip_locked=True).order_by("born_at", "pk")
        chosen = list(oldest.values_list("pk", flat=True)[:number])
        return StoredAnswer.objects.filter(pk__in=chosen).delete()[0]


_Row: TypeAlias = tuple[str, str, str, Kept]


def _set_aside_what_does_not_fit(act: Any, rows: Sequence[_Row]) -> None:
    try:
        act(rows)
    except DataError:
        if len(rows) == 1:
            logger.exception("an answer fits into no row and is not kept")
            return
        for row in rows:
            _set_aside_what_does_not_fit(act, [row])


def _upsert(rows: Sequence[_Row]) -> None:
    _execute(_upsert_sql(connection.vendor), [(*name, kept.data, _column_value(kept.born_at)) for *name, kept in rows])


def _remove(rows: Sequence[_Row]) -> None:
    _execute(_remove_sql(connection.vendor), [(*name, _column_value(kept.born_at)) for *name, kept in rows])


def _execute(sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """PostgreSQL takes the rows as one array a column: one statement, one plan, whatever their number."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(sql, rows)
        else:
            cursor.execute(sql, [list(column) for column in zip(*rows, strict=True)])


@cache
def _upsert_sql(vendor: str) -> str:
    table, columns = connection.ops.quote_name(StoredAnswer._meta.db_table), ", ".join((*_KEY, "data", "born_at"))
    arrays = f"SELECT {columns} FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])"  # noqa: S608
    source = "VALUES (%s, %s, %s, %s, %s)" if vendor == "sqlite" else f"{arrays} AS new({columns})"
    return (
        f"INSERT INTO {table} ({columns}) {source} ON CONFLICT ({', '.join(_KEY)}) DO UPDATE "
        f"SET data = excluded.data, born_at = excluded.born_at WHERE excluded.born_at >= {table}.born_at"
    )


@cache
def _remove_sql(vendor: str) -> str:
    table = connection.ops.quote_name(StoredAnswer._meta.db_table)
    if vendor == "sqlite":
        return f"DELETE FROM {table} WHERE service = %s AND kind = %s AND identifier = %s AND born_at <= %s"  # noqa: S608
    return (
        f"DELETE FROM {table} WHERE id IN (SELECT row.id FROM {table} AS row JOIN "  # noqa: S608 - own names
        "unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) WITH ORDINALITY "
        "AS gone(service, kind, identifier, at, place) USING (service, kind, identifier) "
        "WHERE row.born_at <= gone.at ORDER BY gone.place FOR UPDATE OF row)"
    )


def _column_value(seconds: float) -> Any:
    field = cast("models.DateTimeField[Any, Any]", StoredAnswer._meta.get_field("born_at"))
    return field.get_db_prep_save(datetime.fromtimestamp(seconds, tz=timezone.get_default_timezone()), connection)
