"""An hour without APIMIGO at working hours: how many look-ups are answered, with old answers allowed and without.

    python -m tests.benchmarks.outage [--json] [--factor 60]

Time is compressed: an hour takes 3600 / factor seconds, and so do the life times, the circuit breaker's and the other
waits of the product. Real are memcached, the database (SQLite), the worker (in a thread), the sandbox over HTTP, and
the look-ups, by eight threads, each when it is due. Made up is the traffic: 6,000 look-ups an hour, spread by Zipf's
law over 2,000 RUCs, but for one in fifty, whose RUC nobody has asked for before; the answer store holds what ten hours
of it left behind. Half an hour goes well, for an hour the sandbox says 503, then ten minutes go well again.

"default" runs on the settings' defaults, "nothing old" with STALE_WHILE_REVALIDATE and STALE_IF_ERROR 0.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import quantiles
from time import perf_counter, sleep, time
from unittest.mock import patch

from api_service.sandbox.faults import Switches
from api_service.sandbox.server import SandboxServer
from tests.benchmarks.stage import stage
from tests.rucs import record, valid_rucs
from tests.sandbox_fixture import RunningSandbox

HOUR = 3600.0
LOOK_UPS_AN_HOUR, RUCS, THREADS = 6_000, 2_000, 8
NEVER_SEEN = 0.02
# Seconds of the product's time. The last ones are not settings but constants: module, name
SETTINGS = {"CACHE_TTL_RUC": 3600}
OLD = {"STALE_WHILE_REVALIDATE": 900, "STALE_IF_ERROR": 86_400}
FRACTIONS = {"MIGO_CIRCUIT_WINDOW": 30, "MIGO_CIRCUIT_SECONDS": 30}
CONSTANTS = [
    ("refreshing", "ASKED_SECONDS"),
    ("refreshing", "REMEMBERED_SECONDS"),
    ("circuit", "READ_EVERY"),
    ("circuit", "PROBE_TELLS"),
]
PHASES = {"before": 0.5, "outage": 1.0, "after": 1 / 6}  # hours
CONFIGURATIONS = {"default": True, "nothing old": False}


@dataclass(frozen=True)
class Phase:
    """`answered` includes `old` ones and RUCs that are known not to exist; milliseconds are real ones.

    `calls` reached the upstream, `paid` what it bills. `circuit` is the breaker's state at the end.
    """

    configuration: str
    phase: str
    look_ups: int
    answered: int
    old: int
    p99: float
    calls: int
    paid: int
    circuit: str
    opened: int
    failures: dict[str, int]


def main() -> None:
    asked = _arguments()
    if asked.one:
        print(json.dumps([asdict(phase) for phase in _run(asked.one, asked.factor)]))
        return
    phases = [phase for name in CONFIGURATIONS for phase in _in_a_process_of_its_own(name, asked.factor)]
    if asked.json:
        print(json.dumps([asdict(phase) for phase in phases], indent=2))
    else:
        _show(phases, asked.factor)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--factor", type=int, default=60, help="how many seconds pass in one (60)")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process_of_its_own(name: str, factor: int) -> list[Phase]:
    """Django reads its settings once."""
    command = [sys.executable, "-m", "tests.benchmarks.outage", "--one", name, "--factor", str(factor)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return [Phase(**each) for each in json.loads(told)]


def _show(phases: Sequence[Phase], factor: int) -> None:
    print(f"time {factor} times as fast: an hour is {HOUR / factor:.0f} s")
    columns = f"{'answered':>10}{'old':>8}{'p99 ms':>8}{'calls':>7}{'paid':>6}{'opened':>8}"
    print(f"{'':12}{'':8}{'look-ups':>9}{columns}  breaker")
    for one in phases:
        answered, old = (f"{number / one.look_ups:.1%}" for number in (one.answered, one.old))
        numbers = f"{answered:>10}{old:>8}{one.p99:8.1f}{one.calls:7}{one.paid:6}{one.opened:8}"
        failures = ", ".join(f"{number} {code}" for code, number in one.failures.items())
        print(f"{one.configuration:12}{one.phase:8}{one.look_ups:9}{numbers}  {one.circuit:8} {failures}")


# -- one run


def _run(configuration: str, factor: int) -> list[Phase]:
    with ExitStack() as stack:
        sandbox = stack.enter_context(_sandbox(factor))
        _set_environment(sandbox.url, configuration, factor)
        stack.enter_context(stage())
        _compress(stack, factor)
        stack.enter_context(_worker())
        chance = random.Random(1)
        _store_a_day(chance, factor)
        phases = []
        for name, hours in PHASES.items():
            sandbox.switch(script=["503"] * 100_000 if name == "outage" else ["ok"])
            phases.append(_phase(configuration, name, _drawn(chance, hours), factor, sandbox))
        _end_threads()
        return phases


@contextmanager
def _sandbox(factor: int) -> Iterator[RunningSandbox]:
    """Half a second a call."""
    server = SandboxServer(switches=Switches(latency=0.5 / factor)).start()
    try:
        yield RunningSandbox(server.url)
    finally:
        server.stop()


def _set_environment(upstream: str, configuration: str, factor: int) -> None:
    old = OLD if CONFIGURATIONS[configuration] else dict.fromkeys(OLD, 0)
    whole = {name: str(seconds // factor) for name, seconds in (SETTINGS | old).items()}
    fractions = {name: str(seconds / factor) for name, seconds in FRACTIONS.items()}
    os.environ.update(
        whole,
        **fractions,
        MIGO_BASE_URL=f"{upstream}/api/v1",
        MIGO_TOKEN="token-of-the-benchmark",
        MIGO_ATTEMPTS="1",
        # The shortest there is: a lock cannot be compressed like the rest
        FLIGHT_LOCK_SECONDS="2",
        CELERY_BROKER_URL="memory://",
    )


def _compress(stack: ExitStack, factor: int) -> None:
    from api_service.services import circuit, refreshing

    modules = {"circuit": circuit, "refreshing": refreshing}
    for module, name in CONSTANTS:
        seconds = getattr(modules[module], name) / factor
        stack.enter_context(patch.object(modules[module], name, seconds))


@contextmanager
def _worker() -> Iterator[None]:
    from celery.contrib.testing.worker import start_worker

    from myproject.celery import app

    with start_worker(app, pool="threads", concurrency=4, queues=["default"], perform_ping_check=False, loglevel=40):
        yield


def _drawn(chance: random.Random, hours: float) -> list[str]:
    """Who is asked for next, and next."""
    weights = list(accumulate(1 / rank for rank in range(1, RUCS + 1)))
    usual = chance.choices(valid_rucs(RUCS, start=3_000_000), cum_weights=weights, k=int(LOOK_UPS_AN_HOUR * hours))
    return [next(_new) if chance.random() < NEVER_SEEN else ruc for ruc in usual]


_new = iter(valid_rucs(10_000, start=5_000_000))


def _store_a_day(chance: random.Random, factor: int) -> None:
    """What ten hours of this traffic, with an answer fetched anew at each end of its life, left in the store."""
    from api_service.models import StoredAnswer
    from api_service.services import answers

    now, life, hours = time(), HOUR / factor, 10
    draws = _drawn(chance, hours)
    began, born = now - hours * HOUR / factor, dict[str, float]()
    for number, ruc in enumerate(draws):
        at = began + number * hours * HOUR / factor / len(draws)
        if at - born.get(ruc, 0.0) >= life:
            born[ruc] = at
    for ruc, at in born.items():
        answers.save("migo", "ruc", {ruc: {**record(ruc), "success": True}}, at)
    assert StoredAnswer.objects.count() == len(born)


def _phase(configuration: str, name: str, rucs: Sequence[str], factor: int, sandbox: RunningSandbox) -> Phase:
    from api_service.models import CircuitChange
    from api_service.services import circuit

    calls, paid, opened = len(sandbox.log), sandbox.billed, CircuitChange.objects.filter(state="open").count()
    outcomes, seconds = _looked_up(rucs, LOOK_UPS_AN_HOUR * factor / HOUR)
    return Phase(
        configuration,
        name,
        look_ups=len(rucs),
        answered=outcomes["answered"] + outcomes["old"],
        old=outcomes["old"],
        p99=round(quantiles(seconds, n=100)[98] * 1000, 1),
        calls=len(sandbox.log) - calls,
        paid=sandbox.billed - paid,
        circuit=circuit.shared_state("migo").state.value,
        opened=CircuitChange.objects.filter(state="open").count() - opened,
        failures={code: number for code, number in outcomes.items() if code not in {"answered", "old"}},
    )


def _looked_up(rucs: Sequence[str], rate: float) -> tuple[Counter[str], list[float]]:
    """So many a second, whether or not the ones before have ended; timed from when each was due."""
    began, under_way = perf_counter(), []
    with ThreadPoolExecutor(THREADS) as pool:
        for number, ruc in enumerate(rucs):
            due = began + number / rate
            sleep(max(0.0, due - perf_counter()))
            under_way.append(pool.submit(_look_up, ruc, due))
    took = [future.result() for future in under_way]
    return Counter(outcome for outcome, _seconds in took), [seconds for _outcome, seconds in took]


def _look_up(ruc: str, due: float) -> tuple[str, float]:
    from api_service.services.migo_service import MigoAPIService

    seen = MigoAPIService().consultar_ruc(ruc)
    if seen["success"] or seen["reason"] is not None:
        outcome = "old" if seen["cache"]["stale"] else "answered"
    else:
        outcome = seen["code"]
    return outcome, perf_counter() - due


def _end_threads() -> None:
    from api_service.services import bounded, group_commit

    group_commit.flush_all(10)
    bounded.stop_threads(10)


if __name__ == "__main__":
    main()
