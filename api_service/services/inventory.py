"""All nodes' keys: listed, cleaned up, flushed. A node that fails is named and does not stop the others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import time
from typing import TYPE_CHECKING, TypeVar

from django.conf import settings

from api_service.caches.errors import CacheOutage
from api_service.services import counted, keys
from api_service.services.backends import Adapter, Deadline, Entry, InventoryError
from api_service.services.envelope import unwrap
from api_service.services.outcomes import CacheRead, Outcome
from api_service.services.own_hits import Operation
from api_service.services.subjects import EXCHANGE_RATE

if TYPE_CHECKING:
    from api_service.services.cache_service import APICacheService

logger = logging.getLogger(__name__)

SECONDS = 60.0
BATCH = 1000

# Kinds that nobody is shown past their end; others lie there for a while longer
SHOWN_OLD_NEVER = frozenset({"invalid", "absent", EXCHANGE_RATE})

T = TypeVar("T")


@dataclass
class Listing:
    """`entries` of the nodes that answered to the end, `failed`: node → why."""

    entries: list[Entry] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def names(adapter: Adapter, prefix: str, seconds: float = SECONDS) -> tuple[list[str], dict[str, str]]:
    """The names alone, which cost no hit: an entry of Redis is one that nobody had. And node → why it failed."""
    deadline, found = Deadline.after(seconds), list[str]()

    def collect(node: str) -> None:
        if adapter.scan_counts:
            found.extend(adapter.keys(node, prefix, deadline))
        else:
            found.extend(entry.key for entry in adapter.scan(node, prefix, deadline))

    return found, _each_node(adapter, "list", collect)


def flush(adapter: Adapter) -> bool:
    """Empty every node; False when one could not be."""
    return not _each_node(adapter, "flush", adapter.flush)


def cleanup(service: APICacheService) -> dict[str, int]:
    """Drop values that outlived their own end, counted by what they were."""
    now, counts = time(), Counter(invalid_rucs=0, rucs=0, other=0)
    dropped = (key.removeprefix(service.wire_prefix) for key in service.adapter.drop_expired())
    counts.update(map(_counted_as, filter(keys.parse, dropped)))
    found, failed = names(service.adapter, service.wire_prefix)
    ours = filter(keys.parse, (key.removeprefix(service.wire_prefix) for key in found))
    with counted.service(Operation.CLEAN_UP, service) as counting:
        for batch in batches(ours, BATCH):
            stored, _unreachable = counting.cache.fetch_many(batch)
            for name in batch:
                read = unwrap(stored.get(name), now)
                if read.outcome is Outcome.STALE and _is_over(name, read, now):
                    counts[_counted_as(name)] += _removed(service, name)
    return {**counts, "nodes_failed": len(failed)}


def _is_over(name: str, read: CacheRead, now: float) -> bool:
    parts = keys.parse(name)
    kept = settings.STALE_WHILE_REVALIDATE if parts and parts.kind not in SHOWN_OLD_NEVER else 0
    return read.expires_at is not None and read.expires_at + kept <= now


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _removed(service: APICacheService, name: str) -> bool:
    """`name` is as stored: the service's own `delete` would normalise it once more."""
    try:
        return service.cache.remove(name)
    except CacheOutage as error:
        logger.warning("not cleaned up, %s", error)
        return False


def _counted_as(name: str) -> str:
    parts = keys.parse(name)
    kind = parts.kind if parts else ""
    return {"invalid": "invalid_rucs", "ruc": "rucs"}.get(kind, "other")


def _each_node(adapter: Adapter, verb: str, act: Callable[[str], None]) -> dict[str, str]:
    """Run `act` on each node; node → reason of those that failed."""
    failed: dict[str, str] = {}
    for node in adapter.nodes():
        try:
            act(node)
        except InventoryError as error:
            failed[node] = error.reason
            logger.warning("could not %s %s", verb, error)
    return failed
