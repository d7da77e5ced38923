"""What every candidate goes through, and what is counted of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from time import sleep, time

from tests.benchmarks.peers.asker import Took
from tests.benchmarks.peers.troupe import Asker, House, Troupe
from tests.rucs import valid_rucs
from tests.sandbox_fixture import RunningSandbox

WARM, HOT, OLD, *COLD = valid_rucs(8, start=500)
LONG_LIFE = 3600
SHORT_LIFE = 2
GRACE = 60
PROCESSES = 4
RATE = 50.0
# Until the last process has read its command
HEAD_START = 0.5
# Slower than this has waited for the upstream, not for the cache: its fastest call takes twice that
WAITED = 0.05
STAMPEDE, EXPIRY, OUTAGE, CACHE_DOWN = "cold, 200 at once", "expiry, 50/s", "old, upstream down", "cache server killed"


@dataclass(frozen=True)
class Row:
    """`median` and `p99` are milliseconds, all that a look-up took; `waited` how many took over 50 ms.

    `note` names the errors.
    """

    scenario: str
    candidate: str
    look_ups: int
    calls: int
    errors: int
    waited: int
    median: float
    p99: float
    note: str = ""


def of(name: str, house: House) -> list[Row]:
    """All scenarios but the hit path, which is measured in turns."""
    with house.troupe(name, askers=PROCESSES, life=LONG_LIFE, grace=GRACE) as troupe:
        troupe.at_once("warm_up", ruc=WARM)
        rows = [stampede(troupe, house.sandbox), cache_down(troupe, house.sandbox)]
    with house.troupe(name, askers=2, life=SHORT_LIFE, grace=GRACE) as troupe:
        troupe.at_once("warm_up", ruc=WARM)
        return [*rows, expiry(troupe, house.sandbox), upstream_down(troupe, house.sandbox)]


def stampede(troupe: Troupe, sandbox: RunningSandbox) -> Row:
    """One RUC after the other, each asked for by all threads of all processes at the same moment."""
    with _counted(sandbox, *COLD) as calls:
        took = [each for ruc in COLD for each in troupe.at_once("burst", ruc=ruc, at=time() + HEAD_START)]
    return _row(STAMPEDE, troupe, took, calls)


def expiry(troupe: Troupe, sandbox: RunningSandbox) -> Row:
    """From fresh to old: one end of life falls into it."""
    seconds = SHORT_LIFE * 1.75
    troupe.askers[0]("series", ruc=HOT, number=1)
    with _counted(sandbox, HOT) as calls:
        took = troupe.steadily(HOT, time() + HEAD_START, RATE, seconds)
    return _row(EXPIRY, troupe, took, calls)


def upstream_down(troupe: Troupe, sandbox: RunningSandbox) -> Row:
    """Old already when the look-ups begin, and the upstream answers 503 to everything."""
    troupe.askers[0]("series", ruc=OLD, number=1)
    sleep(SHORT_LIFE + 0.2)
    sandbox.switch(script=["503"] * 10_000)
    with _counted(sandbox, OLD) as calls:
        took = troupe.steadily(OLD, time() + HEAD_START, RATE, 4.0)
    return _row(OUTAGE, troupe, took, calls)


def cache_down(troupe: Troupe, sandbox: RunningSandbox) -> Row:
    """One of the stampede's, again and again, after the cache server was killed."""
    if troupe.server is not None:
        troupe.server.kill()
    with _counted(sandbox, COLD[0]) as calls:
        took = troupe.askers[0]("series", ruc=COLD[0], number=20)
    return _row(CACHE_DOWN, troupe, took, calls)


def hits(askers: dict[str, Asker], rounds: int, number: int) -> dict[str, float]:
    """Median microseconds of a hit on one thread, the candidates in turns."""
    times: dict[str, list[float]] = {name: [] for name in askers}
    for asker in askers.values():
        asker("series", ruc=WARM, number=20)
    for _ in range(rounds):
        for name, asker in askers.items():
            took = asker("series", ruc=WARM, number=number)
            if errors := _errors(took):
                raise RuntimeError(f"{name}: {errors}")
            times[name] += [seconds for seconds, _error in took]
    return {name: median(each) * 1e6 for name, each in times.items()}


@contextmanager
def _counted(sandbox: RunningSandbox, *rucs: str) -> Iterator[list[int]]:
    """The list gets the number of calls for these RUCs, those of refreshes behind the look-ups included."""
    calls: list[int] = []
    before = _calls(sandbox, rucs)
    yield calls
    sleep(0.5)
    calls.append(_calls(sandbox, rucs) - before)


def _calls(sandbox: RunningSandbox, rucs: tuple[str, ...]) -> int:
    return sum(entry["path"].endswith(rucs) for entry in sandbox.log)


def _row(scenario: str, troupe: Troupe, took: Sequence[Took], calls: Sequence[int]) -> Row:
    seconds = [each for each, _error in took]
    errors = _errors(took)
    return Row(
        scenario,
        troupe.name,
        len(took),
        calls[0],
        errors.total(),
        sum(each > WAITED for each in seconds),
        round(median(seconds) * 1000, 2),
        round(quantiles(seconds, n=100)[98] * 1000, 2),
        ", ".join(sorted(errors)),
    )


def _errors(took: Sequence[Took]) -> Counter[str]:
    return Counter(error for _seconds, error in took if error)
