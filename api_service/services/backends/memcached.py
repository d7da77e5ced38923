"""Memcached, node by node: probe, inventory by `lru_crawler metadump`, removal.

Facts of memcached 1.6.18: `metadump hash` lists every live key once (`all` misses and doubles keys under reads);
one dump at a time a node, and a stalled reader can block the server: hence one lock over all processes, kept on
the node itself, reading to the end at full speed into a file, and parsing only afterwards.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from tempfile import SpooledTemporaryFile
from time import sleep
from typing import IO, Any
from urllib.parse import quote, unquote
from uuid import uuid4

from django.conf import settings
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from api_service.caches.placement import Server, parse_servers
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

DUMP_LOCK = f"{LOCK_PREFIX}dump"
DUMP_LOCK_SECONDS = 120
SPOOL_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
STALL_SECONDS = 5.0
ALREADY_EXPIRED = -1  # cas with it releases a lock atomically

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

    def __init__(self, alias: str) -> None:
        config = settings.CACHES[alias]
        options = config.get("OPTIONS", {})
        self._servers: dict[str, Server] = parse_servers(config["LOCATION"])
        self._connect_timeout = float(options.get("connect_timeout", 0.5))
        self._timeout = float(options.get("timeout", 0.5))

    def nodes(self) -> Sequence[str]:
        return tuple(self._servers)

    def probe(self, node: str) -> NodeFacts:
        with closing(self._client(node)) as client:
            try:
                latency = round_trip(_Pipe(client))
                stats = client.stats()
            except (*_ERRORS, RoundTripFailed) as error:
                return NodeFacts(node, reachable=False, error=error_text(error))
        return facts_of(node, latency, {key.decode(): value for key, value in stats.items()})

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            try:
                with self._dump_lock(node, deadline):
                    self._dump(node, spool, deadline)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error
            spool.seek(0)
            try:
                yield from parse_dump(spool, prefix)
            except (KeyError, ValueError) as error:
                raise InventoryError(node, f"its list of keys cannot be read ({error_text(error)})") from error

    def remove(self, node: str, keys: Iterable[str]) -> int:
        with closing(self._client(node)) as client:
            try:
                return sum(client.delete(key, noreply=False) for key in keys)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def drop_expired(self) -> Sequence[str]:
        return ()

    def flush(self, node: str) -> None:
        with closing(self._client(node)) as client:
            try:
                client.flush_all(noreply=False)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def _client(self, node: str) -> Client:
        return Client(self._servers[node], connect_timeout=self._connect_timeout, timeout=self._timeout, no_delay=True)

    @contextmanager
    def _dump_lock(self, node: str, deadline: Deadline) -> Iterator[None]:
        token = uuid4().hex.encode()
        with closing(self._client(node)) as client:
            while not client.add(DUMP_LOCK, token, expire=DUMP_LOCK_SECONDS, noreply=False):
                if not deadline.left():
                    raise InventoryError(node, "another process is listing this node's keys: try again in a minute")
                sleep(0.02)
            try:
                yield
            finally:
                held, cas = client.gets(DUMP_LOCK)
                if held == token:
                    client.cas(DUMP_LOCK, token, cas, expire=ALREADY_EXPIRED, noreply=False)

    def _dump(self, node: str, spool: IO[bytes], deadline: Deadline) -> None:
        with _connect(self._servers[node], self._connect_timeout) as connection:
            connection.sendall(b"lru_crawler metadump hash\r\n")
            head = tail = b""
            while not tail.endswith(b"END\r\n"):
                left = deadline.left()
                if not left:
                    raise InventoryError(node, "listing the keys took longer than allowed")
                connection.settimeout(min(left, STALL_SECONDS))
                chunk = connection.recv(CHUNK_BYTES)
                if not chunk:
                    raise InventoryError(node, "the node closed the connection amid its list of keys")
                spool.write(chunk)
                head, tail = (head + chunk)[:64], (tail + chunk)[-64:]
                _raise_if_refused(node, head)


def _raise_if_refused(node: str, head: bytes) -> None:
    """`head` is the begin of the reply: further on, a key of the list may read like a refusal."""
    if not head.startswith((b"BUSY", b"CLIENT_ERROR", b"ERROR")):
        return
    said = head.split(b"\r\n")[0].decode("ascii", "replace")
    if said.startswith("BUSY"):
        raise InventoryError(node, f"the node says {said!r}: somebody else lists its keys, try again in a minute")
    raise InventoryError(node, f"the node says {said!r}: start memcached with -o lru_crawler, version 1.5.6 or later")


def _connect(server: Server, timeout: float) -> socket.socket:
    if isinstance(server, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        connection.connect(server)
        return connection
    return socket.create_connection(server, timeout=timeout)


def parse_dump(lines: Iterable[bytes], prefix: str) -> Iterator[Entry]:
    """`key=%3A1%3Amigo%3Aruc_20100038146 exp=1795366162 la=… cas=3 fetch=yes cls=11 size=786`, `exp=-1` never."""
    start = b"key=" + quote(prefix, safe="-_.~").encode()
    lock = quote(LOCK_PREFIX, safe="-_.~").encode()
    for line in lines:
        if line.startswith(start) and lock not in line:
            yield _entry(line)


def _entry(line: bytes) -> Entry:
    """By name: later versions of memcached add fields."""
    fields = dict(field.split(b"=", 1) for field in line.split())
    expires = int(fields[b"exp"])
    return Entry(
        key=unquote(fields[b"key"].decode("ascii")),
        size=int(fields[b"size"]),
        expires_at=None if expires < 0 else float(expires),
        read=fields[b"fetch"] == b"yes",
    )


def facts_of(node: str, latency_ms: float, stats: dict[str, Any]) -> NodeFacts:
    def number(name: str) -> int | None:
        value = stats.get(name)
        return int(value) if value is not None else None

    clock, uptime = number("time"), number("uptime")
    version = stats.get("version", b"")
    return NodeFacts(
        node=node,
        reachable=True,
        latency_ms=round(latency_ms, 3),
        version=version.decode() if isinstance(version, bytes) else str(version),
        pid=number("pid"),
        booted_at=float(clock - uptime) if clock is not None and uptime is not None else None,
        items=number("curr_items"),
        bytes_used=number("bytes"),
        bytes_limit=number("limit_maxbytes"),
        evictions=number("evictions"),
        hits=number("get_hits"),
        misses=number("get_misses"),
        connections=number("curr_connections"),
        max_connections=number("max_connections"),
    )
