"""Every node of the cache side by side, within a time that no node can exceed for the others.

One thread a node: probe it, try once more what failed, then list its keys. A thread that hangs is left behind, and its
node is reported as not answering.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from time import sleep
from typing import Any

from api_service.sentences import sentence
from api_service.services.backends import Adapter, Deadline, Entry, InventoryError
from api_service.services.backends.base import LISTING_TOO_LONG, NO_ANSWER, PAUSE_SECONDS
from api_service.services.beside import keep
from api_service.services.inventory import Listing
from api_service.services.node_facts import NodeFacts

# Two attempts with the time-outs of CACHE_TIMEOUT, at their default of half a second to connect and to answer each
PROBE_SECONDS = 2.5
STILL_WAITS = sentence("an earlier probe still waits for its answer")

# Threads that a run has left behind: while one hangs, no other is sent after it
_left_behind: dict[str, Thread] = {}


@dataclass(frozen=True, slots=True)
class Asked:
    """`prefix`: of the wire keys to be listed by `until`; none are without it. `sizes`: with their sizes and ends."""

    round_trips: int
    until: Deadline
    prefix: str | None = None
    sizes: bool = False


class _Node:
    """One node under way. The facts are there before its keys are listed."""

    def __init__(self, adapter: Adapter, node: str, asked: Asked, delay: float) -> None:
        self.name = node
        self.facts: Future[NodeFacts] = Future()
        # Entries, or names where those are enough: an entry of Redis is a hit that nobody had
        self.listed: Future[list[Any]] = Future()
        act = partial(self._check, adapter, asked, delay)
        self._thread = Thread(target=act, name=f"probe-{node}", daemon=True)
        earlier = _left_behind.pop(node, None)
        if earlier is not None and earlier.is_alive():
            _left_behind[node] = earlier
            self.facts.set_result(NodeFacts(node, reachable=False, error=STILL_WAITS))
        else:
            self._thread.start()

    def _check(self, adapter: Adapter, asked: Asked, delay: float) -> None:
        # Rounds of many nodes at the same moment would measure each other
        sleep(delay)
        keep(self.facts, lambda: probed_twice(adapter, self.name, asked.round_trips))
        if asked.prefix is not None and self.facts.exception() is None and self.facts.result().reachable:
            scan = adapter.keys if adapter.scan_counts and not asked.sizes else adapter.scan
            look = partial(scan, self.name, asked.prefix, asked.until)
            keep(self.listed, lambda: list(look()))

    def facts_by(self, until: Deadline, seconds: float) -> NodeFacts:
        try:
            return self.facts.result(until.left())
        except TimeoutError:
            _left_behind[self.name] = self._thread
            return NodeFacts(self.name, reachable=False, error=NO_ANSWER % {"seconds": f"{seconds:.1f}"})


class NodeChecks:
    """Begun at once; the answers are asked for when they are wanted."""

    def __init__(self, adapter: Adapter, asked: Asked) -> None:
        self._until = asked.until
        self._seconds = min(PROBE_SECONDS, asked.until.left())
        self._probed_by = Deadline.after(self._seconds)
        names = adapter.nodes()
        step = PAUSE_SECONDS / len(names) if asked.round_trips > 1 else 0.0
        self._nodes = [_Node(adapter, name, asked, step * number) for number, name in enumerate(names)]

    def facts(self) -> Sequence[NodeFacts]:
        """Of every node, in the order of the cache's URL; never later than PROBE_SECONDS from the start."""
        return [node.facts_by(self._probed_by, self._seconds) for node in self._nodes]

    def listing(self) -> Listing:
        """Of the nodes that answer, asked with sizes; the others and those not listed in time are `failed`."""
        entries: list[Entry]
        entries, failed = self._listed()
        return Listing(entries, failed)

    def count(self) -> tuple[int, dict[str, str]]:
        """How many keys there are, and the nodes that do not count, with why."""
        listed, failed = self._listed()
        return len(listed), failed

    def _listed(self) -> tuple[list[Any], dict[str, str]]:
        found, failed = list[Any](), dict[str, str]()
        for node, facts in zip(self._nodes, self.facts(), strict=True):
            try:
                found += _listed(node, facts, self._until)
            except InventoryError as error:
                failed[node.name] = error.reason
        return found, failed


def _listed(node: _Node, facts: NodeFacts, until: Deadline) -> list[Any]:
    if not facts.reachable:
        raise InventoryError(node.name, facts.error)
    try:
        return node.listed.result(until.left())
    except TimeoutError as error:
        raise InventoryError(node.name, LISTING_TOO_LONG) from error


def probed_twice(adapter: Adapter, node: str, round_trips: int) -> NodeFacts:
    """A node that fails is tried once more at once, on a new connection: one lost packet is no outage."""
    first = adapter.probe(node, round_trips)
    if first.reachable:
        return first
    return replace(adapter.probe(node, round_trips), first_error=first.error)


def probe_nodes(adapter: Adapter) -> Sequence[NodeFacts]:
    """One round trip with each node and nothing else."""
    return NodeChecks(adapter, Asked(round_trips=1, until=Deadline.after(PROBE_SECONDS))).facts()
