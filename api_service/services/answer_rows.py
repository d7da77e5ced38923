"""Rows of the answer store, many in one statement, on SQLite and PostgreSQL alike. Errors are the database's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast

import orjson
from django.db import DataError, connection, models, transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone

from api_service.models import ClearRun, StoredAnswer

logger = logging.getLogger(__name__)

Identity: TypeAlias = tuple[str, str, str]  # service, kind, identifier

ROWS_A_STATEMENT = 1000
PRUNED_AT_ONCE = 2000
_COLUMNS = ("service", "kind", "identifier", "data", "born_at")


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
    with _own_failure():
        return list(rows.values_list("identifier", "data", "born_at"))


def were_cleared(since: datetime) -> bool:
    """Whether a clearing of stored answers is under way, or has ended since then."""
    clearings = ClearRun.objects.filter(with_answers=True, dry_run=False).exclude(state=ClearRun.State.WAITING)
    return clearings.filter(models.Q(finished_at__isnull=True) | models.Q(finished_at__gte=since)).exists()


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


def _set_aside_what_does_not_fit(act: Callable[[Sequence[_Row]], None], rows: Sequence[_Row]) -> None:
    try:
        act(rows)
    except DataError:
        if len(rows) == 1:
            logger.exception("an answer fits into no row and is not kept")
            return
        for row in rows:
            _set_aside_what_does_not_fit(act, [row])


def _upsert(rows: Sequence[_Row]) -> None:
    names, table = ", ".join(_COLUMNS), _table()
    _execute(
        # Names are our own, values are one parameter. "WHERE true": SQLite would read ON as a join's
        f"INSERT INTO {table} ({names}) SELECT {names} FROM ({_given()}) AS given WHERE true ORDER BY place "  # noqa: S608
        f"ON CONFLICT ({', '.join(_COLUMNS[:3])}) DO UPDATE "
        f"SET data = excluded.data, born_at = excluded.born_at WHERE excluded.born_at >= {table}.born_at",
        rows,
    )


def _remove(rows: Sequence[_Row]) -> None:
    locked = "FOR UPDATE OF kept" if connection.features.has_select_for_update_of else ""
    same = " AND ".join(f"kept.{name} = given.{name}" for name in _COLUMNS[:3])
    _execute(
        f"DELETE FROM {_table()} WHERE id IN (SELECT kept.id FROM ({_given()}) AS given JOIN {_table()} AS kept "  # noqa: S608
        f"ON {same} AND kept.born_at <= given.born_at ORDER BY place {locked})",
        rows,
    )


def _given() -> str:
    """A SELECT of the rows, one JSON parameter: an array a column costs the client ten times as much."""
    if connection.vendor == "sqlite":
        values = ", ".join(f"value->>{number} AS {name}" for number, name in enumerate(_COLUMNS))
        return f"SELECT {values}, key AS place FROM json_each(%s)"  # noqa: S608
    values = ", ".join(f"item->>{number} AS {name}" for number, name in enumerate(_COLUMNS[:-1]))
    return (
        f"SELECT {values}, (item->>{len(_COLUMNS) - 1})::timestamptz AS born_at, place "  # noqa: S608
        "FROM json_array_elements(%s::json) WITH ORDINALITY AS items(item, place)"
    )


def _execute(sql: str, rows: Sequence[_Row]) -> None:
    field = cast("models.DateTimeField[Any, Any]", StoredAnswer._meta.get_field("born_at"))
    # What was answered together has one birth
    births = {born: field.get_db_prep_save(_moment(born), connection) for born in {row[-1].born_at for row in rows}}
    given = [(*name, kept.data, births[kept.born_at]) for *name, kept in rows]
    with _own_failure(), connection.cursor() as cursor:
        cursor.execute(sql, [orjson.dumps(given).decode()])


def _own_failure() -> AbstractContextManager[None]:
    """A savepoint inside a caller's transaction, which a failure would spoil; one statement needs nothing else."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _table() -> str:
    return connection.ops.quote_name(StoredAnswer._meta.db_table)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_default_timezone())
