"""What the service needs of a cache server beyond Django's cache API: its nodes, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Protocol
from uuid import uuid4

from api_service.services.health_rules import NodeFacts

# Never listed, never cleared: a lock that disappears is two owners
LOCK_PREFIX = "cache-operations-lock."


class InventoryError(Exception):
    """A node's keys could not be listed to the end. The text says why and what to do."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as its node lists it. `key` is the wire key, with Django's prefix; `size` is in bytes."""

    key: str
    size: int
    expires_at: float | None = None  # Unix seconds, None for never
    read: bool | None = None  # read at least once since it was set; None where the server does not say


@dataclass(frozen=True, slots=True)
class Deadline:
    """Seconds of the monotonic clock; passed down so that every wait ends."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    def left(self) -> float:
        return max(0.0, self.at - monotonic())


class Adapter(Protocol):
    """One cache server kind. Every method speaks to one node through a client of its own.

    A pooled client hides dead nodes; these raise OSError-like errors as `InventoryError`, or say so in the facts.
    """

    name: str

    def nodes(self) -> Sequence[str]: ...

    def probe(self, node: str, /) -> NodeFacts:
        """set → get → delete of a unique key, and the node's own statistics. Never raises for a dead node."""

    def scan(self, node: str, prefix: str, deadline: Deadline, /) -> Iterator[Entry]:
        """Every live key that starts with `prefix` (a wire prefix, "" for all). Raises InventoryError."""

    def drop_expired(self) -> Sequence[str]:
        """Wire keys past their end that were still held and are dropped now; none where the server does it itself."""

    def remove(self, node: str, keys: Iterable[str], /) -> int:
        """Delete wire keys on that node, wherever placement would put them; the number that existed."""

    def flush(self, node: str, /) -> None:
        """Empty the node. Raises InventoryError."""


class RoundTripFailed(Exception):
    """The node answered, but not with what was written."""


class Pipe(Protocol):
    """The three calls of a round trip, as every driver has them."""

    def set(self, key: str, value: bytes) -> object: ...
    def get(self, key: str) -> object: ...
    def delete(self, key: str) -> object: ...


def round_trip(pipe: Pipe) -> float:
    """Milliseconds of the get in a set → get → delete of a unique key. RoundTripFailed, or the driver's error."""
    key, value = f"{LOCK_PREFIX}probe.{uuid4().hex}", uuid4().hex.encode()
    if not pipe.set(key, value):
        raise RoundTripFailed("the write was refused")
    started = perf_counter()
    read = pipe.get(key)
    elapsed = (perf_counter() - started) * 1000
    if read != value:
        raise RoundTripFailed("read back another value than was written")
    if not pipe.delete(key):
        raise RoundTripFailed("the delete found nothing")
    return elapsed


def error_text(error: BaseException) -> str:
    """Short and free of addresses' credentials: drivers put the peer, not the password, into their texts."""
    return f"{type(error).__name__}: {error}"[:300]
