"""Every page of the admin beside what a person may wait for: lists, rows, forms, filters, searches, last pages.

    python -m tests.benchmarks.pages [--json] [--all] [--database sqlite,postgres] [--keep DIR]
                                     [--keys 1000000] [--days 90] [--incidents 10000] [--rounds 5]

The pages are found in the admin itself. A page is the whole answer: middleware, queries, template. Its median is
compared with that of a page of the admin that shows no table, which has everything but the rows; both are of the same
run. A page that is beyond the limit is asked for again when all have been, and its median is that of all its rounds:
other work comes and goes. On a busy machine go by the ratio and by the CPU time of this process (with SQLite it has the
queries in it).
The first load of some is measured in Chromium: the page and all that it needs, as transferred. A table has one line,
that of its slowest page; `--all` has a line for each page. `--keep` leaves the rows there: filling takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from tests.benchmarks import kept
from tests.benchmarks.page_weight import Weight, weights
from tests.benchmarks.stage import seconds, stage
from tests.history import FULL, Size

if TYPE_CHECKING:
    from django.test import Client

    from tests.pages import Page

MOST_MS = 300.0
MOST_QUERIES = 15
AGAIN = (sys.executable, "-m", "tests.benchmarks.pages")
# Everything but a table
REFERENCE = "password_change"
# Times the rounds, for a page that was beyond the limit
ROUNDS_MORE = 2
# What is kept longer looks too old: the front page would say that nothing runs
KEPT_FOR = timedelta(hours=12)
# Seconds of the page, of this process's CPU for it, and of each of its queries
Visit = tuple[float, float, list[float]]


@dataclass(frozen=True)
class Measured:
    """Milliseconds: `middle` and `worst` of `rounds`, queries and CPU of the middle one; times the empty page."""

    table: str
    page: str
    url: str
    rounds: int
    queries: int
    middle: float
    worst: float
    in_queries: float
    cpu: float
    ratio: float = 0.0

    @property
    def is_within(self) -> bool:
        return self.middle <= MOST_MS and self.queries <= MOST_QUERIES


def main() -> None:
    options = arguments()
    databases = options.database.split(",")
    if len(databases) > 1:
        # Django has one database for the life of a process
        runs = [subprocess.run([*AGAIN, *sys.argv[1:], "--database", one], check=False) for one in databases]
        sys.exit(max(run.returncode for run in runs))
    size = Size(options.keys, options.days, options.incidents)
    with ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(TemporaryDirectory())).resolve() / options.database
        stack.enter_context(stage(database=options.database, memcached=0, keep=folder))
        prepare(folder, size)
        lines = measure(options.rounds)
        heavy = weights()
    if options.json:
        print(json.dumps([*map(asdict, lines), *map(asdict, heavy)], indent=2))
    else:
        show(lines if options.all else slowest(lines), heavy, f"{options.database}, {size.keys:,} keys")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--all", action="store_true", help="a line for each page, not only a table's slowest")
    parser.add_argument("--database", default="sqlite,postgres")
    parser.add_argument("--keep", metavar="DIR", help="leave the rows there, and use those that are there")
    parser.add_argument("--keys", type=int, default=FULL.keys)
    parser.add_argument("--days", type=int, default=FULL.days)
    parser.add_argument("--incidents", type=int, default=FULL.incidents)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def prepare(folder: Path, size: Size) -> None:
    from django.core.management import call_command
    from django.utils import timezone

    from tests import history

    def fill() -> None:
        call_command("flush", interactive=False, verbosity=0)
        history.fill(size, timezone.now())

    facts = {name: str(value) for name, value in asdict(size).items()}
    facts["period"] = str(int(timezone.now().timestamp() / KEPT_FOR.total_seconds()))
    took = seconds(lambda: kept.filled(folder, facts, fill))
    print(f"rows in place after {took:.0f} s", file=sys.stderr)


def measure(rounds: int) -> list[Measured]:
    from django.conf import settings

    from tests.pages import every_page

    settings.STATIC_ROOT.mkdir(exist_ok=True)
    client = logged_in()
    pages = [*every_page(client, choices=True), *over_periods()]
    visits = {page: visited(client, page, rounds) for page in pages}
    for page in [page for page, taken in visits.items() if not summed(page, taken).is_within]:
        visits[page] += visited(client, page, rounds * ROUNDS_MORE)
    measured = [summed(page, taken) for page, taken in visits.items()]
    reference = next(one.middle for one in measured if one.page == REFERENCE)
    return [replace(one, ratio=one.middle / reference) for one in measured]


def over_periods() -> Iterator[Page]:
    """The overview and its parts over more than a day."""
    from django.urls import reverse

    from api_service.admin.dashboard.periods import DEFAULT, PERIODS
    from tests.pages import FRONT, Page

    for view, name in (("admin:index", FRONT), ("dashboard_now", "now"), ("dashboard_charts", "charts")):
        for period in PERIODS.values():
            if period is not DEFAULT:
                yield Page("", f"{name}, {period.name}", f"{reverse(view)}?period={period.name}")


def logged_in() -> Client:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)[0])
    return client


def visited(client: Client, page: Page, rounds: int) -> list[Visit]:
    client.get(page.url)
    return [once(client, page.url) for _ in range(rounds)]


def summed(page: Page, visits: Sequence[Visit]) -> Measured:
    taken = sorted(visits)
    whole, cpu, asked = taken[len(taken) // 2]
    times = (1000 * time for time in (whole, taken[-1][0], sum(asked), cpu))
    return Measured(page.table, page.what, page.url, len(taken), len(asked), *times)


def once(client: Client, url: str) -> Visit:
    """Seconds of the page, of this process's CPU for it, and of each of its queries."""
    from django.db import connection

    asked: list[float] = []

    def timed(execute: Callable[..., Any], *parts: Any) -> Any:
        start = perf_counter()
        try:
            return execute(*parts)
        finally:
            asked.append(perf_counter() - start)

    before = process_time()
    with connection.execute_wrapper(timed):
        took = seconds(lambda: client.get(url))
    return took, process_time() - before, asked


def slowest(lines: Iterable[Measured]) -> list[Measured]:
    """Of each table, and each page of no table; and whatever else takes too long, or too many queries."""
    worst: dict[str, Measured] = {}
    for line in lines:
        name = line.table or line.page
        if name not in worst or line.middle > worst[name].middle:
            worst[name] = line
    return [line for line in lines if line in worst.values() or not line.is_within]


def show(lines: Sequence[Measured], heavy: Sequence[Weight], where: str) -> None:
    print(f"{where}. Most: {MOST_MS:.0f} ms, {MOST_QUERIES} queries; x: times a page of the admin without a table")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'table':18} {'page':44} queries rounds median ms worst ms     SQL     CPU      x")
    for line in sorted(lines, key=lambda one: -one.middle):
        times = f"{line.middle:9.0f} {line.worst:8.0f} {line.in_queries:7.0f} {line.cpu:7.0f} {line.ratio:6.1f}"
        counted = f"{line.queries:7} {line.rounds:6}"
        verdict = "" if line.is_within else "ABOVE"
        print(f"{line.table:18} {line.page[:44]:44} {counted} {times}  {verdict}")
    beyond = [line for line in lines if not line.is_within]
    print(f"\n{len(beyond)} beyond the limits; first load in Chromium, at most {Weight.MOST / 1e6:.1f} MB:")
    for one in heavy:
        verdict = "" if one.is_within else "ABOVE"
        print(f"  {one.page:14} {one.kilobytes:7.0f} kB in {one.requests:3} requests  {verdict}")


if __name__ == "__main__":
    main()
