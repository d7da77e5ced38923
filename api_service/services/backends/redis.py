"""Redis: probe and INFO, inventory by SCAN with pipelined life time and size, removal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from time import time
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api_service.services.backends.base import (
    LOCK_PREFIX,
    Deadline,
    Entry,
    InventoryError,
    RoundTripFailed,
    error_text,
    round_trip,
)
from api_service.services.health_rules import NodeFacts

SCAN_COUNT = 1000
GONE = -2
NEVER = -1

_ERRORS = (OSError, RedisError)


class _Pipe:
    def __init__(self, client: Redis) -> None:
        self._client = client

    def set(self, key: str, value: bytes) -> object:
        return self._client.set(key, value, ex=30)

    def get(self, key: str) -> object:
        return self._client.get(key)

    def delete(self, key: str) -> object:
        return self._client.delete(key)


class RedisAdapter:
    name = "redis"

    def __init__(self, alias: str) -> None:
        config = settings.CACHES[alias]
        location = config["LOCATION"]
        urls = [location] if isinstance(location, str) else list(location)
        options = config.get("OPTIONS", {})
        # The first is the primary: Django reads from the others, which hold the same keys
        self._urls = {_name(url): url for url in urls[:1]}
        self._timeouts = {
            "socket_timeout": float(options.get("socket_timeout", 0.5)),
            "socket_connect_timeout": float(options.get("socket_connect_timeout", 0.5)),
        }

    def nodes(self) -> Sequence[str]:
        return tuple(self._urls)

    def probe(self, node: str) -> NodeFacts:
        with closing(self._client(node)) as client:
            try:
                latency = round_trip(_Pipe(client))
                info, items = client.info(), client.dbsize()
            except (*_ERRORS, RoundTripFailed) as error:
                return NodeFacts(node, reachable=False, error=error_text(error))
        return facts_of(node, latency, info, items)

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        with closing(self._client(node)) as client:
            keys = _unique(client.scan_iter(match=_escape(prefix) + "*", count=SCAN_COUNT))
            try:
                while batch := list(islice(keys, SCAN_COUNT)):
                    if not deadline.left():
                        raise InventoryError(node, "listing the keys took longer than allowed")
                    yield from _entries(client, batch)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def remove(self, node: str, keys: Iterable[str]) -> int:
        removed, rest = 0, iter(keys)
        with closing(self._client(node)) as client:
            try:
                while batch := list(islice(rest, SCAN_COUNT)):
                    removed += int(client.unlink(*batch))
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error
        return removed

    def drop_expired(self) -> Sequence[str]:
        return ()

    def flush(self, node: str) -> None:
        with closing(self._client(node)) as client:
            try:
                client.flushdb()
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def _client(self, node: str) -> Redis:
        # The driver's own retries would make a frozen node cost several time-outs and the pauses between them
        return Redis.from_url(self._urls[node], retry=Retry(NoBackoff(), 0), **self._timeouts)


def _name(url: str) -> str:
    """`host:port/db`: what operators see never carries the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}/{parts.path.lstrip('/') or 0}"


def _escape(prefix: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in prefix)


def _unique(keys: Iterable[bytes]) -> Iterator[bytes]:
    """SCAN names a key twice when the server resizes its table meanwhile; counts must be real."""
    seen: set[int] = set()
    for key in keys:
        if (mark := hash(key)) not in seen:
            seen.add(mark)
            yield key


def _entries(client: Redis, keys: list[bytes]) -> Iterator[Entry]:
    """A key that went away in the meantime is left out."""
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.pttl(key)
        pipe.memory_usage(key)
    # A refused command (ACL) is an error: an inventory without its keys would look like a cache without them
    replies, now = pipe.execute(), time()
    for key, left, size in zip(keys, replies[::2], replies[1::2], strict=True):
        name = key.decode("utf-8", "replace")
        if left != GONE and size is not None and LOCK_PREFIX not in name:
            yield Entry(name, size, expires_at=None if left == NEVER else now + left / 1000)


def facts_of(node: str, latency_ms: float, info: dict[str, Any], items: int) -> NodeFacts:
    clock, uptime = info.get("server_time_usec"), info.get("uptime_in_seconds")
    return NodeFacts(
        node=node,
        reachable=True,
        latency_ms=round(latency_ms, 3),
        version=str(info.get("redis_version", "")),
        pid=info.get("process_id"),
        booted_at=clock // 1_000_000 - uptime if clock is not None and uptime is not None else None,
        items=items,
        bytes_used=info.get("used_memory"),
        bytes_limit=info.get("maxmemory") or None,
        evictions=info.get("evicted_keys"),
        hits=info.get("keyspace_hits"),
        misses=info.get("keyspace_misses"),
        connections=info.get("connected_clients"),
        max_connections=info.get("maxclients"),
    )
