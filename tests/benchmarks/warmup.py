"""A warm-up of RUCs against the sandbox with 50 ms latency, set against what latency and rate limit allow.

    python -m tests.benchmarks.warmup [--sizes 10000] [--parallel 1,2,4] [--latency 0.05] [--database postgres]

The least is collection calls of 100, so many of them under way at once (`MIGO_PARALLEL`), a latency each. "Bare
threads" are the same calls by as many threads, and nobody to keep the answers. A warm-up also plans, enters each call
in the ledger, and puts every answer into cache, store and its own results. The sandbox runs in a process of its own;
its share of a core and ours say whether the machine is the limit. Memory is the whole process's above what it had
before. Under a rate limit (`MIGO_MAX_PER_MINUTE`) a minute is made short (`WINDOW`), and the first of four is free.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from time import process_time
from unittest.mock import patch

from tests.benchmarks.answers import TOKEN, end_threads, sandbox_process
from tests.benchmarks.stage import Line, Scene, arguments, peak, resident, seconds, show, stage
from tests.benchmarks.upstream import bare, switch
from tests.rucs import valid_rucs

REPEATS = 5
CHUNK = 100
# 90 % of what is possible
TARGET = 1 / 0.9
MEBIBYTES = 120.0
LARGEST = 100_000
WINDOW = 3
WINDOWS = 4


@dataclass(frozen=True)
class Round:
    """Seconds of the clock, and of the processor in this process and the sandbox's."""

    took: float
    ours: float
    sandboxes: float


def main() -> None:
    asked = arguments(__doc__, database="postgres", latency="0.05", parallel="1,2,4")
    with sandbox_process() as (url, process):
        os.environ.update(MIGO_BASE_URL=f"{url}/api/v1", MIGO_TOKEN=TOKEN)
        switch(url, latency=float(asked.latency), unknown_share=0)
        with stage(database=asked.database, memcached=1) as scene:
            _start_as_a_worker_does()
            sizes = [size for size in asked.sizes if size <= LARGEST]
            ways = [int(number) for number in asked.parallel.split(",")]
            latency = float(asked.latency)
            lines = [line for size in sizes for way in ways for line in _of(scene, process, size, way, latency)]
            lines += [line for size in sizes for line in _rate_limited(scene, size, ways[-1], latency)]
            end_threads()
    show(lines, as_json=asked.json)


def _of(scene: Scene, process: subprocess.Popen[bytes], size: int, parallel: int, latency: float) -> Iterator[Line]:
    _use(parallel)
    rucs, before = valid_rucs(size), resident()
    least, name = _least(size, parallel, latency), f"{size:,}, {parallel} at once"
    # In turns, and the best of each: who else uses the machine must not decide
    rounds = [
        (_round(process, lambda: bare(rucs, parallel)), _round(process, lambda: _warm(rucs), lambda: _empty(scene)))
        for _ in range(REPEATS)
    ]
    calls, warm = (min(column, key=lambda one: one.took) for column in zip(*rounds, strict=True))
    memory = peak() - before
    yield Line(f"{name}: latency alone, calls of {CHUNK}", least, "s")
    yield Line(f"{name}: bare threads", calls.took, "s", calls.took / least, "latency alone")
    yield Line(f"{name}: warm-up", warm.took, "s", warm.took / least, "latency alone", TARGET)
    yield Line(f"{name}: warm-up", warm.took, "s", warm.took / calls.took, "bare threads")
    yield Line(f"{name}: processor of the warm-up", warm.ours, "s", warm.ours / warm.took, "its time")
    yield Line(f"{name}: processor of the sandbox", warm.sandboxes, "s", warm.sandboxes / warm.took, "that time")
    yield Line(f"{name}: memory above idle", memory, "MiB", memory / MEBIBYTES, f"{MEBIBYTES:g} MiB", 1.0)


def _rate_limited(scene: Scene, size: int, parallel: int, latency: float) -> Iterator[Line]:
    from django.conf import settings

    from api_service.services import budget_rules, rate_rules

    a_window = ceil(size / WINDOWS / CHUNK) * CHUNK
    _use(parallel)
    _empty(scene)
    settings.MIGO_MAX_PER_MINUTE, settings.WARM_SHARE = a_window, 1.0
    with patch.object(rate_rules, "WINDOW", WINDOW), patch.object(budget_rules, "WINDOW", WINDOW):
        took = seconds(lambda: _warm(valid_rucs(size)))
    settings.MIGO_MAX_PER_MINUTE = 0
    # A second that has begun counts whole: 61 for 60, here 4 for 3
    least = (WINDOWS - 1) * (WINDOW + 1) + _least(a_window, parallel, latency)
    yield Line(f"{size:,}, {a_window:,} in {WINDOW} s: what the rate allows", least, "s")
    yield Line(
        f"{size:,}, {a_window:,} in {WINDOW} s: warm-up", took, "s", took / least, "what the rate allows", TARGET
    )


def _start_as_a_worker_does() -> None:
    from myproject.celery import app, leave_what_is_loaded_alone

    app.loader.import_default_modules()
    leave_what_is_loaded_alone()


def _use(parallel: int) -> None:
    from django.conf import settings

    from api_service.services.providers import provider

    settings.MIGO_PARALLEL = parallel
    provider.cache_clear()


def _least(size: int, parallel: int, latency: float) -> float:
    return ceil(size / CHUNK / parallel) * latency


def _round(
    process: subprocess.Popen[bytes], act: Callable[[], object], prepare: Callable[[], object] = lambda: None
) -> Round:
    prepare()
    ours, sandboxes = process_time(), _processor(process)
    took = seconds(act)
    return Round(took, process_time() - ours, _processor(process) - sandboxes)


def _processor(process: subprocess.Popen[bytes]) -> float:
    """Seconds that another process has used, in user and in system mode."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _warm(rucs: Sequence[str]) -> None:
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
