"""Memcached, node by node: probe, values, removal. Its list of keys is in `memcached_dump.py`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from django.conf import settings
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheError, MemcacheUnknownError

from api_service.caches.placement import Placement, Server, parse_servers
from api_service.services.backends import memcached_dump, memcached_keys, memcached_values
from api_service.services.backends.base import (
    PROBE_TIMEOUT,
    STALL_SECONDS,
    Deadline,
    Entry,
    Formed,
    Found,
    InventoryError,
    Item,
    Latency,
    RoundTripFailed,
    Written,
    error_text,
    timed,
)
from api_service.services.node_facts import NodeFacts

# It refuses connections beyond the last and counts each; with `-o no_maxconns_fast` they wait instead, and it counts
# how often it stopped listening
REJECTED, STOPPED_LISTENING = "rejected_connections", "listen_disabled_num"

_ERRORS = (OSError, MemcacheError)


class _Pipe:
    """Replies are read: `noreply`, pymemcache's default, says True to everything."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def set(self, key: str, value: bytes) -> object:
        return self._client.set(key, value, expire=30, noreply=False)

    def get(self, key: str) -> object:
        return self._client.get(key)

    def delete(self, key: str) -> object:
        return self._client.delete(key, noreply=False)


class MemcachedAdapter:
    name = "memcached"
    scan_counts = False
    replace_counts = False

    def __init__(self, alias: str, config: Mapping[str, Any] | None = None) -> None:
        config = settings.CACHES[alias] if config is None else config
        options = config.get("OPTIONS", {})
        self._servers: dict[str, Server] = parse_servers(config["LOCATION"])
        # As in the cache itself: the same names, hence the same places
        self._placement = Placement(list(self._servers))
        self._connect_timeout = float(options.get("connect_timeout", 0.5))
        self._timeout = float(options.get("timeout", 0.5))

    def nodes(self) -> Sequence[str]:
        return tuple(self._servers)

    def node_for(self, wire_key: str) -> str:
        return self._placement.node_for(wire_key)

    def probe(self, node: str, round_trips: int = 1) -> NodeFacts:
        with closing(self._quick_client(node)) as client:
            try:
                latency = timed(_Pipe(client), round_trips)
                return _with_statistics(client, node, latency)
            except (*_ERRORS, RoundTripFailed) as error:
                return NodeFacts(node, reachable=False, error=error_text(error))

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        yield from memcached_dump.scan(self._listed(node), prefix, deadline)

    def keys(self, node: str, prefix: str, deadline: Deadline) -> Generator[str]:
        yield from memcached_keys.keys(self._listed(node), prefix, deadline)

    def remove(self, node: str, keys: Iterable[str]) -> int:
        return memcached_values.remove(self._address(node), keys)

    def read(self, node: str, keys: Iterable[str]) -> Found:
        return memcached_values.read(self._address(node), keys)

    def write(self, node: str, items: Iterable[Item | Formed], *, replace: bool) -> Written:
        return memcached_values.write(self._address(node), items, replace=replace)

    def drop_expired(self) -> Sequence[str]:
        return ()

    def flush(self, node: str) -> None:
        with closing(self._client(node)) as client:
            try:
                client.flush_all(noreply=False)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def _listed(self, node: str) -> memcached_dump.Listed:
        client = partial(self._client, node)
        return memcached_dump.Listed(node, self._servers[node], client, self._connect_timeout, self._timeout)

    def _address(self, node: str) -> memcached_values.Address:
        timeout = max(self._timeout, STALL_SECONDS)
        return memcached_values.Address(node, self._servers[node], self._connect_timeout, timeout)

    def _client(self, node: str, timeout: float | None = None) -> Client:
        timeout = timeout or self._timeout
        return Client(self._servers[node], connect_timeout=self._connect_timeout, timeout=timeout, no_delay=True)

    def _quick_client(self, node: str) -> Client:
        connect, answer = min(self._connect_timeout, PROBE_TIMEOUT), min(self._timeout, PROBE_TIMEOUT)
        return Client(self._servers[node], connect_timeout=connect, timeout=answer, no_delay=True)


def _with_statistics(client: Client, node: str, latency: Latency) -> NodeFacts:
    """A proxy that knows no `stats` serves all the same: the node is not down."""
    try:
        stats = client.stats()
    except (MemcacheClientError, MemcacheUnknownError) as error:
        return latency.alone(node, error)
    return facts_of(node, latency, {key.decode(): value for key, value in stats.items()})


def facts_of(node: str, latency: Latency, stats: dict[str, Any]) -> NodeFacts:
    def number(name: str) -> int | None:
        value = stats.get(name)
        return int(value) if value is not None else None

    clock, uptime = number("time"), number("uptime")
    version = stats.get("version", b"")
    return NodeFacts(
        node=node,
        reachable=True,
        latency_ms=latency.median,
        latency_worst_ms=latency.worst,
        version=version.decode() if isinstance(version, bytes) else str(version),
        pid=number("pid"),
        booted_at=float(clock - uptime) if clock is not None and uptime is not None else None,
        items=number("curr_items"),
        bytes_used=number("bytes"),
        bytes_limit=number("limit_maxbytes"),
        evictions=number("evictions"),
        expired_unfetched=number("expired_unfetched"),
        hits=number("get_hits"),
        misses=number("get_misses"),
        connections=number("curr_connections"),
        max_connections=number("max_connections"),
        rejected_connections=number(REJECTED if REJECTED in stats else STOPPED_LISTENING),
    )
