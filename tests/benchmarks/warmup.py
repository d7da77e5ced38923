"""A warm-up of RUCs against the sandbox with 50 ms latency, set against what latency alone allows.

    python -m tests.benchmarks.warmup [--sizes 10000] [--parallel 1,2,4] [--latency 0.05] [--database postgres]

The least is collection calls of 100, so many of them under way at once (`MIGO_PARALLEL`), a latency each. "Bare
threads" are the same calls by as many threads, and nobody to keep the answers. A warm-up also plans, enters each call
in the ledger, and puts every answer into cache, store and its own results. The sandbox runs in a process of its own.
Memory is the whole process's above what it had before. `benchmarks.upstream` has the same under a rate limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from statistics import median

from tests.benchmarks.answers import TOKEN, end_threads, sandbox
from tests.benchmarks.stage import Line, Scene, arguments, peak, resident, seconds, show, stage
from tests.benchmarks.upstream import bare, switch
from tests.rucs import valid_rucs

REPEATS = 3
CHUNK = 100
# 90 % of what is possible
TARGET = 1 / 0.9
MEBIBYTES = 120.0
LARGEST = 100_000


def main() -> None:
    asked = arguments(__doc__, database="postgres", latency="0.05", parallel="1,2,4")
    with sandbox() as url:
        os.environ.update(MIGO_BASE_URL=f"{url}/api/v1", MIGO_TOKEN=TOKEN)
        switch(url, latency=float(asked.latency), unknown_share=0)
        with stage(database=asked.database, memcached=1) as scene:
            sizes = [size for size in asked.sizes if size <= LARGEST]
            ways = [int(number) for number in asked.parallel.split(",")]
            lines = [line for size in sizes for way in ways for line in _of(scene, size, way, float(asked.latency))]
            end_threads()
    show(lines, as_json=asked.json)


def _of(scene: Scene, size: int, parallel: int, latency: float) -> Iterator[Line]:
    from django.conf import settings

    from api_service.services.providers import provider

    settings.MIGO_PARALLEL = parallel
    provider.cache_clear()
    rucs, before = valid_rucs(size), resident()
    least = ceil(size / CHUNK / parallel) * latency
    rounds = [(seconds(lambda: bare(rucs, parallel)), _warmed(scene, rucs)) for _ in range(REPEATS)]
    calls, warm = (median(column) for column in zip(*rounds, strict=True))
    yield Line(f"{size:,}: latency alone, {parallel} x {CHUNK} at once", least, "s")
    yield Line(f"{size:,}, {parallel} at once: bare threads", calls, "s", calls / least, "latency alone")
    yield Line(f"{size:,}, {parallel} at once: warm-up", warm, "s", warm / least, "latency alone", TARGET)
    yield Line(f"{size:,}, {parallel} at once: warm-up", warm, "s", warm / calls, "bare threads")
    memory = peak() - before
    yield Line(
        f"{size:,}, {parallel} at once: memory above idle",
        memory,
        "MiB",
        memory / MEBIBYTES,
        "the 120 MiB allowed",
        1.0,
    )


def _warmed(scene: Scene, rucs: list[str]) -> float:
    _empty(scene)
    return seconds(lambda: _warm(rucs))


def _warm(rucs: list[str]) -> None:
    from api_service.services import warming

    summary = warming.warm(warming.request(limit=len(rucs), budget=len(rucs), rucs=rucs))
    assert summary["refreshed"] == len(rucs), summary


def _empty(scene: Scene) -> None:
    from api_service.models import StoredAnswer, WarmedAnswer

    scene.memcached[0].flush()
    StoredAnswer.objects.all().delete()
    WarmedAnswer.objects.all().delete()


if __name__ == "__main__":
    main()
