"""What counting a look-up costs it, and what writing the counts costs, as ratios of one run.

    python -m tests.benchmarks.reads [--json] [--sizes 10000,100000] [--database sqlite,postgres]

Counting is compared with one get from a local Memcached by our backend, in one thread. A flush of 1,000, 20,000 and
50,000 identifiers, with as many keys in the key table as `--sizes` says, is compared with the bare writing of the same
rows of one of its tables into a table without any index: COPY on PostgreSQL, `executemany` on SQLite.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from threading import Event
from time import perf_counter
from typing import Any

import psycopg

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage

Call = Callable[[str, str, str, Any], object]

MOST_MICROSECONDS = 3.0
MOST_OF_A_GET = 0.10
THREADS = (1, 8)
# Short rounds: what else the machine does meets all alike
ROUNDS = 60
CALLS = 8_000
GETS = 300
SAMPLE_SECONDS = 4.0
BATCHES = (1_000, 20_000, 50_000)
IDENTIFIERS = [str(20_100_000_000 + number) for number in range(max(BATCHES))]
FILL = """
INSERT INTO api_service_trackedkey
    (key, service, kind, identifier, node, size, state, created_at, seen_at, reads)
WITH RECURSIVE numbers(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {last})
SELECT 'migo:ruc_' || (20100000000 + number), 'migo', 'ruc', 20100000000 + number, 'one:1', 700, 'active',
    '2026-07-14 15:00', '2026-07-14 15:00', 0
FROM numbers
"""
BARE_COLUMNS = "(service text, kind text, identifier text, day date, reads bigint, last_read_at {time})"


def main() -> None:
    options = arguments(__doc__, database="sqlite,postgres")
    databases = options.database.split(",")
    if len(databases) > 1:
        # Django has one database for the life of a process
        for database in databases:
            subprocess.run([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--database", database], check=True)
        return
    with stage(database=options.database, memcached=1) as scene:
        lines = [*counting(), *flushing(scene, options.sizes), *looking_up_meanwhile(options.database)]
    show(lines, as_json=options.json)


# -- counting


def counting() -> Iterator[Line]:
    """All take turns within each round. The loop around a call is measured by itself and taken off."""
    names = {threads: _names(threads) for threads in THREADS}
    gets: list[float] = []
    costs: dict[int, list[float]] = {threads: [] for threads in THREADS}
    get = a_get()
    for _ in range(ROUNDS):
        gets.append(seconds(lambda: [get() for _ in range(GETS)]) / GETS * 1e6)
        for threads in THREADS:
            costs[threads].append(_counted(names[threads]) - _looped(names[threads]))
    one_get = median(gets)
    most = max(MOST_OF_A_GET, MOST_MICROSECONDS / one_get)
    yield Line("get from memcached, 1 thread", one_get, "µs")
    for threads in THREADS:
        cost = median(costs[threads])
        yield Line(f"count, {threads} threads", cost, "µs", cost / one_get, "the get", most)


def a_get() -> Callable[[], object]:
    from django.core.cache import caches

    cache = caches["default"]
    cache.set("migo:ruc_20100038146", {"ruc": "20100038146", "nombre_o_razon_social": "x" * 600})
    return lambda: cache.get("migo:ruc_20100038146")


def _names(threads: int) -> list[list[str]]:
    each = CALLS // threads
    return [[IDENTIFIERS[(7 * number + thread) % 10_000] for number in range(each)] for thread in range(threads)]


def _counted(names: Sequence[Sequence[str]]) -> float:
    """Microseconds of one call by the clock on the wall, adding up included, while each thread does nothing else."""
    from api_service.services import tracking

    tracking._counter = counter = tracking.ReadCounter()
    took = _together(tracking.count, names, after=counter._fold)
    if sum(counter._batch.reads.values()) != CALLS:
        raise RuntimeError("look-ups were lost")
    return took


def _looped(names: Sequence[Sequence[str]]) -> float:
    return _together(_nothing, names, after=lambda: None)


def _together(call: Call, names: Sequence[Sequence[str]], after: Callable[[], object]) -> float:
    from api_service.services.outcomes import Outcome

    hit = Outcome.HIT

    def work(identifiers: Sequence[str]) -> None:
        for identifier in identifiers:
            call("migo", "ruc", identifier, hit)

    def all_of_it() -> None:
        list(pool.map(work, names))
        after()

    with ThreadPoolExecutor(len(names)) as pool:
        return seconds(all_of_it) / CALLS * 1e6


def _nothing(service: str, kind: str, identifier: str, outcome: Any) -> None: ...


# -- writing


def flushing(scene: Scene, sizes: Sequence[int]) -> Iterator[Line]:
    for size in sizes:
        fill(size)
        for number in BATCHES:
            if number <= size:
                yield from _flush_lines(scene, number, size)


def fill(keys: int) -> None:
    from django.core.management.color import no_style
    from django.db import connection

    from api_service.models import DailyReads, LookupHour, TrackedKey

    tables = [model._meta.db_table for model in (DailyReads, LookupHour, TrackedKey)]
    with connection.cursor() as cursor:
        for statement in connection.ops.sql_flush(no_style(), tables):
            cursor.execute(statement)
        cursor.execute(FILL.format(last=keys - 1))
        cursor.execute("ANALYZE")


def _flush_lines(scene: Scene, number: int, size: int) -> Iterator[Line]:
    from api_service.models import DailyReads

    DailyReads.objects.all().delete()
    what = f"{scene.database_url.partition(':')[0]}, {size:,} keys, flush of {number:,}"
    bare = median(seconds(lambda: write_bare(scene.database_url, number)) for _ in range(3))
    yield Line(f"{what}: the rows bare", bare, "s")
    first = flush_once(number)
    yield Line(f"{what}: of a new day", first, "s", first / bare, "the bare rows")
    again = median(flush_once(number) for _ in range(3))
    yield Line(f"{what}: once more", again, "s", again / bare, "the bare rows")
    assert set(DailyReads.objects.values_list("reads", flat=True)) == {4}


def flush_once(number: int) -> float:
    from api_service.services import tracking

    counter = filled_counter(number)
    took = seconds(lambda: _check(counter.flush(), number))
    tracking._counter = tracking.ReadCounter()
    return took


def filled_counter(number: int) -> Any:
    from api_service.services import tracking
    from api_service.services.outcomes import Outcome

    counter = tracking.ReadCounter()
    for identifier in IDENTIFIERS[:number]:
        counter.count("migo", "ruc", identifier, Outcome.HIT)
    return counter


def _check(written: int, expected: int) -> None:
    if written != expected:
        raise RuntimeError(f"{written} of {expected} identifiers were written")


def write_bare(url: str, number: int) -> None:
    now = datetime.fromisoformat("2026-07-14T15:00:00+00:00")
    rows = [("migo", "ruc", identifier, now.date(), 1, now) for identifier in IDENTIFIERS[:number]]
    if url.startswith("sqlite"):
        _executemany(Path(url.removeprefix("sqlite:///")).with_name("bare.sqlite3"), rows)
        return
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE bare {BARE_COLUMNS.format(time='timestamptz')} ON COMMIT DROP".encode())
        with cursor.copy("COPY bare FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _executemany(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    texts = [(*row[:3], str(row[3]), row[4], str(row[5])) for row in rows]
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; DROP TABLE IF EXISTS bare;")
    connection.execute(f"CREATE TABLE bare {BARE_COLUMNS.format(time='datetime')}")
    with connection:
        connection.executemany("INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?)", texts)
    connection.close()


# -- looking up while a flush runs


def looking_up_meanwhile(database: str) -> Iterator[Line]:
    """Eight threads that get and count, alone and beside a thread that flushes 20,000 identifiers without a pause."""
    quiet, busy = looked_up(flush=False), looked_up(flush=True)
    for name, before, after in zip(("count", "get and count"), quiet, busy, strict=True):
        for percent in (50, 99):
            one, other = (quantiles(times, n=100)[percent - 1] * 1e6 for times in (before, after))
            yield Line(f"8 threads, p{percent} of {name}", one, "µs")
            yield Line(
                f"8 threads, p{percent} of {name}, {database} flush", other, "µs", other / one, "without a flush"
            )


def looked_up(*, flush: bool) -> tuple[list[float], list[float]]:
    """Seconds of each count, and of each get with its count."""
    from django.db import connection

    ended = Event()

    def flushes() -> None:
        while not ended.is_set():
            filled_counter(20_000).flush()
        connection.close()

    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(flushes)] if flush else []
        looking = [pool.submit(_look_up_and_time, SAMPLE_SECONDS) for _ in range(8)]
        results = [future.result() for future in looking]
        ended.set()
        for other in others:
            other.result()
    counts, whole = zip(*results, strict=True)
    return [time for times in counts for time in times], [time for times in whole for time in times]


def _look_up_and_time(for_seconds: float) -> tuple[list[float], list[float]]:
    from django.core.cache import caches

    from api_service.services import tracking
    from api_service.services.outcomes import Outcome

    cache, counts, whole = caches["default"], [], []
    until = perf_counter() + for_seconds
    while (start := perf_counter()) < until:
        cache.get("migo:ruc_20100038146")
        between = perf_counter()
        tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
        end = perf_counter()
        counts.append(end - between)
        whole.append(end - start)
    return counts, whole


if __name__ == "__main__":
    main()
