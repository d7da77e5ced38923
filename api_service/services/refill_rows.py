"""The answers of a refill, read from the store slice by slice as they go to the cache.

Each statement ends before the next one: nothing is held open while a node is written to.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from time import time
from typing import TypeAlias

from django.db import connection
from django.db.models import Q

from api_service.models import ClearRun, StoredAnswer
from api_service.services import keys, refill_postgres
from api_service.services.backends import Item
from api_service.services.lookup import EXCHANGE_RATE, Subject
from api_service.services.refill_order import KINDS, Candidates, unix
from api_service.services.refill_plan import LifeOf, Row, items

# Read at a time: the node gets the first of a slice while the others are on their way
PIECE = 2_000
_OF_SQLITE = """
SELECT kind, service || ':' || kind || '_' || identifier, CAST(data AS BLOB), born_at
FROM api_service_storedanswer WHERE id IN (SELECT value FROM json_each(%s))
"""
Numbers: TypeAlias = Sequence[int]
# The row numbers of a slice, and its answers as they go to the cache
Slice: TypeAlias = tuple[Numbers, Iterator[list[Item]]]


def slices(found: Candidates, size: int, prefix: str) -> Iterator[Slice]:
    """The answers in pieces, to be taken one after the other: a piece before the next one, in no order inside it.

    What was dropped meanwhile, or has ended, is left out. `prefix` is that of the wire keys.
    """
    for part in _parts(found.rates, size):
        yield part, iter([_formed(_rates(part), prefix)])
    if connection.vendor == "postgresql":
        formed = refill_postgres.read_ahead(_pieces(found.others, size), prefix, _lives())
    else:
        formed = (_formed(_selected(piece), prefix) for piece in _pieces(found.others, size))
    for part in _parts(found.others, size):
        yield part, islice(formed, -(-len(part) // PIECE))


def were_forgotten(since: datetime) -> bool:
    """Whether somebody clears stored answers, or has since then: what was read before may have been forgotten."""
    clearings = ClearRun.objects.filter(with_answers=True, dry_run=False).exclude(state=ClearRun.State.WAITING)
    return clearings.filter(Q(finished_at__isnull=True) | Q(finished_at__gte=since)).exists()


def forgotten(numbers: Numbers, wire_keys: Iterable[str], prefix: str) -> set[str]:
    """Those of `wire_keys`, of answers that had these row numbers, which the store does not have any more."""
    kept = StoredAnswer.objects.filter(pk__in=list(numbers)).values_list("service", "kind", "identifier")
    return set(wire_keys) - {wire_key(prefix, f"{service}:{kind}_{identifier}") for service, kind, identifier in kept}


def wire_key(prefix: str, name: str) -> str:
    return prefix + keys.normalize(name, len(prefix))


def _parts(numbers: Numbers, size: int) -> Iterator[Numbers]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _pieces(numbers: Numbers, size: int) -> Iterator[Numbers]:
    return (piece for part in _parts(numbers, size) for piece in _parts(part, PIECE))


def _rates(numbers: Numbers) -> list[Row]:
    stored = StoredAnswer.objects.filter(pk__in=list(numbers))
    rows = stored.values_list("kind", "service", "identifier", "data", "born_at")
    return [(kind, f"{service}:{kind}_{day}", data.encode(), unix(born)) for kind, service, day, data, born in rows]


def _selected(numbers: Numbers) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(_OF_SQLITE, [f"[{','.join(map(str, numbers))}]"])
        return [(kind, name, data, unix(born)) for kind, name, data, born in cursor.fetchall()]


def _formed(answers: Sequence[Row], prefix: str) -> list[Item]:
    lives: dict[str, float | LifeOf] = {kind: _longest_life(kind) for kind in {row[0] for row in answers}}
    return list(items(answers, prefix, lives | {EXCHANGE_RATE: _rate_life}, time(), random.random))


def _lives() -> dict[str, float]:
    """Of the kinds that have one of their own, and under "" that of all others."""
    return {kind: _longest_life(kind) for kind in ("", *KINDS)}


def _longest_life(kind: str) -> float:
    return Subject("", kind, "").longest_life


def _rate_life(name: str, born_at: float) -> float:
    return Subject("", EXCHANGE_RATE, name.partition(f":{EXCHANGE_RATE}_")[2]).life(born_at)
