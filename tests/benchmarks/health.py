"""What a health run takes, by the number of nodes and by what hangs; each row is the median of its rounds.

    python -m tests.benchmarks.health [--rounds 5] [--json]

A run is what the monitor does: nodes and alias are checked, the invalid RUCs are counted, the sample is stored.
"Probing alone" is the five round trips with each node and its statistics, all nodes side by side. Of a node that hangs,
the time is that of its time-outs (CACHE_TIMEOUT, twice): what counts is that more of them cost no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from tests.benchmarks.stage import Line, arguments, seconds, show, stage
from tests.black_holes import BlackHole
from tests.servers import Memcached

MANY = 20
LIMIT = 5.0
SECONDS_OF_THREE = 1.0
INVALID = 500


@contextmanager
def cache_of(addresses: Sequence[str]) -> Iterator[None]:
    from django.conf import settings
    from django.test import override_settings

    from api_service.caches.urls import cache_config
    from api_service.services.cache_service import APICacheService

    url = f"memcached://{','.join(addresses)}"
    with override_settings(CACHE_URL=url, CACHES={**settings.CACHES, "default": cache_config(url)}):
        cache = APICacheService()
        cache.set_many({f"migo:invalid_{number:011d}": {"reason": "NO_EXISTE_SUNAT"} for number in range(INVALID)})
        yield


def run(rounds: int) -> float:
    """Median seconds of a health run. The first is not counted: it looks up what it never has to again."""
    from api_service.services import monitoring

    monitoring.run_health_check()
    return median(seconds(monitoring.run_health_check) for _ in range(rounds))


def probing(rounds: int) -> float:
    from api_service.services.backends import Deadline, adapter_for
    from api_service.services.backends.base import ROUND_TRIPS
    from api_service.services.node_checks import Asked, NodeChecks

    def probe() -> None:
        facts = NodeChecks(adapter_for(), Asked(ROUND_TRIPS, Deadline.after(LIMIT))).facts()
        assert all(node.reachable for node in facts), facts

    return median(seconds(probe) for _ in range(rounds))


def healthy(nodes: Sequence[Memcached], rounds: int) -> list[Line]:
    took, probed = {}, {}
    for number in (1, 3, MANY):
        with cache_of([node.address for node in nodes[:number]]):
            took[number], probed[number] = run(rounds), probing(rounds)
    return [
        Line("1 node: a run", took[1], "s"),
        Line("3 nodes: a run", took[3], "s", took[3] / SECONDS_OF_THREE, "one second", 1.0),
        Line(f"{MANY} nodes: a run", took[MANY], "s", took[MANY] / took[1], "that with one node", 2.0),
        Line("1 node: probing alone", probed[1], "s"),
        Line(f"{MANY} nodes: probing alone", probed[MANY], "s", probed[MANY] / probed[1], "that of one node", 2.0),
    ]


def hanging(what: str, addresses: Sequence[str], rounds: int) -> Line:
    with cache_of(addresses):
        took = run(rounds)
    return Line(f"{what}: a run", took, "s", took / LIMIT, f"the {LIMIT:g} s that a run may take", 1.0)


def lines(nodes: Sequence[Memcached], holes: Sequence[BlackHole], rounds: int) -> Iterator[Line]:
    addresses = [node.address for node in nodes]
    yield from healthy(nodes, rounds)
    yield hanging("3 nodes, one black-holed", [*addresses[:2], holes[0].address], rounds)
    yield hanging(f"{MANY} nodes, half of them black-holed", [*addresses[:10], *(h.address for h in holes)], rounds)
    nodes[0].freeze()
    yield hanging("3 nodes, one frozen", addresses[:3], rounds)
    for node in nodes[1:]:
        node.freeze()
    yield hanging(f"{MANY} nodes, all frozen", addresses, rounds)


def main() -> None:
    asked = arguments(__doc__, rounds="5")
    with stage(memcached=MANY, memory=64) as scene, ExitStack() as stack:
        holes = [BlackHole() for _ in range(MANY // 2)]
        for hole in holes:
            stack.callback(hole.close)
        show(list(lines(scene.memcached, holes, int(asked.rounds))), as_json=asked.json)


if __name__ == "__main__":
    main()
