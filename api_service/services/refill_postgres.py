"""Answers as PostgreSQL itself forms them for the cache: on another core, while this process writes the ones before.

`refill_plan.items` says the same in Python, for the databases that have only this process's time; the tests hold the
two together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import time
from typing import Any

from django.db import connection

from api_service.services import keys
from api_service.services.backends import Item
from api_service.services.envelope import VERSION
from api_service.services.refill_plan import JITTER, LEAST_LEFT

AHEAD = 3

# The numbers come from a sub-select: the planner would weigh each constant of an array, which takes a fifth of the
# time. The key is the only column that is no text: text stays bytes. Rounding to thousandths by `round` takes longer
# than all the rest.
_FORMED = """
SELECT
    CAST(%(prefix)s || service || ':' || kind || '_' || identifier AS varchar),
    '{{"v":{version},"t":' || born_ms / 1000 || '.' || right('00' || born_ms %% 1000, 3)
        || ',"e":' || ends_ms / 1000 || '.' || right('00' || ends_ms %% 1000, 3) || ',"d":' || data || '}}',
    ends
FROM (
    SELECT service, kind, identifier, data, ends,
        CAST(born * 1000 AS bigint) AS born_ms, CAST(ends * 1000 AS bigint) AS ends_ms
    FROM (
        SELECT service, kind, identifier, data, born,
            %(now)s + least(life, born + life - %(now)s) * (1 - {jitter} * random()) AS ends
        FROM (
            SELECT service, kind, identifier, data, date_part('epoch', born_at) AS born,
                CASE kind {lives} ELSE %(usual)s END AS life
            FROM api_service_storedanswer WHERE id = ANY(CAST((SELECT %(numbers)s) AS bigint[]))
        ) answers
        WHERE born + life - %(now)s >= {least_left}
    ) ending
) formed
"""


def read_ahead(pieces: Iterable[Sequence[int]], prefix: str, lives: Mapping[str, float]) -> Iterator[list[Item]]:
    """What `refill_plan.items` makes of the answers with these row numbers, a piece before the next one.

    `lives`: kind → seconds, "" for the kinds that have none of their own. A few pieces are read while the caller writes
    the one before: the database's time costs nothing then.
    """
    connection.ensure_connection()
    # The driver's own: its lock keeps this thread and the caller's progress apart
    driver, ahead, form = connection.connection, deque[Future[list[Item]]](), _Form(prefix, lives)
    with ThreadPoolExecutor(1, "refill-reader") as reader, connection.wrap_database_errors:
        for piece in pieces:
            ahead.append(reader.submit(form.read, driver, piece))
            if len(ahead) > AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class _Form:
    def __init__(self, prefix: str, lives: Mapping[str, float]) -> None:
        kinds = [kind for kind in lives if kind]
        self._prefix = prefix
        self._statement = _FORMED.format(
            version=VERSION,
            jitter=JITTER,
            least_left=LEAST_LEFT,
            lives=" ".join(f"WHEN %(kind{number})s THEN %(life{number})s" for number in range(len(kinds))),
        )
        self._arguments: dict[str, Any] = {"prefix": prefix, "usual": lives[""]}
        for number, kind in enumerate(kinds):
            self._arguments |= {f"kind{number}": kind, f"life{number}": lives[kind]}

    def read(self, driver: Any, numbers: Sequence[int]) -> list[Item]:
        from psycopg import Cursor  # with PostgreSQL only
        from psycopg.types.string import ByteaBinaryLoader

        # As text: the driver takes longer to make an array of them than to read the rows
        arguments = self._arguments | {"numbers": f"{{{','.join(map(str, numbers))}}}", "now": time()}
        with Cursor(driver, row_factory=lambda _cursor: Item._make) as cursor:
            # It would be decoded only to be encoded again
            cursor.adapters.register_loader("text", ByteaBinaryLoader)
            items: list[Item] = cursor.execute(self._statement, arguments, binary=True).fetchall()
        return items if keys.are_plain([item[0] for item in items]) else [self._normal(item) for item in items]

    def _normal(self, item: Item) -> Item:
        start = len(self._prefix)
        return item._replace(key=self._prefix + keys.normalize(item.key[start:], start))
