"""Local memory: one node, this process. For development and the single-process run."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from time import time
from typing import Any, Final, cast

from django.core.cache import caches

from api_service.caches.local import LocalMemoryCache
from api_service.caches.serializer import Unreadable, dumps, loads
from api_service.sentences import sentence
from api_service.services.backends.base import (
    LOCK_PREFIX,
    Deadline,
    Entry,
    Found,
    Item,
    RoundTripFailed,
    Written,
    error_text,
    timed,
)
from api_service.services.node_facts import NodeFacts

# In every language, as in CACHE_URL: operators type it and read it
NODE = "locmem"
STARTED_AT = time()
_ABSENT: Final = object()


class _Pipe:
    def __init__(self, cache: LocalMemoryCache) -> None:
        self._cache = cache

    def set(self, key: str, value: bytes) -> object:
        return self._cache.store(key, value.decode(), 30)

    def get(self, key: str) -> object:
        read = self._cache.fetch(key)
        return read.encode() if isinstance(read, str) else read

    def delete(self, key: str) -> object:
        return self._cache.remove(key)


class LocalMemoryAdapter:
    name = "local_memory"
    scan_counts = False
    replace_counts = False

    def __init__(self, alias: str, _config: Mapping[str, Any] | None = None) -> None:
        self._cache = cast("LocalMemoryCache", caches[alias])
        self._prefix = self._cache.make_key("")

    def nodes(self) -> Sequence[str]:
        return (NODE,)

    def node_for(self, _wire_key: str) -> str:
        return NODE

    def probe(self, _node: str, round_trips: int = 1) -> NodeFacts:
        try:
            latency = timed(_Pipe(self._cache), round_trips)
        except RoundTripFailed as error:
            return NodeFacts(NODE, reachable=False, error=error_text(error))
        sizes = [entry.size for entry in self._cache.entries()]
        return NodeFacts(
            NODE,
            reachable=True,
            latency_ms=latency.median,
            latency_worst_ms=latency.worst,
            pid=os.getpid(),
            booted_at=STARTED_AT,
            items=len(sizes),
            bytes_used=sum(sizes),
        )

    def scan(self, _node: str, prefix: str, _deadline: Deadline) -> Iterator[Entry]:
        for entry in self._cache.entries():
            if entry.key.startswith(prefix) and LOCK_PREFIX not in entry.key:
                yield Entry(entry.key, entry.size, entry.expires_at)

    def keys(self, node: str, prefix: str, deadline: Deadline) -> Generator[str]:
        return (entry.key for entry in self.scan(node, prefix, deadline))

    def remove(self, _node: str, keys: Iterable[str]) -> int:
        return sum(self._cache.remove(name) for _key, name in self._ours(keys))

    def read(self, _node: str, keys: Iterable[str]) -> Found:
        found = Found()
        for key, name in self._ours(keys):
            value = self._cache.fetch(name, _ABSENT)
            if value is not _ABSENT:
                found.values[key] = dumps(value, key)
        return found

    def write(self, _node: str, items: Iterable[Item], *, replace: bool) -> Written:
        written, now = Written(), time()
        for item in items:
            left = None if item.expires_at is None else item.expires_at - now
            if left is not None and left <= 0:
                continue
            if refusal := self._refusal(item):
                written.refused[item.key] = refusal
            elif self._store(item, left, replace=replace):
                written.stored += 1
            else:
                written.existed += 1
        return written

    def _refusal(self, item: Item) -> str:
        if not item.key.startswith(self._prefix):
            return sentence("the key has not this cache's prefix")
        try:
            loads(item.data)
        except Unreadable as error:
            return str(error)
        return ""

    def _store(self, item: Item, left: float | None, *, replace: bool) -> bool:
        store = self._cache.store if replace else self._cache.add_strict
        return store(item.key.removeprefix(self._prefix), loads(item.data), left)

    def _ours(self, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Wire key and name of those that this cache can address: others have another prefix or version."""
        return ((key, key.removeprefix(self._prefix)) for key in keys if key.startswith(self._prefix))

    def drop_expired(self) -> Sequence[str]:
        return self._cache.drop_expired()

    def flush(self, _node: str) -> None:
        self._cache.clear()
