"""The answer store read for a refill: first the row numbers, hottest first, then the answers slice by slice.

Two passes, as answers are wide: sorting them would sort hundreds of megabytes, and a look at them all for each node
would read them once a node. Each slice is a statement of its own: nothing is held open while a node is written to.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from django.db import connection, transaction
from django.db.models import Q

from api_service.models import ClearRun, StoredAnswer
from api_service.services import keys
from api_service.services.refill_plan import LEAST_LEFT, Row
from api_service.services.subjects import EXCHANGE_RATE, Subject

FETCHED = 10_000
_KINDS = tuple(kind for kind in keys.KINDS if kind != "invalid")
Numbers: TypeAlias = Sequence[int]
# Whether the answer of (service, kind, identifier) belongs to the node
Belongs: TypeAlias = Callable[[str, str, str], bool]

# More reads first, then the newer answer. A RUC that is listed as invalid keeps that answer, whatever the store has.
_HOTTEST = """
SELECT {columns}
FROM api_service_storedanswer a
LEFT JOIN (
    SELECT service, kind, identifier, CAST(SUM(reads) AS bigint) AS reads
    FROM api_service_dailyreads WHERE day >= %s GROUP BY service, kind, identifier
) r ON r.service = a.service AND r.kind = a.kind AND r.identifier = a.identifier
WHERE a.born_at > %s
    AND a.born_at > CASE a.kind {kinds} ELSE %s END
    AND NOT EXISTS (
        SELECT 1 FROM api_service_trackedkey t
        WHERE a.kind = 'ruc' AND t.key = a.service || ':invalid_' || a.identifier AND t.state = 'active'
    )
ORDER BY COALESCE(r.reads, 0) DESC, a.born_at DESC
"""
_RATES = "SELECT id, service, identifier, born_at FROM api_service_storedanswer WHERE kind = %s AND born_at > %s"
# Sorting a million numbers on disk takes twice as long
_SORT_MEMORY = "SET LOCAL work_mem = '64MB'"
# The numbers come from a sub-select: the planner would weigh each constant of an array, which takes a fifth of the time
_OF_POSTGRES = """
SELECT kind, CAST(service || ':' || kind || '_' || identifier AS varchar), data, date_part('epoch', born_at)
FROM api_service_storedanswer WHERE id = ANY(CAST((SELECT %s) AS bigint[]))
"""
_OF_SQLITE = """
SELECT kind, service || ':' || kind || '_' || identifier, CAST(data AS BLOB), born_at
FROM api_service_storedanswer WHERE id IN (SELECT value FROM json_each(%s))
"""


def numbers(now: datetime, first_day: date, belongs: Belongs | None) -> array[int]:
    """Row numbers of the answers that hold for a while, hottest first: eight bytes each, however many.

    `belongs` None takes all of them. Reads count from `first_day` on.
    """
    ended, found = _rates_that_ended(now), array("q")
    if belongs is None:
        found.extend(row for (row,) in _hottest(now, first_day, "a.id") if row not in ended)
        return found
    for row, service, kind, identifier in _hottest(now, first_day, "a.id, a.service, a.kind, a.identifier"):
        if row not in ended and belongs(service, kind, identifier):
            found.append(row)
    return found


def were_forgotten(since: datetime) -> bool:
    """Whether somebody clears stored answers, or has since then: what was read before may have been forgotten."""
    clearings = ClearRun.objects.filter(with_answers=True, dry_run=False).exclude(state=ClearRun.State.WAITING)
    return clearings.filter(Q(finished_at__isnull=True) | Q(finished_at__gte=since)).exists()


def forgotten(numbers: Numbers, names: Iterable[str]) -> set[str]:
    """Those of `names`, answers that had these row numbers, which the store does not have any more."""
    kept = StoredAnswer.objects.filter(pk__in=list(numbers)).values_list("service", "kind", "identifier")
    return set(names) - {f"{service}:{kind}_{identifier}" for service, kind, identifier in kept}


def slices(numbers: Numbers, size: int) -> Iterator[list[Row]]:
    """The answers of these rows, `size` at a time: a slice before the next one, in no order inside it.

    What was dropped meanwhile is left out.
    """
    parts = (numbers[start : start + size] for start in range(0, len(numbers), size))
    return _read_ahead(parts) if connection.vendor == "postgresql" else map(_selected, parts)


def _hottest(now: datetime, first_day: date, columns: str) -> Iterator[Any]:
    sql = _HOTTEST.format(columns=columns, kinds="WHEN %s THEN %s " * len(_KINDS))
    arguments = _arguments(now, first_day)
    if connection.vendor != "postgresql":
        # No transaction: SQLite's would take the write lock
        yield from _fetched(sql, arguments)
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_SORT_MEMORY)
        yield from _fetched(sql, arguments)


def _fetched(sql: str, arguments: Sequence[Any]) -> Iterator[Any]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, arguments)
        while rows := cursor.fetchmany(FETCHED):
            yield from rows


def _arguments(now: datetime, first_day: date) -> list[Any]:
    usual, *oldest = (_born_after(now, kind) for kind in ("", *_KINDS))
    by_kind = [argument for pair in zip(_KINDS, oldest, strict=True) for argument in pair]
    return [connection.ops.adapt_datefield_value(first_day), min(usual, *oldest), *by_kind, usual]


def _born_after(now: datetime, kind: str) -> Any:
    """As the database compares it: SQLite keeps texts."""
    born = now.timestamp() - Subject("", kind, "").longest_life + LEAST_LEFT
    return connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(born, UTC))


def _rates_that_ended(now: datetime) -> frozenset[int]:
    """Exchange rates are few, and each has a life of its own."""
    with connection.cursor() as cursor:
        cursor.execute(_RATES, [EXCHANGE_RATE, _born_after(now, EXCHANGE_RATE)])
        rates = cursor.fetchall()
    at = now.timestamp()
    left = {row: _left(Subject(service, EXCHANGE_RATE, day), _unix(born), at) for row, service, day, born in rates}
    return frozenset(row for row, seconds in left.items() if seconds < LEAST_LEFT)


def _left(subject: Subject, born_at: float, now: float) -> float:
    return born_at + subject.life(born_at) - now


def _read_ahead(parts: Iterable[Numbers]) -> Iterator[list[Row]]:
    """The next part is read while the caller writes the one before: the database's time costs nothing then."""
    connection.ensure_connection()
    # The driver's own: its lock keeps this thread and the caller's progress apart
    driver, ahead = connection.connection, deque[Future[list[Row]]]()
    with ThreadPoolExecutor(1, "refill-reader") as reader, connection.wrap_database_errors:
        for part in parts:
            ahead.append(reader.submit(_binary, driver, part))
            if len(ahead) == 2:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _binary(driver: Any, numbers: Numbers) -> list[Row]:
    from psycopg import Cursor  # with PostgreSQL only
    from psycopg.types.string import ByteaBinaryLoader

    # As text: the driver takes longer to make an array of them than to read the rows
    array_text = f"{{{','.join(map(str, numbers))}}}"
    with Cursor(driver) as cursor:
        # The answer, the only column of that type, stays bytes: it would be decoded only to be encoded again
        cursor.adapters.register_loader("text", ByteaBinaryLoader)
        rows: list[Row] = cursor.execute(_OF_POSTGRES, (array_text,), binary=True).fetchall()
        return rows


def _selected(numbers: Numbers) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(_OF_SQLITE, [f"[{','.join(map(str, numbers))}]"])
        return [(kind, name, data, _unix(born)) for kind, name, data, born in cursor.fetchall()]


def _unix(born: datetime) -> float:
    """Without a zone it is SQLite's, which keeps UTC."""
    return (born if born.tzinfo else born.replace(tzinfo=UTC)).timestamp()
