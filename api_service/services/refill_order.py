"""Which answers a refill takes, as row numbers, and in what order.

Answers are wide: sorting them would sort hundreds of megabytes, and a look at them all for each node would read them
once a node. So the numbers come first, eight bytes each, and the answers by them (`refill_rows.py`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from django.db import connection, transaction

from api_service.models import StoredAnswer
from api_service.services import keys
from api_service.services.refill_plan import LEAST_LEFT
from api_service.services.subjects import EXCHANGE_RATE, RUC, Subject

# Of each node, before all others. To sort all, and to fetch a million rows in that order, would take longer than to
# write them; a second later the others are there, too
HOTTEST = 10_000
FETCHED = 10_000
AT_ONCE = 1000
KINDS = tuple(kind for kind in keys.KINDS if kind not in {"invalid", EXCHANGE_RATE})
# Whether the answer of (service, kind, identifier) belongs to the node
Belongs: TypeAlias = Callable[[str, str, str], bool]

# A RUC that is listed as invalid keeps that answer, whatever the store has
_FRESH = """
    a.kind <> %s AND a.born_at > %s AND a.born_at > CASE a.kind {kinds} ELSE %s END
    AND NOT EXISTS (
        SELECT 1 FROM api_service_trackedkey t
        WHERE a.kind = 'ruc' AND t.key = a.service || ':invalid_' || a.identifier AND t.state = 'active'
    )
"""
# Cut before the join: so many rows of the store are looked for, and not each of them in a list of all reads
_MOST_READ = """
SELECT {columns} FROM (
    SELECT service, kind, identifier, CAST(SUM(reads) AS bigint) AS reads
    FROM api_service_dailyreads WHERE day >= %s GROUP BY service, kind, identifier ORDER BY 4 DESC LIMIT %s
) r JOIN api_service_storedanswer a ON r.service = a.service AND r.kind = a.kind AND r.identifier = a.identifier
WHERE {fresh} ORDER BY r.reads DESC, a.born_at DESC
"""
_NEWEST = "SELECT {columns} FROM api_service_storedanswer a WHERE {fresh} ORDER BY a.born_at DESC LIMIT %s"
_ALL = "SELECT {columns} FROM api_service_storedanswer a WHERE {fresh}"
_RATES = "SELECT id, service, identifier, born_at FROM api_service_storedanswer WHERE kind = %s AND born_at > %s"
# A million numbers as one value: as rows they take three times as long
_PACKED = "SELECT string_agg(int8send(id), '') FROM ({}) numbers"
# Parallel workers would each add up the reads for themselves, on cores that look-ups need
_FOR_POSTGRES = "SET LOCAL work_mem = '64MB'; SET LOCAL max_parallel_workers_per_gather = 0"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Row numbers. Exchange rates are few, and each has a life of its own; the `others` come hottest first."""

    rates: array[int]
    others: array[int]

    def __len__(self) -> int:
        return len(self.rates) + len(self.others)

    def without(self, numbers: AbstractSet[int]) -> Candidates:
        return replace(self, others=_without(self.others, numbers)) if numbers else self


def candidates(now: datetime, first_day: date, belongs: Belongs | None, nodes: int = 1) -> Candidates:
    """The answers that hold for a while and belong to one of that many nodes; `belongs` None takes all of them.

    Where there are more than HOTTEST, these come first: by reads from `first_day` on, then the newest where fewer were
    read. The rest follows as the table has it.
    """
    return Candidates(array("q", _rates(now, belongs)), _ordered(now, first_day, belongs, HOTTEST * nodes))


def of_rucs(service: str, identifiers: Sequence[str]) -> set[int]:
    """Row numbers of the service's answers about these RUCs."""
    rucs = StoredAnswer.objects.filter(service=service, kind=RUC)
    parts = (identifiers[start : start + AT_ONCE] for start in range(0, len(identifiers), AT_ONCE))
    return {row for part in parts for row in rucs.filter(identifier__in=part).values_list("pk", flat=True)}


def _ordered(now: datetime, first_day: date, belongs: Belongs | None, hottest: int) -> array[int]:
    fresh, day = _fresh_arguments(now), connection.ops.adapt_datefield_value(first_day)
    with _planned():
        count, found = _found(_ALL, fresh, belongs)
        if count <= hottest:
            return found
        count, first = _found(_MOST_READ, [day, hottest, *fresh], belongs)
        if count < hottest:
            # The most read may be the newest as well: a smaller number of these could hold nothing new
            newest = _found(_NEWEST, [*fresh, hottest], belongs)[1]
            first += _without(newest, set(first))
    # In the order of their numbers, which is nearly that of the table: so they are read fastest
    return first + array("q", sorted(_without(found, set(first))))


def _without(numbers: array[int], known: AbstractSet[int]) -> array[int]:
    return array("q", (number for number in numbers if number not in known))


def _found(form: str, arguments: Sequence[Any], belongs: Belongs | None) -> tuple[int, array[int]]:
    """How many rows the statement has, and the numbers of those that belong to the node."""
    if belongs is None:
        found = _numbers(form, arguments)
        return len(found), found
    count, found = 0, array("q")
    for row, service, kind, identifier in _rows(form, "a.id, a.service, a.kind, a.identifier", arguments):
        count += 1
        if belongs(service, kind, identifier):
            found.append(row)
    return count, found


def _numbers(form: str, arguments: Sequence[Any]) -> array[int]:
    if connection.vendor != "postgresql":
        return array("q", (row for (row,) in _rows(form, "a.id", arguments)))
    with connection.cursor() as cursor:
        cursor.execute(_PACKED.format(_statement(form, "a.id")), arguments)
        found = array("q", cursor.fetchone()[0] or b"")
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _rows(form: str, columns: str, arguments: Sequence[Any]) -> Iterator[Any]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(_statement(form, columns), arguments)
        while rows := cursor.fetchmany(FETCHED):
            yield from rows


def _statement(form: str, columns: str) -> str:
    return form.format(columns=columns, fresh=_FRESH.format(kinds="WHEN %s THEN %s " * len(KINDS)))


@contextmanager
def _planned() -> Iterator[None]:
    """No transaction on SQLite: it would take the write lock."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_FOR_POSTGRES)
        yield


def _fresh_arguments(now: datetime) -> list[Any]:
    usual, *oldest = (_born_after(now, kind) for kind in ("", *KINDS))
    by_kind = [argument for pair in zip(KINDS, oldest, strict=True) for argument in pair]
    return [EXCHANGE_RATE, min(usual, *oldest), *by_kind, usual]


def _born_after(now: datetime, kind: str) -> Any:
    """As the database compares it: SQLite keeps texts."""
    born = now.timestamp() - Subject("", kind, "").longest_life + LEAST_LEFT
    return connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(born, UTC))


def _rates(now: datetime, belongs: Belongs | None) -> Iterator[int]:
    with connection.cursor() as cursor:
        cursor.execute(_RATES, [EXCHANGE_RATE, _born_after(now, EXCHANGE_RATE)])
        rates = cursor.fetchall()
    for row, service, day, born in rates:
        born_at = unix(born)
        left = born_at + Subject(service, EXCHANGE_RATE, day).life(born_at) - now.timestamp()
        if left >= LEAST_LEFT and (belongs is None or belongs(service, EXCHANGE_RATE, day)):
            yield row


def unix(born: datetime) -> float:
    """Without a zone it is SQLite's, which keeps UTC."""
    return (born if born.tzinfo else born.replace(tzinfo=UTC)).timestamp()
