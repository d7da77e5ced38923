"""A cache, and the way to its nodes, whose reads are counted: for operations that read by the thousand.

Look-ups use the cache itself, which counts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from api_service.caches.protocol import Replacement, StrictCache, Version
from api_service.services import own_hits
from api_service.services.backends import Adapter, Deadline, Entry, Found
from api_service.services.own_hits import Operation, Reads

if TYPE_CHECKING:
    from api_service.services.cache_service import APICacheService


@contextmanager
def service(operation: Operation, cache: APICacheService) -> Iterator[APICacheService]:
    """The same cache: what is read of it with the methods for many keys, or by way of its adapter, is counted."""
    steps = Steps(operation, cache)
    with steps.one():
        yield steps.service


class Steps:
    """For what reads now and then for minutes: each step is on record by itself, so that most readings of a node are
    not amid one.
    """

    def __init__(self, operation: Operation, cache: APICacheService) -> None:
        self._operation = operation
        self._plain = cache.adapter
        self._nodes = self._plain.nodes()
        self._away: set[str] = set()
        self._target = Target(Reads())
        self.service = copy(cache)
        self.service.cache = cast(StrictCache, _Cache(cache, self._target))
        self.service.adapter = cast(Adapter, _Adapter(cache.adapter, self._target))

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around what `service` reads in a step; between two it is not counted. A node that was away in one is not
        waited for again: the number of its reads is not known.
        """
        between = self._target.reads
        with own_hits.reading(self._operation, self._plain, self._nodes, self._away) as reads:
            self._target.reads, self._away = reads, set(self._nodes).difference(reads.answering)
            try:
                yield
            finally:
                self._target.reads = between


@contextmanager
def adapter(operation: Operation, plain: Adapter, nodes: Collection[str] | None = None) -> Iterator[Adapter]:
    """The same way to the nodes, or to those of them that are named."""
    with own_hits.reading(operation, plain, list(plain.nodes() if nodes is None else nodes)) as reads:
        yield cast(Adapter, _Adapter(plain, Target(reads)))


@dataclass(slots=True)
class Target:
    """Where reads are counted at this moment."""

    reads: Reads


class _Adapter:
    def __init__(self, plain: Adapter, target: Target) -> None:
        self._plain = plain
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        reads, counts = self._target.reads, self._plain.scan_counts
        tally = reads.of(node)
        # Also of who takes no more of them, or leaves it behind in a thread: the server has counted a thousand ahead
        tally.unanswered += 1
        for number, entry in enumerate(self._plain.scan(node, prefix, deadline)):
            tally.hits += counts
            if number % 1000 == 0:
                reads.go_on()
            yield entry
        tally.unanswered -= 1

    def read(self, node: str, keys: Iterable[str]) -> Found:
        reads = self._target.reads
        tally = reads.of(node)
        tally.unanswered += 1
        found = self._plain.read(node, keys)
        tally.unanswered -= 1
        reads.add(node, found.hits, found.misses)
        return found


class _Cache:
    """A value that cannot be read is taken for an absent one."""

    def __init__(self, service: APICacheService, target: Target) -> None:
        self._plain = service.cache
        self._prefix = service.wire_prefix
        self._adapter = service.adapter
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]:
        names = list(keys)
        found, lost = self._plain.fetch_many(names, version)
        self._count(names, found, lost)
        return found, lost

    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]:
        names = list(keys)
        found, lost = self._plain.fetch_versions(names, version)
        self._count(names, found, lost)
        return found, lost

    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]:
        replaced = self._plain.replace_many(items, version)
        if self._adapter.replace_counts:
            # What was not replaced has another value by now, or none: nobody can say. Nothing at all: not even asked
            self._count(items, replaced and items, () if replaced else items)
        return replaced

    def _count(self, names: Iterable[str], found: Collection[str], lost: Collection[str]) -> None:
        unasked, reads = set(lost), self._target.reads
        hits = Counter(map(self._node_of, found))
        asked = Counter(self._node_of(name) for name in names if name not in unasked)
        for node, number in asked.items():
            reads.add(node, hits[node], number - hits[node])
        for node in set(map(self._node_of, unasked)):
            reads.of(node).unanswered += 1

    def _node_of(self, name: str) -> str:
        return self._adapter.node_for(self._prefix + name)
