"""What each node says of a few keys, side by side and within a time: a node that hangs holds nobody up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import orjson

from api_service.sentences import sentence
from api_service.services.backends import Adapter, Deadline, Found, InventoryError
from api_service.services.beside import beside
from api_service.services.envelope import unwrap
from api_service.services.outcomes import CacheRead

SECONDS = 1.5

# Questions that were left behind: while one hangs, no other is sent after it
_left_behind: dict[str, Future[Found]] = {}


@dataclass(frozen=True, slots=True)
class NodeReads:
    """One node's answer: wire key → what lies there, of those that lie there. `error` is why it gave none."""

    node: str
    values: Mapping[str, CacheRead] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # bytes
    error: str = ""


def look(adapter: Adapter, wire_keys: Sequence[str], now: float, seconds: float = SECONDS) -> list[NodeReads]:
    """Every node, in the order of the cache's URL, wherever the cache itself would look for the keys."""
    until = Deadline.after(seconds)
    asked = [(node, _asked(adapter, node, wire_keys)) for node in adapter.nodes()]
    return [_answer(node, future, until, now) for node, future in asked]


def _asked(adapter: Adapter, node: str, wire_keys: Sequence[str]) -> Future[Found] | None:
    earlier = _left_behind.pop(node, None)
    if earlier is not None and not earlier.done():
        _left_behind[node] = earlier
        return None
    return beside(f"read-{node}", partial(adapter.read, node, list(wire_keys)))


def _answer(node: str, future: Future[Found] | None, until: Deadline, now: float) -> NodeReads:
    if future is None:
        return NodeReads(node, error=sentence("an earlier question still waits for its answer"))
    try:
        found = future.result(until.left())
    except TimeoutError:
        _left_behind[node] = future
        return NodeReads(node, error=sentence("no answer in time"))
    except InventoryError as error:
        return NodeReads(node, error=error.reason)
    values = {key: unwrap(_decoded(data), now) for key, data in found.values.items()}
    return NodeReads(node, values, {key: len(data) for key, data in found.values.items()})


def _decoded(data: bytes) -> object:
    """None, which is no value of ours, for what is not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
