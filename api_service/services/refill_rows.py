"""The answers of a refill, read from the store slice by slice as they go to the cache.

Each statement ends before the next one: nothing is held open while a node is written to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.db import connection

from api_service.models import StoredAnswer
from api_service.services import answer_rows, keys, refill_postgres
from api_service.services.backends import Adapter, Formed, Item, Written
from api_service.services.refill_order import KINDS, Candidates, unix
from api_service.services.refill_plan import LifeOf, Row, items
from api_service.services.refill_postgres import Piece
from api_service.services.subjects import EXCHANGE_RATE, Subject

if TYPE_CHECKING:
    from api_service.services.backends.memcached import MemcachedAdapter

# Read at a time: the node gets the first of a slice while the others are on their way
PIECE = 2_000
# What has to be read once more may be long
FEW = 100
_OF_SQLITE = """
SELECT kind, service || ':' || kind || '_' || identifier, CAST(data AS BLOB), born_at
FROM api_service_storedanswer WHERE id IN (SELECT value FROM json_each(%s))
"""
Numbers: TypeAlias = Sequence[int]
# The row numbers of a slice, and what writes its answers
Step: TypeAlias = tuple[Numbers, Callable[[], Written]]


class Writing:
    """Writes answers of the store to a node, and takes back what was dropped from the store since `began`."""

    def __init__(self, adapter: Adapter, node: str, prefix: str, began: datetime) -> None:
        self._adapter, self._node, self._prefix, self._began = adapter, node, prefix, began

    def steps(self, found: Candidates, size: int) -> Iterator[Step]:
        """`size` answers at a time, each to be written before the next and in no order inside.

        What has ended or was dropped is left out.
        """
        for part in _parts(found.rates, size):
            yield part, partial(self._write_rows, part, [_rows(part)])
        in_pieces = (piece for part in _parts(found.others, size) for piece in _parts(sorted(part), PIECE))
        write, pieces = self._way(in_pieces)
        for part in _parts(found.others, size):
            yield part, partial(write, part, islice(pieces, -(-len(part) // PIECE)))

    def _way(self, pieces: Iterator[Numbers]) -> tuple[Callable[[Numbers, Iterable[Any]], Written], Iterator[Any]]:
        if connection.vendor != "postgresql":
            return self._write_rows, map(_rows, pieces)
        if self._adapter.name != refill_postgres.FORMED_FOR:
            return self._write_rows, refill_postgres.read_ahead(refill_postgres.rows, pieces)
        lives = {kind: _longest_life(kind) for kind in ("", *KINDS)}
        form = refill_postgres.Form(self._prefix, lives, _stale(""))
        return self._write_formed, refill_postgres.read_ahead(form.read, pieces)

    def _write_rows(self, numbers: Numbers, pieces: Iterable[list[Row]]) -> Written:
        names: list[str] = []

        def passing() -> Iterator[Item]:
            for rows in pieces:
                for item in _items(rows, self._prefix):
                    names.append(item.key)
                    yield item

        return self._write(numbers, names, passing())

    def _write_formed(self, numbers: Numbers, pieces: Iterable[Piece]) -> Written:
        names, others = list[str](), list[int]()

        def passing() -> Iterator[Formed]:
            for formed, left in pieces:
                names.extend(formed.keys)
                others.extend(left)
                if formed.keys:
                    yield formed

        written = self._write(numbers, names, passing())
        return written + self._write_rows(others, map(_rows, _parts(others, FEW))) if others else written

    def _write(self, numbers: Numbers, names: list[str], items: Iterable[Item | Formed]) -> Written:
        """`names`: where `items` leaves the wire keys of what it has given."""
        adapter = cast("MemcachedAdapter", self._adapter)  # only that is given what is formed
        written = adapter.write(self._node, items, replace=False)
        if answer_rows.were_cleared(self._began):
            self._adapter.remove(self._node, forgotten(numbers, names, self._prefix))
        return written


def forgotten(numbers: Numbers, wire_keys: Iterable[str], prefix: str) -> set[str]:
    """Those of `wire_keys`, of answers that had these row numbers, which the store does not have any more."""
    kept = StoredAnswer.objects.filter(pk__in=list(numbers)).values_list("service", "kind", "identifier")
    return set(wire_keys) - {wire_key(prefix, f"{service}:{kind}_{identifier}") for service, kind, identifier in kept}


def wire_key(prefix: str, name: str) -> str:
    return prefix + keys.normalize(name, len(prefix))


def _parts(numbers: Numbers, size: int) -> Iterator[Numbers]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _rows(numbers: Numbers) -> list[Row]:
    if connection.vendor == "postgresql":
        connection.ensure_connection()
        with connection.wrap_database_errors:
            return refill_postgres.rows(connection.connection, numbers)()
    with connection.cursor() as cursor:
        cursor.execute(_OF_SQLITE, [f"[{','.join(map(str, numbers))}]"])
        return [(kind, name, data, unix(born)) for kind, name, data, born in cursor.fetchall()]


def _items(rows: Sequence[Row], prefix: str) -> Iterator[Item]:
    kinds = {row[0] for row in rows}
    lives: dict[str, float | LifeOf] = {kind: _longest_life(kind) for kind in kinds}
    stale = {kind: _stale(kind) for kind in kinds}
    return items(rows, prefix, lives | {EXCHANGE_RATE: _rate_life}, stale, time(), random.random)


def _longest_life(kind: str) -> float:
    return Subject("", kind, "").longest_life


def _stale(kind: str) -> float:
    return Subject("", kind, "").stale_while_revalidate


def _rate_life(name: str, born_at: float) -> float:
    return Subject("", EXCHANGE_RATE, name.partition(f":{EXCHANGE_RATE}_")[2]).life(born_at)
