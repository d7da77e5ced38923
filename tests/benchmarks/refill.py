"""A refill from the database into memcached, against its two halves done alone in the same run.

    python -m tests.benchmarks.refill --sizes 10000,100000,1000000 --database postgres

Reading alone: identifier, answer and birth as Python has them (texts and a datetime), in no order, over a connection
that is open already; on PostgreSQL in binary, streamed by the thousand, on SQLite by a cursor. What the raw lines of a
COPY take, that nobody splits or decodes, is told too, as nothing can be faster. Writing alone: the same records, made
ready before, by pipelined quiet sets whose errors are read after each thousand. A refill also finds the hottest, forms
keys and envelopes and records its progress; it may take twice the slower half. It keeps three processes busy at once,
this one, the database and the node: what else the machine does costs it more than it costs either half.

All are done in turns; the median of each is compared, so that a machine with other work is alike to all.
"""

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from time import time

import orjson
import psycopg

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage
from tests.rucs import record
from tests.servers import Memcached

REPEATS = 5
BATCH = 1000
TARGET = 2.0
READING = "reading alone"
_ROWS = "SELECT identifier, data, born_at FROM api_service_storedanswer"


def main() -> None:
    asked = arguments(__doc__, database="postgres", nodes="1")
    nodes = int(asked.nodes)
    with stage(database=asked.database, memcached=nodes, memory=4096) as scene:
        lines = [line for size in asked.sizes for line in _of_size(scene, size, nodes)]
    show(lines, as_json=asked.json)


def _of_size(scene: Scene, size: int, nodes: int) -> list[Line]:
    from api_service.services import refill

    _stored(size)
    node, records = scene.memcached[0], _records()
    with ExitStack() as stack:
        turns: dict[str, Callable[[], float]] = {
            **{what: partial(seconds, read) for what, read in _readers(scene, stack).items()},
            "writing alone": lambda: _on_empty(scene, lambda: _write_alone(node, records)),
            "refill": lambda: _on_empty(scene, lambda: _refilled(refill.refill(node.address), size, nodes)),
        }
        rounds = [{what: turn() for what, turn in turns.items()} for _ in range(REPEATS)]
    taken = {what: median(each[what] for each in rounds) for what in turns}
    slower = max(taken[READING], taken["writing alone"])
    return [
        *(_line(f"{size:,}: {what}", seconds_, size) for what, seconds_ in taken.items() if what != "refill"),
        Line(
            f"{size:,}: refill",
            size / taken["refill"],
            "records/s",
            taken["refill"] / slower,
            "the slower half",
            TARGET,
        ),
    ]


def _line(what: str, taken: float, size: int) -> Line:
    return Line(what, size / taken, "records/s")


def _on_empty(scene: Scene, act: Callable[[], object]) -> float:
    for node in scene.memcached:
        node.restart()
    return seconds(act)


def _refilled(summary: object, size: int, nodes: int) -> None:
    assert isinstance(summary, dict)
    assert summary["state"] == "done", summary
    assert summary["written"] == summary["candidates"], summary
    assert nodes > 1 or summary["written"] == size, summary


def _stored(size: int) -> None:
    """Answers of the last quarter of an hour, and two days of reads for half of them."""
    from django.db import connection

    from api_service.models import DailyReads, StoredAnswer

    StoredAnswer.objects.all().delete()
    DailyReads.objects.all().delete()
    now, chance = datetime.now(UTC), random.Random(1)
    today = now.date()
    for start in range(0, size, 10_000):
        rucs = [f"20{number:09d}" for number in range(start, min(start + 10_000, size))]
        StoredAnswer.objects.bulk_create(
            StoredAnswer(
                service="migo",
                kind="ruc",
                identifier=ruc,
                data=orjson.dumps(record(ruc)).decode(),
                born_at=now - timedelta(seconds=chance.random() * 900),
            )
            for ruc in rucs
        )
        DailyReads.objects.bulk_create(
            DailyReads(
                service="migo",
                kind="ruc",
                identifier=ruc,
                day=today - timedelta(days=days),
                reads=chance.randint(1, 50),
                last_read_at=now,
            )
            for ruc in rucs[::2]
            for days in (0, 1)
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _readers(scene: Scene, stack: ExitStack) -> dict[str, Callable[[], object]]:
    if not scene.database_url.startswith("postgres"):
        return {READING: _read_sqlite}
    driver = stack.enter_context(psycopg.connect(scene.database_url, autocommit=True))
    return {READING: lambda: _read_rows(driver), "raw lines of COPY": lambda: _copy(driver)}


def _read_sqlite() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        return sum(1 for _row in cursor.execute(_ROWS))


def _read_rows(driver: psycopg.Connection) -> int:
    return sum(1 for _row in driver.cursor().stream(_ROWS, binary=True, size=1000))


def _copy(driver: psycopg.Connection) -> int:
    with driver.cursor().copy(f"COPY ({_ROWS}) TO STDOUT".encode()) as lines:
        return sum(1 for _line in lines)


def _records() -> list[tuple[bytes, bytes]]:
    from api_service.models import StoredAnswer
    from api_service.services.refill_plan import items

    rows = StoredAnswer.objects.values_list("identifier", "data").iterator(chunk_size=10_000)
    answers = (("ruc", f"migo:ruc_{name}", data.encode(), time()) for name, data in rows)
    made = items(answers, ":1:", {"ruc": 1800.0}, {"ruc": 0.0}, time(), lambda: 0.0)
    return [(item.key.encode(), item.data) for item in made]


def _write_alone(node: Memcached, records: list[tuple[bytes, bytes]]) -> None:
    """`ms … q` and a trailing `mn` per thousand: what went well is silent, errors come before the `MN`."""
    import socket

    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        replies = connection.makefile("rb")
        for start in range(0, len(records), BATCH):
            lines = [
                b"ms %b %d T1800 F74 q\r\n%b\r\n" % (key, len(data), data)
                for key, data in records[start : start + BATCH]
            ]
            connection.sendall(b"".join(lines) + b"mn\r\n")
            reply = replies.readline()
            assert reply == b"MN\r\n", reply


if __name__ == "__main__":
    main()
