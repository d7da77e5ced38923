"""Local memory: one node, this process. For development and the single-process run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from time import time
from typing import cast

from django.core.cache import caches

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

    def __init__(self, alias: str) -> None:
        self._cache = cast("LocalMemoryCache", caches[alias])

    def nodes(self) -> Sequence[str]:
        return (NODE,)

    def probe(self, _node: str) -> NodeFacts:
        try:
            latency = round_trip(_Pipe(self._cache))
        except RoundTripFailed as error:
            return NodeFacts(NODE, reachable=False, error=error_text(error))
        sizes = [entry.size for entry in self._cache.entries()]
        return NodeFacts(
            NODE,
            reachable=True,
            latency_ms=round(latency, 3),
            pid=os.getpid(),
            booted_at=STARTED_AT,
            items=len(sizes),
            bytes_used=sum(sizes),
        )

    def scan(self, _node: str, prefix: str, _deadline: Deadline) -> Iterator[Entry]:
        for entry in self._cache.entries():
            if entry.key.startswith(prefix) and LOCK_PREFIX not in entry.key:
                yield Entry(entry.key, entry.size, entry.expires_at)

    def remove(self, _node: str, keys: Iterable[str]) -> int:
        start = len(self._cache.make_key(""))
        return sum(self._cache.remove(key[start:]) for key in keys)

    def drop_expired(self) -> Sequence[str]:
        return self._cache.drop_expired()

    def flush(self, _node: str) -> None:
        self._cache.clear()
