"""Our look-up and other caching libraries in the same trouble, each used as its documentation says.

    make peers                                          once: their packages, into .venv-peers
    python -m tests.benchmarks peers [--only ours,dogpile] [--json]

The upstream is the sandbox over HTTP, 100 to 300 ms a call, with a thread for each of 200 calls at once. Every
candidate has memcached or Redis for itself, as it supports them, and makes the same call without retries. Coroutines
are asked by 50 tasks a process, the others by 50 threads. What is old may be shown for another minute.

    cold, 200 at once     five RUCs that nobody has, one after the other, from four processes
    cache server killed   one of these again and again, 20 times
    expiry, 50/s          two processes, while the answer's life ends
    old, upstream down    the same after it has ended, and the upstream says 503
    hit                   microseconds, one thread, the candidates in turns

"waited" are look-ups of over 50 ms. Milliseconds are what is added: in the first to one call of the upstream (its
median), in the others to the candidate's own hit. Compare within a run.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from statistics import median

from api_service.sandbox.faults import Switches
from api_service.sandbox.server import SandboxServer
from tests.benchmarks.peers import scenarios
from tests.benchmarks.peers.candidates import TABLE
from tests.benchmarks.peers.scenarios import GRACE, LONG_LIFE, Row
from tests.benchmarks.peers.troupe import ROOT, VENV, Asker, House
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Redis

LATENCY = 0.2
# A stampede must not wait for the sandbox
UPSTREAM_THREADS = 256
BASE = "get_ruc"
LOCK = ROOT / "requirements-peers.lock"
PEERS = ("cashews", "django-cacheback", "dogpile-cache", "requests-cache")
ROUNDS, HITS = 40, 100


def main() -> int:
    asked = _arguments()
    if not _installed():
        print("The libraries to compare with are not installed, or not those of the lock: make peers", file=sys.stderr)
        return 1
    names = asked.only.split(",") if asked.only else list(TABLE)
    if unknown := set(names) - set(TABLE):
        print(f"no candidate {', '.join(unknown)}; there are {', '.join(TABLE)}", file=sys.stderr)
        return 2
    with _house() as house:
        upstream = _milliseconds_of_a_call(house)
        rows = [row for name in names for row in _told(name, house)]
        hits = _hits([name for name in names if TABLE[name].server], house)
    if asked.json:
        print(json.dumps({"upstream_ms": upstream, "rows": [asdict(row) for row in rows], "hit_us": hits}, indent=2))
    else:
        _show(names, rows, hits, upstream)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--only", default="", help=f"some of {', '.join(TABLE)}, separated by commas")
    return parser.parse_args()


def _installed() -> bool:
    """As `scripts/install.py` leaves it."""
    stamp = VENV / "installed-peers"
    return stamp.exists() and stamp.read_text() == hashlib.sha256(LOCK.read_bytes()).hexdigest()


@contextmanager
def _house() -> Iterator[House]:
    switches = Switches(latency=LATENCY, unknown_share=0.0)
    server, broker = SandboxServer(switches=switches, threads=UPSTREAM_THREADS).start(), Redis().start()
    try:
        yield House(RunningSandbox(server.url), broker)
    finally:
        broker.close()
        server.stop()


def _told(name: str, house: House) -> list[Row]:
    print(f"   {name}", file=sys.stderr, flush=True)
    house.broker.flush()
    house.sandbox.reset()
    return scenarios.of(name, house)


def _hits(names: Sequence[str], house: House) -> dict[str, float]:
    print("   hits", file=sys.stderr, flush=True)
    house.sandbox.reset()
    with ExitStack() as stack:
        askers: dict[str, Asker] = {}
        for name in names:
            troupe = stack.enter_context(house.troupe(name, askers=1, life=LONG_LIFE, grace=GRACE))
            askers[name] = troupe.askers[0]
            if name == "ours":
                log = troupe.folder / "base.log"
                askers[BASE] = Asker(name, troupe.setting, log, base=True)
                stack.callback(askers[BASE].close)
                askers[name]("series", ruc=scenarios.WARM, number=1)
        return scenarios.hits(askers, ROUNDS, HITS)


def _milliseconds_of_a_call(house: House) -> float:
    """Median of the upstream, asked by one."""
    with house.troupe("none", askers=1, life=LONG_LIFE, grace=GRACE) as troupe:
        return median(seconds for seconds, _error in troupe.askers[0]("series", ruc=scenarios.WARM, number=30)) * 1000


def _show(names: Sequence[str], rows: Sequence[Row], hits: dict[str, float], upstream: float) -> None:
    print(f"{', '.join(_versions())}; the upstream takes {upstream:.0f} ms")
    for name in names:
        one = TABLE[name]
        print(f"{name}: {one.title}{f' on {one.server}' if one.server else ''}: {one.how}")
    for scenario in dict.fromkeys(row.scenario for row in rows):
        print(f"\n{scenario:22}{'look-ups':>9}{'calls':>7}{'errors':>8}{'waited':>8}{'+ median':>10}{'+ p99':>9} ms")
        for row in rows:
            if row.scenario == scenario:
                print(_line(row, upstream if scenario == scenarios.STAMPEDE else hits.get(row.candidate, 0.0) / 1000))
    print(f"\n{'hit':22}{'µs':>9}{'x get_ruc':>12}")
    for name in dict.fromkeys([*names, *hits]):
        print(f"{name:22}{_hit(hits, name)}")


def _versions() -> list[str]:
    lock = LOCK.read_text(encoding="utf-8")
    return [" ".join(found) for found in re.findall(rf"^({'|'.join(PEERS)})==(\S+)", lock, re.MULTILINE)]


def _line(row: Row, base: float) -> str:
    numbers = f"{row.look_ups:9}{row.calls:7}{row.errors:8}{row.waited:8}"
    return f"{row.candidate:22}{numbers}{row.median - base:10.1f}{row.p99 - base:9.1f}    {row.note}"


def _hit(hits: dict[str, float], name: str) -> str:
    if name not in hits:
        return f"{'-':>9}{'-':>12}    nothing is cached"
    ratio = f"{hits[name] / hits[BASE]:12.2f}" if BASE in hits else ""
    return f"{hits[name]:9.1f}{ratio}"


if __name__ == "__main__":
    sys.exit(main())
