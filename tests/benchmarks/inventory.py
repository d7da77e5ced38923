"""What the inventory of one memcached costs, as ratios of one run.

    python -m tests.benchmarks.inventory [--json] [--sizes 10000,100000] [--database sqlite,postgres]

The whole path (list, parse, stage, compare, write) of a first run, of one after a hundredth of the keys has changed,
and of one after nothing has. PostgreSQL is compared with a bare psycopg COPY of the same full rows into a table without
indexes, SQLite with raw `executemany` upserts of them into a table with the same indexes and a larger page cache. Each
run is a process of its own, whose memory is told above that of the process before the run. Gets of another process go
on meanwhile; on a machine of few cores anything that computes delays some of them, so that is told too.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from time import sleep, time
from typing import Any

import psycopg

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage
from tests.servers import Memcached

TARGETS = {"postgres": {"first": 4.0, "later": 2.2}, "sqlite": {"first": 2.0, "later": 2.0}}
MOST_OF_THE_GETS = 1.5
MOST_MIB = 150
CHANGED_EACH = 100
QUIET_SECONDS = 4
# KiB of pages: more than ours, as upserts in the order of a listing thrash with less
REFERENCE_CACHE = 40_000
BATCH = 20_000
LIFE = 20_000
COLUMNS = (
    *("key", "service", "kind", "identifier", "node", "size", "state", "expires_at", "created_at", "seen_at"),
    *("last_read_at", "reads", "fetched"),
)
BARE = """
DROP TABLE IF EXISTS bare;
CREATE UNLOGGED TABLE bare (
    key varchar(250), service varchar(50), kind varchar(50), identifier varchar(250), node varchar(255), size integer,
    state varchar(10), expires_at timestamptz, created_at timestamptz, seen_at timestamptz, last_read_at timestamptz,
    reads bigint, fetched boolean
)
"""

RUN = """
import json, os, sys, time, django
# As the worker for long tasks is started (docker-compose.yml, deploy/systemd)
os.nice(10)
django.setup()
from django.db import connection
from django.utils import timezone
from api_service.services.backends import Deadline
from api_service.services.cache_service import APICacheService
from api_service.services.key_table import record

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))

service = APICacheService()
node = service.adapter.nodes()[0]
connection.ensure_connection()
idle = memory("VmRSS")
print("ready", flush=True)
sys.stdin.readline()
started = time.perf_counter()
result = record(node, service.adapter.scan(node, "", Deadline.after(900)), service.wire_prefix, timezone.now())
seconds = time.perf_counter() - started
written = sum(counts.created for counts in result.services.values())
print(json.dumps({"seconds": seconds, "mib": memory("VmHWM") - idle, "keys": result.keys, "created": written}))
"""

# A get each millisecond, until its input ends; the 99th percentile in microseconds
GETS = """
import select, socket, sys, time
from statistics import quantiles
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
taken, number = [], 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    number = (number + 7919) % int(sys.argv[2])
    started = time.perf_counter()
    connection.sendall(b"get :1:migo:ruc_%d\\r\\n" % (20100000000 + number))
    reply = b""
    while not reply.endswith(b"END\\r\\n"):
        reply += connection.recv(4096)
    taken.append(time.perf_counter() - started)
    assert reply.startswith(b"VALUE")
print(quantiles(taken, n=100)[98] * 1e6)
"""


@dataclass(frozen=True)
class Ran:
    seconds: float
    mib: float
    keys: int
    created: int
    p99: float
    quiet_p99: float


def main() -> None:
    options = arguments(__doc__, database="postgres,sqlite")
    databases = options.database.split(",")
    if len(databases) > 1:
        # Django has one database for the life of a process
        for database in databases:
            subprocess.run([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--database", database], check=True)
        return
    with stage(database=options.database, memcached=1) as scene:
        lines = [line for size in options.sizes for line in inventory(scene, options.database, size)]
    show(lines, as_json=options.json)


def inventory(scene: Scene, database: str, size: int) -> Iterator[Line]:
    node = scene.memcached[0]
    _empty(node)
    _fill(node, range(size), LIFE)
    reference = _copy if database == "postgres" else _upsert
    what, against = f"{database}, {size} keys", "COPY" if database == "postgres" else "executemany"
    alone = [reference(scene, size)]
    first = run(node, size)
    alone.append(reference(scene, size))
    _fill(node, range(0, size, CHANGED_EACH), LIFE + 5000)
    later, same = run(node, size), run(node, size)
    alone.append(reference(scene, size))
    if (first.created, later.created, same.created) != (size, 0, 0):
        raise RuntimeError(f"created {first.created}, {later.created} and {same.created} rows of {size} keys")
    # The reference before and after each run: a noisy machine meets both
    empty, full = [(mean(one[0] for one in pair), mean(one[1] for one in pair)) for pair in (alone[:2], alone[1:])]
    for name, ran, bare, target in (
        ("first run", first, empty[0], TARGETS[database]["first"]),
        ("later, 1 % changed", later, full[1], TARGETS[database]["later"]),
        ("later, none changed", same, full[1], TARGETS[database]["later"]),
    ):
        yield Line(f"{what}: {against} alone", bare, "s")
        yield Line(f"{what}: {name}", ran.seconds, "s", ran.seconds / bare, against, target)
        yield Line(f"{what}: {name}, memory above idle", ran.mib, "MiB", ran.mib / MOST_MIB, f"{MOST_MIB} MiB", 1.0)
        yield Line(
            f"{what}: {name}, p99 of gets", ran.p99, "us", ran.p99 / ran.quiet_p99, "p99 alone", MOST_OF_THE_GETS
        )
    busy, quiet = _p99(node, size, "while True: sum(range(1000))"), _p99(node, size)
    yield Line(f"{what}: p99 of gets while a process only computes", busy, "us", busy / quiet, "p99 alone")


def run(node: Memcached, size: int) -> Ran:
    """The gets alone are measured right before and after: what else the machine does changes by the second."""
    quiet = _p99(node, size)
    with _process(RUN) as process, _process(GETS, str(node.port), str(size)) as gets:
        result = json.loads(_end(process))
        during = float(_end(gets))
    if result["keys"] != size:
        raise RuntimeError(f"{result['keys']} keys listed of {size}")
    return Ran(**result, p99=during, quiet_p99=mean((quiet, _p99(node, size))))


def _p99(node: Memcached, size: int, beside: str = "pass") -> float:
    with _process(GETS, str(node.port), str(size)) as gets, _process(f"print('ready', flush=True)\n{beside}"):
        sleep(QUIET_SECONDS)
        return float(_end(gets))


@contextmanager
def _process(code: str, *parameters: str) -> Iterator[subprocess.Popen[str]]:
    """One that has said that it is ready."""
    command = [sys.executable, "-c", code, *parameters]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a process of the benchmark did not start")
            yield process
        finally:
            process.kill()


def _end(process: subprocess.Popen[str]) -> str:
    """What it printed last, after the end of its input."""
    output, _ = process.communicate("\n", timeout=1800)
    if process.returncode:
        raise RuntimeError("a process of the benchmark failed")
    return output


# -- what it is compared with


def _rows(size: int) -> list[tuple[Any, ...]]:
    """Full rows, in an order like that of a listing: not that of the keys."""
    now = datetime.now(UTC)
    step = 7919  # a prime that no size is a multiple of
    return [_row(20_100_000_000 + number * step % size, now) for number in range(size)]


def _row(number: int, now: datetime) -> tuple[Any, ...]:
    ends = now + timedelta(seconds=LIFE, milliseconds=number % 1000)
    parts = (f"migo:ruc_{number}", "migo", "ruc", str(number))
    return (*parts, "127.0.0.1:11211", 786, "active", ends, now, now, None, 0, False)


def _copy(scene: Scene, size: int) -> tuple[float, float]:
    """Seconds of the bare COPY, for first and later runs alike."""
    rows = _rows(size)
    with psycopg.connect(scene.database_url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(BARE)

        def write() -> None:
            with cursor.copy("COPY bare FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

        taken = seconds(write)
        cursor.execute("DROP TABLE bare")
    return taken, taken


def _upsert(scene: Scene, size: int) -> tuple[float, float]:
    """Seconds of `executemany` into an empty table, and once more into the full one."""
    rows = [tuple(str(value)[:-6] if isinstance(value, datetime) else value for value in row) for row in _rows(size)]
    path = Path(os.environ["DATA_DIR"]) / "bare.sqlite3"
    with closing(_bare_database(path, scene)) as bare:
        changing = ", ".join(
            f"{name} = excluded.{name}" for name in COLUMNS if name not in {"key", "node", "created_at"}
        )
        upsert = (
            f"INSERT INTO api_service_trackedkey ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
            f"ON CONFLICT (node, key) DO UPDATE SET {changing}"
        )

        def write() -> None:
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(upsert, rows)
            bare.execute("COMMIT")

        taken = seconds(write), seconds(write)
    for file in path.parent.glob("bare.sqlite3*"):
        file.unlink()
    return taken


def _bare_database(path: Path, scene: Scene) -> sqlite3.Connection:
    """With the table and its indexes as ours."""
    bare = sqlite3.connect(path, isolation_level=None)
    bare.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{REFERENCE_CACHE}")
    with closing(sqlite3.connect(scene.database_url.removeprefix("sqlite:///"))) as ours:
        made = "SELECT sql FROM sqlite_master WHERE tbl_name = 'api_service_trackedkey' AND sql > '' ORDER BY rowid"
        for (sql,) in ours.execute(made).fetchall():
            bare.execute(sql)
    return bare


# -- the node


def _empty(node: Memcached) -> None:
    """As new: `flush_all` alone would leave the old items in its memory, and in the tables' rows."""
    from django.db import connection

    node.restart()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM api_service_trackedkey")
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE api_service_trackedkey")


def _fill(node: Memcached, numbers: range, life: int) -> None:
    ends = int(time()) + life
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        for start in range(0, len(numbers), BATCH):
            sets = (
                b"set :1:migo:ruc_%d 74 %d 100 noreply\r\n%s\r\n" % (20_100_000_000 + number, ends, b"x" * 100)
                for number in numbers[start : start + BATCH]
            )
            connection.sendall(b"".join(sets) + b"mn\r\n")
            if connection.recv(10) != b"MN\r\n":
                raise RuntimeError("the node did not take the keys")


if __name__ == "__main__":
    main()
