"""What a batch of paid look-ups reaches of what latency, calls side by side and rate limit allow; ratios of one run.

    python -m tests.benchmarks.upstream [--json] [--rucs 10000] [--latency 0.05] [--parallel 4] [--database sqlite]

A sandbox in another process answers collection calls of 100 after a latency, that of the option on average. The time is
set against the least it can take: rounds of `parallel` calls, one latency each. "Bare threads" are the same calls by as
many threads without a ledger, a circuit breaker, or anybody to keep the answers: what sandbox and machine make of it.
Under a rate limit a minute is made short (`WINDOW`), as nobody wants to watch ten of them. Then what ledger
and circuit breaker cost a paid call.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median
from time import perf_counter
from unittest.mock import patch

import requests

from tests.benchmarks.answers import TOKEN, end_threads, sandbox
from tests.benchmarks.stage import Line, arguments, seconds, show, stage
from tests.rucs import valid_rucs

CHUNK = 100
# At least nine tenths of what is possible
TARGET = 1 / 0.9
WINDOW = 3
ADMISSIONS = 2_000
ENTRIES = 300
ROUNDS = 3
BARE = "bare threads"


def main() -> None:
    options = arguments(__doc__, database="sqlite", rucs="10000", latency="0.05", parallel="4")
    rucs, latency, parallel = valid_rucs(int(options.rucs)), float(options.latency), int(options.parallel)
    with sandbox() as url:
        switch(url, latency=latency)
        os.environ.update(
            MIGO_BASE_URL=f"{url}/api/v1", MIGO_TOKEN=TOKEN, MIGO_PARALLEL=str(parallel), ANSWER_STORE_SECONDS="60"
        )
        with stage(database=options.database, memcached=1):
            lines = [
                *batches(url, rucs, latency, parallel),
                *rate_limited(rucs, latency, parallel),
                *ledger(latency),
                *circuit_breaker(latency),
            ]
            end_threads()
    show(lines, as_json=options.json)


def switch(url: str, **switches: float) -> None:
    requests.post(f"{url}/_sandbox/switches", json=switches, timeout=5).raise_for_status()


def batches(url: str, rucs: Sequence[str], latency: float, parallel: int) -> Iterator[Line]:
    """The least time is that of the calls one after the other in `parallel` rows."""
    from api_service.services.budget import Ledger, Purpose
    from api_service.services.cache_service import APICacheService
    from api_service.services.filling import keep
    from api_service.services.providers import provider

    cache, migo, least = APICacheService(), provider("migo"), ceil(len(rucs) / CHUNK / parallel) * latency
    yield Line(f"{len(rucs)} RUCs, {parallel} x {CHUNK} / {latency * 1000:.0f} ms", least, "s")
    ways: dict[str, Callable[[], object]] = {
        BARE: lambda: bare(rucs, parallel),
        "fetch_many": lambda: migo.fetch_many("ruc", rucs),
        "fetch_many, ledger": lambda: migo.fetch_many("ruc", rucs, spend=Ledger("migo", Purpose.USER)),
        "fetch_many, ledger, answers kept": lambda: migo.fetch_many(
            "ruc",
            rucs,
            spend=Ledger("migo", Purpose.USER),
            answered=lambda answers: keep(cache, "migo", "ruc", answers),
        ),
    }
    # In turns, and the best of each: who else uses the machine must not decide
    rounds = [{name: timed(url, latency, way) for name, way in ways.items()} for _ in range(ROUNDS)]
    best = {name: min(times[name] for times in rounds) for name in ways}
    for name, took in best.items():
        # Keeping answers is the business of who keeps
        target = None if name.endswith("kept") or name == BARE else TARGET
        yield Line(name, took, "s", took / least, "the least", target)
    yield Line("fetch_many, ledger", best["fetch_many, ledger"], "s", best["fetch_many, ledger"] / best[BARE], BARE)


def timed(url: str, latency: float, way: Callable[[], object]) -> float:
    """The sandbox draws its latencies by the number of the request: from the first on, they are the same for all."""
    requests.post(f"{url}/_sandbox/reset", json={}, timeout=5).raise_for_status()
    switch(url, latency=latency, unknown_share=0.0)
    return seconds(way)


def bare(rucs: Sequence[str], parallel: int) -> None:
    from api_service.services.migo_client import MigoClient
    from api_service.services.providers import provider

    migo = provider("migo")
    assert isinstance(migo, MigoClient)

    def ask(chunk: Sequence[str]) -> object:
        return migo._door.call(migo._wire.collection(chunk), migo._patience, lambda response: response.body)

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(ask, [rucs[start : start + CHUNK] for start in range(0, len(rucs), CHUNK)]))


def rate_limited(rucs: Sequence[str], latency: float, parallel: int) -> Iterator[Line]:
    """Half of what latency allows is the limit. Against the time of as many windows, the first of which is free."""
    from django.conf import settings

    from api_service.services import budget_rules, rate_rules
    from api_service.services.budget import Ledger, Purpose
    from api_service.services.providers import provider

    a_window = int(WINDOW / latency * parallel / 2) * CHUNK
    batch = valid_rucs(4 * a_window)
    settings.MIGO_MAX_PER_MINUTE, settings.WARM_SHARE = a_window, 1.0
    with patch.object(rate_rules, "WINDOW", WINDOW), patch.object(budget_rules, "WINDOW", WINDOW):
        took = seconds(lambda: provider("migo").fetch_many("ruc", batch, spend=Ledger("migo", Purpose.USER)))
    settings.MIGO_MAX_PER_MINUTE = 0
    # A second that has begun counts whole: 61 for 60, here 4 for 3
    least = 3 * (WINDOW + 1) + a_window / CHUNK / parallel * latency
    yield Line(f"{len(batch)} RUCs, {a_window} in {WINDOW} s (of seconds that count whole)", least, "s")
    yield Line("fetch_many, ledger, rate limit", took, "s", took / least, "the least", TARGET)


def ledger(latency: float) -> Iterator[Line]:
    """What a paid call waits for its entry: without a cap, and with caps for minute, hour, day and month."""
    from django.conf import settings

    from api_service.services.budget import Ledger, Purpose

    spend = Ledger("migo", Purpose.USER)
    for name, cap in (("ledger, no cap", 0), ("ledger, all four caps", 10**9)):
        settings.MIGO_MAX_PER_MINUTE = settings.MIGO_MAX_PER_HOUR = cap
        settings.MIGO_MAX_PER_DAY = settings.MIGO_MAX_PER_MONTH = cap
        took = median(seconds(lambda: spend(1, retry=False)) for _ in range(ENTRIES)) * 1e6
        yield Line(name, took, "µs", took / (latency * 1e6), "the latency")


def circuit_breaker(latency: float) -> Iterator[Line]:
    """`admit` and `record` around a call that is answered; once a second the shared row is read."""
    from api_service.services import circuit

    breaker = circuit.from_settings("migo")

    def once() -> float:
        started = perf_counter()
        breaker.record(breaker.admit(), None)
        return (perf_counter() - started) * 1e6

    known = median(once() for _ in range(ADMISSIONS))
    reads = []
    for _ in range(200):
        breaker._read_at = -1e9
        reads.append(once())
    yield Line("circuit breaker, row known", known, "µs", known / (latency * 1e6), "the latency", 0.02)
    yield Line("circuit breaker, row read", median(reads), "µs", median(reads) / (latency * 1e6), "the latency", 0.02)


if __name__ == "__main__":
    main()
