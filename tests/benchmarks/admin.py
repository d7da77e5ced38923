"""The admin's lists over HTTP at 10,000, 100,000 and 1,000,000 keys: each kind of page, filter and search.

    python -m tests.benchmarks.admin [--json] [--sizes 10000,100000] [--database sqlite,postgres]

A page is the whole answer: login, queries, template. It is compared with the bare query of the first 50 keys, with the
same page of the smallest size, and with what a person may have to wait.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from tests.benchmarks.stage import Line, arguments, seconds, show, stage

ROUNDS = 3
MOST_MS = 300.0
BARE = "SELECT * FROM api_service_trackedkey ORDER BY key LIMIT 50"


class Time(NamedTuple):
    """Milliseconds of a page, and of its queries."""

    page: float
    queries: float


Times = Mapping[str, Time]


def main() -> None:
    options = arguments(__doc__, database="sqlite,postgres")
    databases = options.database.split(",")
    if len(databases) > 1:
        # Django has one database for the life of a process
        for database in databases:
            subprocess.run([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--database", database], check=True)
        return
    with stage(database=options.database, memcached=0):
        lines = list(measure(options.database, options.sizes))
    show(lines, as_json=options.json)


def measure(database: str, sizes: list[int]) -> Iterator[Line]:
    first: Times = {}
    for size in sizes:
        times = dict(pages_at(size))
        bare, at = times.pop("bare").queries, f"{database}, {size:,}"
        yield Line(f"{at}: bare query of 50 keys", bare, "ms")
        for name, time in times.items():
            yield Line(f"{at}: {name}", time.page, "ms", time.page / bare, "the bare query")
            yield Line(f"{at}: {name}, its queries", time.queries, "ms", time.queries / bare, "the bare query")
        slowest = max(times, key=lambda name: times[name].page)
        longest = times[slowest].page
        yield Line(f"{at}: slowest, {slowest}", longest, "ms", longest / MOST_MS, f"{MOST_MS:.0f} ms", 1.0)
        first = first or times
        grown = max(times, key=lambda name: times[name].page / first[name].page)
        growth = times[grown].page / first[grown].page
        yield Line(f"{at}: grew most, {grown}", times[grown].page, "ms", growth, f"the same page at {sizes[0]:,}")


def pages_at(size: int) -> Iterator[tuple[str, Time]]:
    """Times by page. Three fillings: most keys active, most expired, and one node of three down."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    from tests.integration.admin import many

    settings.STATIC_ROOT.mkdir(exist_ok=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)[0])

    def time_of(url: str) -> Time:
        def get() -> Time:
            asked: list[float] = []

            def timed(execute: Callable[..., Any], *arguments: Any) -> Any:
                start = perf_counter()
                try:
                    return execute(*arguments)
                finally:
                    asked.append(perf_counter() - start)

            with connection.execute_wrapper(timed):
                page = seconds(lambda: client.get(url))
            return Time(1000 * page, 1000 * sum(asked))

        answer = client.get(url)
        assert answer.status_code == 200, (url, answer)
        return sorted(get() for _ in range(ROUNDS))[ROUNDS // 2]

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.execute(BARE)
            assert len(cursor.fetchall()) == 50

    with many.filling():
        many.empty()
        many.fill_others(size)
        many.fill_history(min(size, 10_000) // 2)
    for common, rare in (("active", "unknown"), ("expired", "active")):
        with many.filling():
            many.empty_keys()
            many.fill_keys(size, common, rare)
            many.analyze()
        if common == "active":
            bare()
            yield "bare", Time(0.0, 1000 * median(seconds(bare) for _ in range(100)))
            for name, url in many.other_pages(many.last_page(size)).items():
                yield name, time_of(url)
        for name, url in many.key_pages(common, rare, many.last_page(size)).items():
            yield f"keys ({common}): {name}", time_of(url)
    with many.filling():
        many.lose_a_node()
        many.analyze()
    for name, url in many.lost_node_pages().items():
        yield f"keys (a node down): {name}", time_of(url)


if __name__ == "__main__":
    main()
