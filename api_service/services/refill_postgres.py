"""Answers read from PostgreSQL for a refill: ahead of the caller, who writes the ones before meanwhile.

For memcached the database itself makes the whole of each write, on another core: what is left for this process is to
send it on. `refill_plan.items` and `memcached_values.write` say the same in Python, for the other caches, for what is
not plain, and for other databases; the tests hold the two together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import time
from typing import Any, NamedTuple, TypeAlias, TypeVar

from django.db import connection

from api_service.services import keys
from api_service.services.backends import Formed, memcached_values
from api_service.services.envelope import VERSION
from api_service.services.refill_plan import JITTER, LEAST_LEFT, Row

AHEAD = 3
FORMED_FOR = "memcached"
# Longer answers are few, and many of them would be too much for one request
LONGEST_BYTES = 20_000
# So many rows at most for one that is wanted, and a range of them is read faster than each by its number
SPARSE = 2

# The numbers come from a sub-select: the planner would weigh each constant of an array, which takes a fifth of the time
_EACH = "id = ANY(CAST((SELECT %(numbers)s) AS bigint[]))"
_RANGE = "id BETWEEN %(first)s AND %(last)s"
_ROWS = (
    """
SELECT kind, CAST(service || ':' || kind || '_' || identifier AS varchar), data, date_part('epoch', born_at)
FROM api_service_storedanswer WHERE """
    + _EACH
)
# OFFSET 0: what is made there is made once, and used twice. A number becomes text as it is: `round` to thousandths of a
# numeric, and `to_char`, take longer than all the rest.
_FORMED = """
SELECT id, CAST(key AS varchar), CASE WHEN size <= {longest} THEN '{add}' END
FROM (
    SELECT id, %(prefix)s || service || ':' || kind || '_' || identifier AS key,
        CAST(floor(CASE WHEN ends + %(stale)s < %(far)s THEN ends + %(stale)s - %(now)s + 0.5 ELSE ends + %(stale)s END)
            AS bigint) AS seconds,
        '{{"v":{version},"t":' || born || ',"e":' || ends || ',"d":' AS head, data, octet_length(data) AS size
    FROM (
        SELECT id, service, kind, identifier, data, born,
            round((%(now)s + least(life, born + life - %(now)s) * (1 - {jitter} * random())) * 1000) / 1000 AS ends
        FROM (
            SELECT id, service, kind, identifier, data,
                round(date_part('epoch', born_at) * 1000) / 1000 AS born, CASE kind {lives} ELSE %(usual)s END AS life
            FROM api_service_storedanswer WHERE {which}
        ) answers
        WHERE born + life - %(now)s >= {least_left}
    ) ending
    OFFSET 0
) formed
"""

T = TypeVar("T")
# Makes Python's values of what the database has answered. That is left to the caller's thread: in the reader's the
# database would wait for it
Made: TypeAlias = Callable[[], T]


class Piece(NamedTuple):
    """What was made of some answers; `others`: row numbers of those of which nothing was made."""

    formed: Formed
    others: list[int]


def read_ahead(read: Callable[[Any, Sequence[int]], Made[T]], pieces: Iterable[Sequence[int]]) -> Iterator[T]:
    """What is made of each piece, in their order; the database is at work on some while the caller makes one before."""
    connection.ensure_connection()
    # The driver's own: its lock keeps this thread and the caller's progress apart
    driver, ahead = connection.connection, deque[Future[Made[T]]]()
    with ThreadPoolExecutor(1, "refill-reader") as reader, connection.wrap_database_errors:
        for piece in pieces:
            ahead.append(reader.submit(read, driver, piece))
            if len(ahead) > AHEAD:
                yield ahead.popleft().result()()
        while ahead:
            yield ahead.popleft().result()()


def rows(driver: Any, numbers: Sequence[int]) -> Made[list[Row]]:
    made: Made[list[Row]] = _asked(driver, _ROWS, {"numbers": _array(numbers)}).fetchall
    return made


class Form:
    """How answers become writes: `prefix` of the wire keys; `lives` in seconds by kind, "" for all that have none.

    For `stale` seconds past its end an answer stays in the cache.
    """

    def __init__(self, prefix: str, lives: Mapping[str, float], stale: float) -> None:
        kinds = [kind for kind in lives if kind]
        add = memcached_values.add_form(
            key="' || key || '",
            size="' || octet_length(head) + size + 1 || '",
            seconds="' || seconds || '",
            data="' || head || data || '}",
        )
        parts = {
            "add": add,
            "version": VERSION,
            "lives": " ".join(f"WHEN %(kind{number})s THEN %(life{number})s" for number in range(len(kinds))),
            "jitter": JITTER,
            "least_left": LEAST_LEFT,
            "longest": LONGEST_BYTES,
        }
        self._by_range, self._by_number = (_FORMED.format(which=which, **parts) for which in (_RANGE, _EACH))
        self._arguments: dict[str, Any] = {"prefix": prefix, "usual": lives[""], "stale": stale}
        for number, kind in enumerate(kinds):
            self._arguments |= {f"kind{number}": kind, f"life{number}": lives[kind]}

    def read(self, driver: Any, numbers: Sequence[int]) -> Made[Piece]:
        now, first, last = time(), min(numbers), max(numbers)
        clock = {"now": now, "far": now + memcached_values.LONGEST_RELATIVE + 0.5}
        dense = last - first < SPARSE * len(numbers)
        which = {"first": first, "last": last} if dense else {"numbers": _array(numbers)}
        answered = _asked(driver, self._by_range if dense else self._by_number, self._arguments | clock | which)
        return partial(_piece, answered, numbers)


def _piece(answered: Any, numbers: Sequence[int]) -> Piece:
    wanted = set(numbers)
    rows = [row for row in answered.fetchall() if row[0] in wanted]
    names, others = [key for _, key, add in rows if add is not None], [row for row, _, add in rows if add is None]
    if keys.are_plain(names):
        return Piece(Formed(names, b"".join([add for _, _, add in rows if add is not None])), others)
    return Piece(Formed([], b""), list(numbers))


def _asked(driver: Any, statement: str, arguments: Mapping[str, Any]) -> Any:
    """The cursor, with all that was answered as it came.

    Columns of the type text are bytes: answers would be decoded only to be encoded again. Others are `varchar`.
    """
    from psycopg import Cursor  # with PostgreSQL only
    from psycopg.types.string import ByteaBinaryLoader

    cursor = Cursor(driver)
    cursor.adapters.register_loader("text", ByteaBinaryLoader)
    return cursor.execute(statement, arguments, binary=True)


def _array(numbers: Sequence[int]) -> str:
    """As text: the driver takes longer to make an array of them than to read the rows."""
    return f"{{{','.join(map(str, numbers))}}}"
