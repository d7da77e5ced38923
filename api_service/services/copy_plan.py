"""What is copied, what is not and why, and whether it arrived. Pure: no cache, no database, `now` is an argument."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import Final, NotRequired, TypedDict

from api_service.services import keys
from api_service.services.backends.base import Entry

BATCH: Final = 4000
BATCH_BYTES: Final = 8_000_000
# Memcached ends a key by a clock that counts whole seconds and may lag
CLOCK_SLACK: Final = 3.0
LABEL_LENGTH: Final = 300
_BUCKETS: Final = 64

# The head of an envelope, `{"v":1,"t":1795362562.1,"e":1795366162.1,"d":`, read without parsing the rest
_HEAD = re.compile(rb'\{"v":\d+,"t":(-?[\d.eE+-]+),"e":(null|-?[\d.eE+-]+),"d":')


class Reason(StrEnum):
    """Why a key was not copied."""

    EXPIRED = "expired"  # its end came before it was written
    GONE = "gone"  # removed or evicted between listing and reading
    FOREIGN = "foreign"  # another client's value: a miss for us, here and there
    MISPLACED = "misplaced"  # on a node where the cache does not look, left over from other nodes
    TOO_LARGE = "too_large"
    NO_MEMORY = "no_memory"
    INVALID_KEY = "invalid_key"
    REFUSED = "refused"  # for another reason, in the server's words
    TARGET_DOWN = "target_down"


# Worth an exit code: these keys were there to be copied
FAILURES: Final = frozenset(
    {Reason.TOO_LARGE, Reason.NO_MEMORY, Reason.INVALID_KEY, Reason.REFUSED, Reason.TARGET_DOWN}
)


class NodeJSON(TypedDict):
    """How far one source node is. `state`: waiting, running, copied, failed. `replaced`: what was there, too."""

    state: str
    replaced: NotRequired[bool]
    found: int
    copied: int
    already_there: int
    skipped: dict[str, int]
    error: str


WAITING, RUNNING, COPIED, FAILED = "waiting", "running", "copied", "failed"
# Of a whole run
DONE = "done"


def new_node(state: str = WAITING, *, replaced: bool = False) -> NodeJSON:
    return {
        "state": state,
        "replaced": replaced,
        "found": 0,
        "copied": 0,
        "already_there": 0,
        "skipped": {},
        "error": "",
    }


def resumed(nodes: Sequence[str], before: Mapping[str, NodeJSON], *, replace: bool) -> dict[str, NodeJSON]:
    """Rows of the nodes to copy: those that were copied stay so, the others begin anew.

    `replace`: so do those whose copy left alone what was there.
    """
    rows = {node: before.get(node) or new_node() for node in nodes}
    return {node: row if _is_done(row, replace=replace) else new_node() for node, row in rows.items()}


def _is_done(row: NodeJSON, *, replace: bool) -> bool:
    return row["state"] == COPIED and (row.get("replaced", False) or not replace)


def label(kind: str, nodes: Sequence[str]) -> str:
    """What a run calls a cache: kind and node names. A long list ends in a hash, so that two never look alike."""
    text = f"{kind} {','.join(nodes)}"
    if len(text) <= LABEL_LENGTH:
        return text
    return f"{text[: LABEL_LENGTH - 18]}… {blake2b(text.encode(), digest_size=8).hexdigest()}"


def reason_of(refusal: str) -> Reason:
    """From what a server, or its adapter, said of one key."""
    if "too large" in refusal:
        return Reason.TOO_LARGE
    if "memory" in refusal:
        return Reason.NO_MEMORY
    return Reason.INVALID_KEY if refusal.startswith("the key") else Reason.REFUSED


def born(data: bytes) -> float | None:
    """When the provider answered, Unix seconds; None for a value without envelope."""
    head = _HEAD.match(data)
    return float(head[1]) if head else None


def end_of(data: bytes, listed: float | None) -> float | None:
    """The earlier of the listed end and the value's own: it may have been set anew since it was listed."""
    head = _HEAD.match(data)
    if head is None or head[2] == b"null":
        return listed
    own = float(head[2])
    return own if listed is None else min(own, listed)


def is_newer(data: bytes, than: bytes) -> bool:
    """Whether the one answer was born after the other; False where one of them does not tell."""
    one, other = born(data), born(than)
    return one is not None and other is not None and one > other


def has_ended(expires_at: float | None, now: float) -> bool:
    return expires_at is not None and expires_at <= now + CLOCK_SLACK


def why_gone(expires_at: float | None, now: float) -> Reason:
    """Of a key that was listed and then not there."""
    return Reason.EXPIRED if has_ended(expires_at, now) else Reason.GONE


def can_go_on(state: str, nodes: Mapping[str, NodeJSON]) -> bool:
    """Whether a run has something left: a node, or where all were copied and it was stopped then, its proof."""
    return state != DONE or any(row["state"] != COPIED for row in nodes.values())


def interrupted(nodes: Mapping[str, NodeJSON], error: str) -> dict[str, NodeJSON]:
    """The rows of a run whose process was killed: what it was at has failed."""
    return {
        node: {**row, "state": FAILED, "error": error} if row["state"] == RUNNING else row
        for node, row in nodes.items()
    }


class Verdict(StrEnum):
    SAME = "same"
    GONE = "gone"  # from the source, or from both
    CHANGED = "changed"  # answered anew at the source since the copy began
    NEWER_THERE = "newer_there"
    MISSING = "missing"
    DIFFERS = "differs"


def compare(source: bytes | None, target: bytes | None, started: float, now: float) -> Verdict:
    """What became of one value; `started` is when the copy began."""
    if source is None or (target is None and has_ended(end_of(source, None), now)):
        return Verdict.GONE
    if source == target:
        return Verdict.SAME
    if (birth := born(source)) is not None and birth >= started:
        return Verdict.CHANGED
    if target is None:
        return Verdict.MISSING
    return Verdict.NEWER_THERE if is_newer(target, source) else Verdict.DIFFERS


def chosen(
    entries: Iterable[Entry], wire_prefix: str, here: Callable[[str], bool], skipped: Counter[str]
) -> Iterator[Entry]:
    """Entries of ours that the cache can see on this node (`here`); what is left out is counted in `skipped`."""
    start = len(wire_prefix)
    for entry in entries:
        if keys.parse(entry.key[start:]) is None:
            continue
        if here(entry.key):
            yield entry
        else:
            skipped[Reason.MISPLACED] += 1


def sized(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Batches bounded in number and bytes; a value that is larger than the bound is one by itself."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == BATCH or size + entry.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


class Marks:
    """Which keys, by hash, and when they end: 16 bytes a key, of one process (`hash` differs between two)."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        self._ends = [array("d") for _ in range(_BUCKETS)]

    def add(self, key: str, expires_at: float | None) -> None:
        mark = hash(key)
        bucket = mark % _BUCKETS
        self._hashes[bucket].append(mark)
        self._ends[bucket].append(float("inf") if expires_at is None else expires_at)

    def __len__(self) -> int:
        return sum(map(len, self._hashes))

    def missing_from(self, there: Marks, now: float) -> int:
        """How many are not `there` though their end has not come."""
        missing, alive = 0, now + CLOCK_SLACK
        for marks, ends, others in zip(self._hashes, self._ends, there._hashes, strict=True):
            present = set(others)
            missing += sum(1 for mark, end in zip(marks, ends, strict=True) if mark not in present and end > alive)
        return missing


class Sample:
    """At most `size` keys, each as likely as any other: those with the smallest hashes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, str]] = []

    def add(self, key: str) -> None:
        mark = -hash(key)
        if len(self._heap) < self._size:
            heappush(self._heap, (mark, key))
        elif self._heap and mark > self._heap[0][0]:
            heappushpop(self._heap, (mark, key))

    def keys(self) -> list[str]:
        return [key for _mark, key in self._heap]


@dataclass(slots=True)
class Load:
    keys: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.keys += 1
        self.bytes += size


@dataclass(slots=True)
class Shares:
    """Keys and bytes per node, as they lie now and as another placement would have them."""

    now: dict[str, Load] = field(default_factory=dict)
    then: dict[str, Load] = field(default_factory=dict)
    moving: Load = field(default_factory=Load)
    total: Load = field(default_factory=Load)

    @classmethod
    def of(cls, before: Sequence[str], after: Sequence[str]) -> Shares:
        return cls({node: Load() for node in before}, {node: Load() for node in after})

    def add(self, size: int, node: str, new: str) -> None:
        for load in (self.now[node], self.then[new], self.total):
            load.add(size)
        if node != new:
            self.moving.add(size)
