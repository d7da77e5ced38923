"""What the service needs of a cache server beyond Django's cache API: its nodes, one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import NamedTuple, Protocol
from uuid import uuid4

from api_service.sentences import sentence
from api_service.services.node_facts import NodeFacts

# Never listed, never cleared: a lock that disappears is two owners
LOCK_PREFIX = "cache-operations-lock."
# Of one wait amid a thousand keys. A single question's time-out is far shorter, and a busy node may exceed it here.
STALL_SECONDS = 5.0
# Of a health run's probe. Spread over a tenth of a second, they are not all in one and the same stutter, and the
# probes of many nodes side by side do not measure each other's work in this process.
ROUND_TRIPS = 5
PAUSE_SECONDS = 0.02
# What a health run asks a node beside them, at most: the application's path, a refusal, whether the store is waited
# for, the lock of its list of keys
GETS_BESIDE = 4
# A node that is slower than that twice in a row is down for every look-up, whatever CACHE_TIMEOUT says
PROBE_TIMEOUT = 1.0


class InventoryError(Exception):
    """A node's keys could not be listed to the end. The text says why and what to do."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason


class Entry(NamedTuple):
    """One key as its node lists it. `key` is the wire key, with Django's prefix; `size` is in bytes.

    A tuple, as a million of them are made in one go.
    """

    key: str
    size: int
    expires_at: float | None = None  # Unix seconds, None for never
    read: bool | None = None  # read at least once since it was set; None where the server does not say


class Item(NamedTuple):
    """One value as it lies in the cache: `data` is JSON as the serializer writes it, never parsed on the way."""

    key: str  # the wire key
    data: bytes
    expires_at: float | None  # Unix seconds, None for never


class Formed(NamedTuple):
    """Items that somebody has made ready for a node of one kind, as its protocol has them."""

    keys: list[str]  # the wire keys, in their order
    request: bytes


@dataclass(slots=True)
class Written:
    """What became of the items of a `write`. `refused`: wire key → what the node said."""

    stored: int = 0
    existed: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: Written) -> Written:
        return Written(self.stored + other.stored, self.existed + other.existed, self.refused | other.refused)


@dataclass(slots=True)
class Found:
    """What a `read` found: wire key → value; `foreign`: keys whose values another client wrote.

    `hits` and `misses` are what the node has counted of it.
    """

    values: dict[str, bytes] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    hits: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Deadline:
    """Seconds of the monotonic clock; passed down so that every wait ends."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    def left(self) -> float:
        return max(0.0, self.at - monotonic())


def server_of(node: str) -> str:
    """Whose counts those of the node are: the databases of one server, `host:port/0` and `host:port/1`, share them."""
    server, _slash, database = node.rpartition("/")
    return server if database.isdigit() and "/" not in server else node


class Adapter(Protocol):
    """One cache server kind. Every method speaks to one node through a client of its own.

    A pooled client hides dead nodes; these raise OSError-like errors as `InventoryError`, or say so in the facts.
    """

    name: str
    # Whether its server counts each key of a `scan` as a hit, and of a `replace_many` of the cache
    scan_counts: bool
    replace_counts: bool

    def nodes(self) -> Sequence[str]: ...

    def node_for(self, wire_key: str, /) -> str:
        """Where the cache itself puts and looks for that key."""

    def probe(self, node: str, /, round_trips: int = 1) -> NodeFacts:
        """set → get → delete of a unique key, that often, and the node's own statistics. Never raises for a dead node.

        A connection of its own, and no second attempt.
        """

    def scan(self, node: str, prefix: str, deadline: Deadline, /) -> Iterator[Entry]:
        """Every live key that starts with `prefix` (a wire prefix, "" for all). Raises InventoryError."""

    def keys(self, node: str, prefix: str, deadline: Deadline, /) -> Generator[str]:
        """The wire keys of a `scan` and nothing else, as the node lists them: the first come long before the last.

        Raises InventoryError, maybe after some keys.
        """

    def drop_expired(self) -> Sequence[str]:
        """Wire keys past their end that were still held and are dropped now; none where the server does it itself."""

    def remove(self, node: str, keys: Iterable[str], /) -> int:
        """Delete wire keys on that node, wherever placement would put them; the number that existed."""

    def read(self, node: str, keys: Iterable[str], /) -> Found:
        """Values of wire keys on that node, as bytes; those that are gone are left out. Raises InventoryError."""

    def write(self, node: str, items: Iterable[Item], /, *, replace: bool) -> Written:
        """Store items on that node, pipelined, with every reply read. Raises InventoryError.

        Without `replace` a key that exists is left as it is: traffic may have brought a newer answer. An item that
        ended meanwhile is passed over.
        """

    def flush(self, node: str, /) -> None:
        """Empty the node. Raises InventoryError."""


# Why a node, or the cache, is not well: for all that probe one
NO_ANSWER = sentence("no answer within %(seconds)s s")
WRITE_REFUSED = sentence("the write was refused")
OTHER_VALUE = sentence("read back another value than was written")
NOTHING_DELETED = sentence("the delete found nothing")
LISTING_TOO_LONG = sentence("listing the keys took longer than allowed")


class RoundTripFailed(Exception):
    """The node answered, but not with what was written."""


class Pipe(Protocol):
    """The three calls of a round trip, as every driver has them."""

    def set(self, key: str, value: bytes) -> object: ...
    def get(self, key: str) -> object: ...
    def delete(self, key: str) -> object: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over the round trips of one probe."""

    median: float
    worst: float

    def alone(self, node: str, refused: Exception) -> NodeFacts:
        """Of a node that passed the round trips and told nothing else."""
        return NodeFacts(
            node, reachable=True, latency_ms=self.median, latency_worst_ms=self.worst, stats_error=error_text(refused)
        )


def timed(pipe: Pipe, times: int) -> Latency:
    """Each with a key and a value of its own. RoundTripFailed, or the driver's error."""
    took = [_round_trip(pipe, pause=number > 0) for number in range(times)]
    return Latency(round(median(took), 3), round(max(took), 3))


def _round_trip(pipe: Pipe, *, pause: bool) -> float:
    """Milliseconds of the get in a set → get → delete."""
    if pause:
        sleep(PAUSE_SECONDS)
    key, value = f"{LOCK_PREFIX}probe.{uuid4().hex}", uuid4().hex.encode()
    if not pipe.set(key, value):
        raise RoundTripFailed(WRITE_REFUSED)
    started = perf_counter()
    read = pipe.get(key)
    elapsed = (perf_counter() - started) * 1000
    if read != value:
        raise RoundTripFailed(OTHER_VALUE)
    if not pipe.delete(key):
        raise RoundTripFailed(NOTHING_DELETED)
    return elapsed


def error_text(error: BaseException) -> str:
    """Short and free of addresses' credentials: drivers put the peer, not the password, into their texts."""
    return storable(f"{type(error).__name__}: {error}"[:300])


def storable(text: str) -> str:
    """Without zero bytes, which PostgreSQL refuses: a row that cannot be written is a health run that nobody sees."""
    return text.replace("\0", "\ufffd")
