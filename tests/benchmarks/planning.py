"""Choosing what to warm among the RUCs that are known: time, and memory above the idle process.

    python -m tests.benchmarks.planning [--sizes 10000,100000,1000000] [--database postgres] [--json]

Each RUC has its recency sums and four half hours of its own; eight weeks of traffic. "bare scan" is the least that any
plan must do: the database reads both tables once. A plan is a dry run: statistics, their best, and the cache's word on
those.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from statistics import median
from time import time
from typing import TYPE_CHECKING

from tests.benchmarks.stage import Line, arguments, seconds, show, stage
from tests.rucs import valid_rucs

if TYPE_CHECKING:
    from api_service.models import ReadHabit

REPEATS = 3
SECONDS = 5.0
MEBIBYTES = 300.0
BATCH = 10_000
BINS_EACH = 4


def main() -> None:
    asked = arguments(__doc__, database="postgres")
    with stage(database=asked.database, memcached=1):
        _traffic()
        lines = [line for size in asked.sizes for line in _of_size(size)]
    show(lines, as_json=asked.json)


def _of_size(size: int) -> Iterator[Line]:
    from api_service.services import warming

    _known(size)
    asked = warming.request(dry_run=True)
    bare = median(seconds(_scan) for _ in range(REPEATS))
    plan = median(seconds(lambda: warming.warm(asked)) for _ in range(REPEATS))
    yield Line(f"{size:,} known: bare scan", bare, "s")
    yield Line(f"{size:,} known: a plan", plan, "s", plan / bare, "the bare scan")
    yield Line(f"{size:,} known: a plan", plan, "s", plan / SECONDS, "the 5 s allowed", 1.0)
    memory = _memory_of_a_plan()
    yield Line(f"{size:,} known: memory above idle", memory, "MiB", memory / MEBIBYTES, "the 300 MiB allowed", 1.0)


def _memory_of_a_plan() -> float:
    """MiB above the idle process, in a new one: this one has room left from filling the tables."""
    done = subprocess.run([sys.executable, "-c", _PLAN], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


_PLAN = """
import django
django.setup()
from django.db import connection
from api_service.services import warming
from tests.benchmarks.stage import peak, resident
connection.ensure_connection()
before = resident()
warming.warm(warming.request(dry_run=True))
print(peak() - before)
"""


def _scan() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT SUM(fast), SUM(slow) FROM api_service_readhabit")
        cursor.execute("SELECT SUM(visits) FROM api_service_readhabitbin")


def _traffic() -> None:
    from django.utils import timezone

    from api_service.models import LookupHour

    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    LookupHour.objects.bulk_create(
        LookupHour(hour=hour - timedelta(hours=back), service="migo", kind="ruc", outcome="hit", count=100)
        for back in range(56 * 24)
    )


def _known(size: int) -> None:
    from django.db import connection

    from api_service.models import ReadHabit, ReadHabitBin

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM api_service_readhabitbin")
        cursor.execute("DELETE FROM api_service_readhabit")
    chance, rucs = random.Random(1), iter(valid_rucs(size))
    while batch := list(islice(rucs, BATCH)):
        habits = ReadHabit.objects.bulk_create(_habits(batch, chance))
        ReadHabitBin.objects.bulk_create(
            ReadHabitBin(habit=habit, bin=number, visits=chance.random() * _visit())
            for habit in habits
            for number in chance.sample(range(96), BINS_EACH)
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _habits(rucs: list[str], chance: random.Random) -> Iterator[ReadHabit]:
    """A few are asked for often, most hardly ever."""
    from api_service.models import ReadHabit
    from api_service.services import warm_statistics

    now = time()
    (era, fast), slow = warm_statistics.fast_unit(warm_statistics.wall(now)), warm_statistics.slow_unit(now)
    for ruc in rucs:
        yield ReadHabit(
            service="migo",
            kind="ruc",
            identifier=ruc,
            fast=3 * chance.random() ** 8 * fast,
            fast_era=era,
            slow=20 * chance.random() ** 4 * slow,
            visited_at=now - chance.random() * 30 * 86_400,
        )


def _visit() -> float:
    from api_service.services import warm_policy, warm_statistics

    return warm_policy.unit(warm_policy.slot_of(warm_statistics.wall(time())) // warm_policy.SLOTS_A_DAY)


if __name__ == "__main__":
    main()
