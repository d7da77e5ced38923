"""Local memory: one node, this process. For development and the single-process run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from time import time
from typing import Any

from api_service.caches.local import LocalMemoryCache
from api_service.services.backends.base import LOCK_PREFIX, Deadline, Entry, RoundTripFailed, error_text, round_trip
from api_service.services.health_rules import NodeFacts

NODE = "this process"
STARTED_AT = time()


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

    def __init__(self, cache: LocalMemoryCache, config: dict[str, Any]) -> None:
        self._cache = cache

    def nodes(self) -> Sequence[str]:
        return (NODE,)

    def probe(self, node: str) -> NodeFacts:
        try:
            latency = round_trip(_Pipe(self._cache))
        except RoundTripFailed as error:
            return NodeFacts(node, reachable=False, error=error_text(error))
        sizes = [size for _key, _expires, size in self._cache.entries()]
        return NodeFacts(
            node,
            reachable=True,
            latency_ms=round(latency, 3),
            pid=os.getpid(),
            booted_at=STARTED_AT,
            items=len(sizes),
            bytes_used=sum(sizes),
        )

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        for key, expires_at, size in self._cache.entries():
            if key.startswith(prefix) and LOCK_PREFIX not in key:
                yield Entry(key, size, expires_at)

    def remove(self, node: str, keys: Iterable[str]) -> int:
        start = len(self._cache.make_key(""))
        return sum(self._cache.remove(key[start:]) for key in keys)

    def flush(self, node: str) -> None:
        self._cache.clear()
