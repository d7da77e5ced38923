"""A cached RUC over the API beside a bare Django view that reads the same key, under the same gunicorn.

    python -m tests.benchmarks.api [--json] [--seconds 3] [--rounds 5] [--connections 8]

Both views are in the same process, with the same middleware, and take turns. The API's caller has a token of the table
with a limit, so that token, scope and limit are checked at each request. Latency is measured at 80 % of what the API
took flat out, from the moment at which each request was due. On a busy machine go by the CPU: answers a second and
latencies are then those of the others' work.
"""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.cache import RECORD, RUC
from tests.benchmarks.http_load import Target, at_a_rate, flat_out, percentile
from tests.benchmarks.stage import Line, show, stage
from tests.servers import free_port
from tests.waiting import wait_until

API = f"GET /api/v1/rucs/{RUC}"
BARE = "bare Django view of the same key"
LOAD = 0.8
MOST_TIMES_BARE = 2.0
MOST_TIMES_MEDIAN = 5.0


def main() -> None:
    options = arguments()
    with stage(), gunicorn() as server:
        lines = measure(server, prepare(), options)
    show(lines, as_json=options.json)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    return parser.parse_args()


def prepare() -> str:
    """The record is in the cache; the text of a token."""
    from django.utils import timezone

    from api_service.services import api_tokens
    from api_service.services.cache_service import APICacheService

    if not APICacheService().set_ruc(RUC, RECORD):
        raise RuntimeError("the service did not store the record")
    now, limit = timezone.now(), api_tokens.MOST_PER_MINUTE
    return api_tokens.create("benchmark", ["lookup"], by="benchmark", now=now, per_minute=limit)[1]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Server:
    """`pid` is that of gunicorn's master; its only child does the work."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Of all its processes so far: what others do on this machine makes little difference to it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (self.pid, *children)]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gunicorn() -> Iterator[Server]:
    """As deployed, with one process: the other core is for the load."""
    port = free_port()
    options = ["--config", "deploy/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    command = [sys.executable, "-m", "gunicorn", *options, "--log-level", "error", "tests.benchmarks.bare_site"]
    # Reads are counted and written as in production
    with subprocess.Popen(command, env={**os.environ, "READ_FLUSH_SECONDS": "5"}) as server:
        try:
            wait_until(lambda: is_listening(port), timeout=30, message="gunicorn")
            yield Server(port, server.pid)
        finally:
            server.terminate()


@dataclass(frozen=True)
class Turn:
    """`rate` in answers a second, `cost` in milliseconds of the server's CPU for each."""

    rate: float
    cost: float


def measure(server: Server, token: str, options: argparse.Namespace) -> list[Line]:
    ours = Target(server.port, f"/api/v1/rucs/{RUC}", f"Authorization: Bearer {token}\r\n")
    bare = Target(server.port, f"/bare/{RUC}")
    for target in (bare, ours):
        flat_out(target, options.connections, 1.0)
    turns = [(turn(server, bare, options), turn(server, ours, options)) for _ in range(options.rounds)]
    slower = median(b.rate / o.rate for b, o in turns)
    dearer = median(o.cost / b.cost for b, o in turns)
    least, rate = median(b.rate for b, _ in turns), median(o.rate for _, o in turns)
    return [
        Line(BARE, least, "req/s"),
        Line(API, rate, "req/s", slower, "fewer than the bare view", MOST_TIMES_BARE),
        Line(f"{BARE}: CPU", median(b.cost for b, _ in turns), "ms"),
        Line(f"{API}: CPU", median(o.cost for _, o in turns), "ms", dearer, "the bare view's", MOST_TIMES_BARE),
        *latency(bare, ours, options),
    ]


def turn(server: Server, target: Target, options: argparse.Namespace) -> Turn:
    before = server.cpu_seconds()
    rate = flat_out(target, options.connections, options.seconds)
    return Turn(rate, (server.cpu_seconds() - before) / (rate * options.seconds) * 1000)


def latency(bare: Target, ours: Target, options: argparse.Namespace) -> Iterator[Line]:
    """Each turn has its own flat-out rate, and begins with nobody waiting: other work comes and goes."""
    turns = [(at_its_load(bare, options), at_its_load(ours, options)) for _ in range(options.rounds)]
    for name, found in zip((BARE, API), zip(*turns, strict=True), strict=True):
        ratio, goal = median(one.ratio for one in found), None if name == BARE else MOST_TIMES_MEDIAN
        # By time: where all wait, the ratio of a queue is a small one
        quietest = min(found, key=lambda one: one.late)
        yield Line(f"{name}, at {LOAD:.0%}: median", median(one.middle for one in found), "ms")
        yield Line(f"{name}, at {LOAD:.0%}: p99", median(one.late for one in found), "ms", ratio, "its median", goal)
        yield Line(f"{name}, the quietest turn: p99", quietest.late, "ms", quietest.ratio, "its median")


@dataclass(frozen=True)
class Wait:
    """Milliseconds within which half of the answers came, and 99 of 100."""

    middle: float
    late: float

    @property
    def ratio(self) -> float:
        return self.late / self.middle


def at_its_load(target: Target, options: argparse.Namespace) -> Wait:
    rate = flat_out(target, options.connections, 1.0)
    times = at_a_rate(target, options.connections, options.seconds, rate * LOAD)
    return Wait(percentile(times, 0.5), percentile(times, 0.99))


if __name__ == "__main__":
    main()
