"""A refill from the database into memcached, against its two halves done alone in the same run.

    python -m tests.benchmarks.refill --sizes 10000,100000,1000000 --database postgres

Reading alone: COPY (on SQLite a cursor) of identifier, answer and birth, in no order. Writing alone: the same records,
made ready before, by pipelined sets whose every reply is read. A refill also sorts by reads, forms keys and envelopes
and records its progress; it may take twice the slower half.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import time

import orjson
import psycopg

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage
from tests.rucs import record
from tests.servers import Memcached

REPEATS = 3
BATCH = 1000
TARGET = 2.0


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
    read = min(seconds(lambda: _read_alone(scene)) for _ in range(REPEATS))
    write = min(_on_empty(scene, lambda: _write_alone(node, records)) for _ in range(REPEATS))
    done = min(_on_empty(scene, lambda: _refilled(refill.refill(node.address), size, nodes)) for _ in range(REPEATS))
    slower = max(read, write)
    return [
        _line(f"{size:,}: reading alone", read, size),
        _line(f"{size:,}: writing alone", write, size),
        Line(f"{size:,}: refill", size / done, "records/s", done / slower, "the slower half", TARGET),
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


def _read_alone(scene: Scene) -> int:
    sql = "SELECT identifier, data, born_at FROM api_service_storedanswer"
    if not scene.database_url.startswith("postgres"):
        from django.db import connection

        with connection.cursor() as cursor:
            return sum(1 for _row in cursor.execute(sql))
    with (
        psycopg.connect(scene.database_url) as driver,
        driver.cursor().copy(f"COPY ({sql}) TO STDOUT".encode()) as rows,
    ):
        return sum(1 for _row in rows)


def _records() -> list[tuple[bytes, bytes]]:
    from api_service.models import StoredAnswer
    from api_service.services.refill_plan import items

    rows = StoredAnswer.objects.values_list("identifier", "data").iterator(chunk_size=10_000)
    answers = ((0, "ruc", f"migo:ruc_{name}", data.encode(), time()) for name, data in rows)
    return [(item.key.encode(), item.data) for item in items(answers, ":1:", {"ruc": 1800.0}, time(), lambda: 0.0)]


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
