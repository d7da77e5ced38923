"""What keeping an answer costs a look-up, as ratios of one run.

    python -m tests.benchmarks.answers [--json] [--sizes 10000,100000] [--database sqlite,postgres]

Each answer is written before its caller goes on, by one thread alone and by sixteen at once, into a table that has as
many rows as `--sizes` says: by group commit as in production, and one by one, each caller with an upsert and a
transaction of its own. Then whole look-ups that miss, paid at a sandbox in another process, in the same two ways. The
database does not sync to disk: where it does, a transaction costs more and sharing it saves more.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from operator import methodcaller
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Barrier
from time import sleep, time
from typing import Any

import requests

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage
from tests.processes import HOST, free_port, spawn
from tests.rucs import record, valid_rucs

ROOT = Path(__file__).resolve().parents[2]
CALLERS = (1, 16)
ANSWERS = 1_600
LOOK_UPS = 400
GETS = 2_000
ROUNDS = 3
TOKEN = "token-of-the-benchmark"
FILL = """
INSERT INTO api_service_storedanswer (service, kind, identifier, data, born_at)
WITH RECURSIVE numbers(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {last})
SELECT 'migo', 'ruc', 'filled-' || number, '{data}', '2026-07-14 15:00:00' FROM numbers
"""
_unused = count()


def main() -> None:
    options = arguments(__doc__, database="sqlite,postgres")
    databases = options.database.split(",")
    if len(databases) > 1:
        # Django has one database for the life of a process
        for database in databases:
            subprocess.run([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--database", database], check=True)
        return
    with sandbox() as url:
        os.environ.update(MIGO_BASE_URL=f"{url}/api/v1", MIGO_TOKEN=TOKEN, ANSWER_STORE_SECONDS="60")
        with stage(database=options.database, memcached=1) as scene:
            lines = [*handing_over(), *keeping(options.database, options.sizes), *looking_up(scene), *reading()]
            end_threads()
    show(lines, as_json=options.json)


@contextmanager
def sandbox() -> Iterator[str]:
    with sandbox_process() as (url, _process):
        yield url


@contextmanager
def sandbox_process() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A process of its own: what it does costs the look-ups no turn of their interpreter."""
    port = free_port()
    with TemporaryDirectory() as data:
        os.environ.update(DATA_DIR=data, LOG_LEVEL="ERROR")
        command = [sys.executable, "manage.py", "sandbox", "--port", str(port)]
        process = spawn(command, log=Path(data) / "log", cwd=ROOT, user=None)
        try:
            url = f"http://{HOST}:{port}"
            _wait_for(f"{url}/_sandbox/state")
            requests.post(f"{url}/_sandbox/switches", json={"unknown_share": 0.0}, timeout=5).raise_for_status()
            yield url, process
        finally:
            process.kill()
            process.wait(10)


def _wait_for(url: str) -> None:
    for _attempt in range(300):
        try:
            requests.get(url, timeout=5).raise_for_status()
            return
        except requests.ConnectionError:
            sleep(0.1)
    raise TimeoutError(url)


def end_threads() -> None:
    from api_service.services import group_commit

    group_commit.close_all(30)


# -- the hand-over alone


def handing_over() -> Iterator[Line]:
    """Into the queue, not waited for: what a look-up pays while the database is in trouble, and less than it else."""
    from django.core.cache import caches

    from api_service.services import answers

    cache = caches["default"]
    cache.set("migo:ruc_20100038146", record("20100038146"))
    get = median(seconds(lambda: cache.get("migo:ruc_20100038146")) for _ in range(GETS)) * 1e6
    yield Line("get from memcached", get, "µs")
    items = [_item(name) for name in _names(GETS)]
    put = median(seconds(partial(answers._writer.put, item)) for item in items) * 1e6
    answers._writer.flush(60)
    yield Line("hand-over, not waited for", put, "µs", put / get, "the get")


def _names(number: int) -> list[str]:
    return [f"new-{next(_unused)}" for _ in range(number)]


def _item(name: str) -> dict[Any, Any]:
    import orjson

    from api_service.services.answer_rows import Kept

    return {("migo", "ruc", name): Kept(orjson.dumps(record(name)).decode(), time())}


# -- keeping answers


def keeping(database: str, sizes: Sequence[int]) -> Iterator[Line]:
    for size in sizes:
        _fill(size)
        for callers in CALLERS:
            rounds = [(_rate(_one_by_one, callers), _rate(_by_group_commit, callers)) for _ in range(ROUNDS)]
            single, group = (median(rates) for rates in zip(*rounds, strict=True))
            where = f"{database}, {size:,} rows, {callers} at once"
            yield Line(f"{where}: one by one", single, "answers/s")
            yield Line(f"{where}: group commit", group, "answers/s", group / single, "one by one")


def _fill(size: int) -> None:
    from django.db import connection

    from api_service.models import StoredAnswer

    StoredAnswer.objects.all()._raw_delete("default")
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(last=size - 1, data="x" * 700))
        cursor.execute("ANALYZE")


def _one_by_one(name: str) -> None:
    from datetime import UTC, datetime

    import orjson

    from api_service.models import StoredAnswer

    row = StoredAnswer(
        service="migo",
        kind="ruc",
        identifier=name,
        data=orjson.dumps(record(name)).decode(),
        born_at=datetime.now(tz=UTC),
    )
    StoredAnswer.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["service", "kind", "identifier"],
        update_fields=["data", "born_at"],
    )


def _by_group_commit(name: str) -> None:
    from api_service.services import answers

    answers.save("migo", "ruc", {name: record(name)}, time())


def _rate(keep: Callable[[str], object], callers: int) -> float:
    """Answers a second, each written before its caller goes on."""
    names = _names(ANSWERS // (4 if callers == 1 else 1))
    with _threads(callers) as pool:
        return len(names) / seconds(lambda: list(pool.map(keep, names)))


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Each is connected to the database before it begins, and no more at the end."""
    with ThreadPoolExecutor(number) as pool:
        _each(pool, number, methodcaller("ensure_connection"))
        yield pool
        _each(pool, number, methodcaller("close"))


def _each(pool: ThreadPoolExecutor, number: int, act: Callable[[object], object]) -> None:
    """Of the connection of each thread: it is another one in every thread."""
    from django.db import connection

    barrier = Barrier(number)

    def one(_number: int) -> None:
        barrier.wait(30)
        act(connection)

    list(pool.map(one, range(number)))


# -- whole look-ups


def looking_up(scene: Scene) -> Iterator[Line]:
    """Misses, paid at the sandbox: the store's way of writing is the only difference."""
    from django.conf import settings

    rucs = iter(valid_rucs(2 * ROUNDS * LOOK_UPS + 2 * ROUNDS * LOOK_UPS // 4, start=5_000_000))
    for callers in CALLERS:
        number = LOOK_UPS // (4 if callers == 1 else 1)
        rates: dict[float, list[float]] = {0.0: [], 60.0: []}
        for _ in range(ROUNDS):
            for limit, measured in rates.items():
                settings.ANSWER_STORE_SECONDS = limit
                measured.append(_look_ups([next(rucs) for _ in range(number)], callers))
        own, group = median(rates[0.0]), median(rates[60.0])
        yield Line(f"look-ups, {callers} at once: in the caller's transactions", own, "a second")
        yield Line(f"look-ups, {callers} at once: group commit", group, "a second", group / own, "the caller's own")
    settings.ANSWER_STORE_SECONDS = 60.0


def _look_ups(rucs: Sequence[str], callers: int) -> float:
    from api_service.services.migo_service import MigoAPIService

    def look_up(ruc: str) -> None:
        found = MigoAPIService().consultar_ruc(ruc)
        assert found["success"], found
        assert found["cache"]["source"] == "upstream", found

    with _threads(callers) as pool:
        return len(rucs) / seconds(lambda: list(pool.map(look_up, rucs)))


# -- reading


def reading() -> Iterator[Line]:
    """A thousand identifiers in one query, against as many queries of one; and what the limit of time costs one."""
    from django.conf import settings

    from api_service.services import answers

    names, now = _names(1000), time()
    answers.save("migo", "ruc", {name: record(name) for name in names}, now)

    def one_by_one() -> None:
        for name in names:
            answers.fresh("migo", "ruc", [name], 3600, now)

    together = median(seconds(lambda: answers.fresh("migo", "ruc", names, 3600, now)) for _ in range(ROUNDS)) * 1e3
    bounded = median(seconds(one_by_one) for _ in range(ROUNDS)) * 1e3
    settings.ANSWER_STORE_SECONDS = 0.0
    own = median(seconds(one_by_one) for _ in range(ROUNDS)) * 1e3
    yield Line("1,000 identifiers read one by one, own thread", own, "ms")
    yield Line("1,000 identifiers read one by one, bounded", bounded, "ms", bounded / own, "the own thread")
    yield Line("1,000 identifiers read at once, bounded", together, "ms", together / own, "one by one")


if __name__ == "__main__":
    main()
