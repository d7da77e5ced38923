"""The keys of one memcached node by `lru_crawler metadump`.

Facts of memcached 1.6.18: `metadump hash` lists every live key once (`all` misses and doubles keys under reads);
one dump at a time a node, and a stalled reader can block the server: hence one lock over all processes, kept on
the node itself, reading to the end at full speed into a file, and parsing only afterwards.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from time import sleep
from typing import IO
from urllib.parse import quote, unquote
from uuid import uuid4

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from api_service.caches.placement import Server
from api_service.services.backends.base import LOCK_PREFIX, Deadline, Entry, InventoryError, error_text

DUMP_LOCK = f"{LOCK_PREFIX}dump"
DUMP_LOCK_SECONDS = 120
SPOOL_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
STALL_SECONDS = 5.0
ALREADY_EXPIRED = -1  # cas with it releases a lock atomically

_ERRORS = (OSError, MemcacheError)


@dataclass(frozen=True, slots=True)
class Listed:
    """The node to be listed: its name and address, and how to get a client of it for the lock."""

    name: str
    server: Server
    client: Callable[[], Client]
    connect_timeout: float


def scan(node: Listed, prefix: str, deadline: Deadline) -> Iterator[Entry]:
    """Every live key that starts with `prefix`. Raises InventoryError."""
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        try:
            with _dump_lock(node, deadline):
                _dump(node, spool, deadline)
        except _ERRORS as error:
            raise InventoryError(node.name, error_text(error)) from error
        spool.seek(0)
        try:
            yield from parse_dump(spool, prefix)
        except (KeyError, ValueError) as error:
            raise InventoryError(node.name, f"its list of keys cannot be read ({error_text(error)})") from error


@contextmanager
def _dump_lock(node: Listed, deadline: Deadline) -> Iterator[None]:
    token = uuid4().hex.encode()
    with closing(node.client()) as client:
        while not client.add(DUMP_LOCK, token, expire=DUMP_LOCK_SECONDS, noreply=False):
            if not deadline.left():
                raise InventoryError(node.name, "another process is listing this node's keys: try again in a minute")
            sleep(0.02)
        try:
            yield
        finally:
            held, cas = client.gets(DUMP_LOCK)
            if held == token:
                client.cas(DUMP_LOCK, token, cas, expire=ALREADY_EXPIRED, noreply=False)


def _dump(node: Listed, spool: IO[bytes], deadline: Deadline) -> None:
    with _connect(node.server, node.connect_timeout) as connection:
        connection.sendall(b"lru_crawler metadump hash\r\n")
        head = tail = b""
        while not tail.endswith(b"END\r\n"):
            left = deadline.left()
            if not left:
                raise InventoryError(node.name, "listing the keys took longer than allowed")
            connection.settimeout(min(left, STALL_SECONDS))
            chunk = connection.recv(CHUNK_BYTES)
            if not chunk:
                raise InventoryError(node.name, "the node closed the connection amid its list of keys")
            spool.write(chunk)
            head, tail = (head + chunk)[:64], (tail + chunk)[-64:]
            _raise_if_refused(node.name, head)


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
