"""Why RUCs are listed as invalid: counted with each inventory, as only the values in the cache say it.

An inventory lists keys, and their values have to be read beside: so many and no more. Pages show what was counted
then.

They are read node by node, which is no use of them to Memcached: its order of use and its mark of what was ever
fetched stay as they are. Memcached and Redis count each of these reads as a hit all the same: see `own_hits`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from time import time
from typing import Any, Final, TypedDict

from django.db import DatabaseError

from api_service.caches.serializer import Unreadable, loads
from api_service.models import TrackedKey, TrackRun
from api_service.sentences import sentence
from api_service.services import counted
from api_service.services.backends import Adapter, Deadline, InventoryError
from api_service.services.backends.base import error_text
from api_service.services.cache_service import INVALID_KEY, APICacheService
from api_service.services.envelope import unwrap
from api_service.services.inventory import batches
from api_service.services.outcomes import Outcome
from api_service.services.own_hits import Operation

logger = logging.getLogger(__name__)

MOST_READ: Final = 20_000
AT_ONCE: Final = 1000
# For all nodes; the batch that is being read then may still take a time-out
READ_SECONDS: Final = 5.0
# Reasons are texts of whoever adds a RUC: what is kept of them stays small
REASONS_KEPT: Final = 20
LENGTH: Final = 60
OTHERS: Final = "(others)"


class ReasonsJSON(TypedDict):
    """`complete`: whether all were read; else `reasons` is of the first `MOST_READ` in the order of their numbers."""

    complete: bool
    reasons: dict[str, int]


def note(run: int) -> None:
    """Count the reasons of all RUCs that are listed now, and keep them with that inventory.

    What cannot be counted to the end is logged and not kept, and pages go on with the count before: the inventory
    itself is done.
    """
    cache = APICacheService()
    try:
        TrackRun.objects.filter(pk=run).update(invalid_reasons=count(cache, Deadline.after(READ_SECONDS)))
    except (InventoryError, DatabaseError) as error:
        logger.warning("inventory %d goes without the reasons of invalid RUCs: %s", run, error_text(error))


def count(cache: APICacheService, deadline: Deadline) -> ReasonsJSON:
    """What has ended or cannot be understood meanwhile does not count. Raises InventoryError, naming a node."""
    names = _names()
    wanted = [cache.wire_prefix + name for name in names[:MOST_READ]]
    reasons = Counter(map(reason_of, _values(cache.adapter, wanted, deadline)))
    return {"complete": len(names) <= MOST_READ, "reasons": shortened(reasons)}


def _values(adapter: Adapter, wire_keys: Iterable[str], deadline: Deadline) -> Iterator[Any]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for key in wire_keys:
        places[adapter.node_for(key)].append(key)
    for node, keys in places.items():
        _must_be_in_time(node, deadline)
        with counted.adapter(Operation.REASONS, adapter, [node]) as counting:
            yield from _values_on(counting, node, keys, deadline)


def _values_on(adapter: Adapter, node: str, keys: Iterable[str], deadline: Deadline) -> Iterator[Any]:
    for batch in batches(keys, AT_ONCE):
        _must_be_in_time(node, deadline)
        now, found = time(), adapter.read(node, batch)
        reads = (unwrap(_decoded(data), now) for data in found.values.values())
        yield from (read.value for read in reads if read.outcome is Outcome.HIT)


def _must_be_in_time(node: str, deadline: Deadline) -> None:
    if not deadline.left():
        raise InventoryError(node, sentence("reading the values took longer than allowed"))


def _decoded(data: bytes) -> object:
    """None, which is no value of ours, for what is not JSON."""
    try:
        return loads(data)
    except Unreadable:
        return None


def _names() -> list[str]:
    """Of the key table, along its index of state and key: all that begin alike lie before the next beginning."""
    end = INVALID_KEY[:-1] + chr(ord(INVALID_KEY[-1]) + 1)
    rows = TrackedKey.objects.filter(state=TrackedKey.State.ACTIVE, key__gte=INVALID_KEY, key__lt=end)
    # A key may have a row on each of two nodes
    found = rows.order_by("key").values_list("key", flat=True).distinct()
    return list(found[: MOST_READ + 1])


def reason_of(info: Any) -> str:
    """Of one value; "" where it has none."""
    return str(info.get("reason", ""))[:LENGTH] if isinstance(info, Mapping) else ""


def shortened(reasons: Counter[str]) -> dict[str, int]:
    """The most frequent first; the rest under one name."""
    rest = sum(number for _reason, number in islice(reasons.most_common(), REASONS_KEPT, None))
    return dict(_with_rest(reasons.most_common(REASONS_KEPT), rest))


def _with_rest(known: Iterable[tuple[str, int]], rest: int) -> Iterable[tuple[str, int]]:
    yield from known
    if rest:
        yield OTHERS, rest
