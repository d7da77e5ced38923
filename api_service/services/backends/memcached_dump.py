"""The keys of one memcached node by `lru_crawler metadump`.

Facts of memcached 1.6.18: `metadump hash` lists every live key once (`all` misses and doubles keys under reads);
one dump at a time a node, and a stalled reader can block the server: hence one lock over all processes, kept on
the node itself, reading to the end at full speed into a file, and parsing only afterwards.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from time import sleep
from typing import IO, Protocol
from urllib.parse import quote, unquote
from uuid import uuid4

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from api_service.caches.placement import Server
from api_service.sentences import sentence
from api_service.services.backends.base import (
    LISTING_TOO_LONG,
    LOCK_PREFIX,
    Deadline,
    Entry,
    InventoryError,
    error_text,
)

DUMP_LOCK = f"{LOCK_PREFIX}dump"
DUMP_LOCK_SECONDS = 120
# Of a lock that a node took unheard; longer than its owner asks whether it did
UNCLAIMED_SECONDS = 10
SPOOL_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
STALL_SECONDS = 5.0
BUSY_SECONDS = 0.1
EMPTY_TRIES = 3
EMPTY_SECONDS = 0.05
END = b"END\r\n"
HEAD_BYTES = 64
# Lines parsed at a time: more do not fit the processor's cache
BLOCK_BYTES = 64 * 1024
FIELDS = ("key", "exp", "fetch", "size")
ALREADY_EXPIRED = -1  # cas with it releases a lock atomically

OTHERS_LIST = sentence("another process is listing this node's keys: try again in a minute")
DIED = sentence("the node closed the connection amid its list of keys: it was stopped or has died")
NO_MEMCACHED = sentence("the node says %(said)s: is that a memcached?")
MIDWAY = sentence("timed out: its list of keys stopped midway")
NO_BEGINNING = sentence(
    "timed out: the node does not begin its list of keys; another connection may have asked for it and stopped "
    "reading: find it with `stats conns`, end it, and try again"
)
# Older versions take `hash` for a slab class, the oldest have no such command
TOO_OLD = sentence(
    "the node says %(said)s: it is too old to list its keys by `metadump hash`, memcached 1.6.9 or later can"
)
REFUSALS = {
    "CLIENT_ERROR lru crawler disabled": sentence(
        "the node says %(said)s: switch the crawler on with `lru_crawler enable`, or start memcached with -o "
        "lru_crawler"
    ),
    "ERROR metadump not allowed": sentence(
        "the node says %(said)s: start memcached without -X, which forbids every list of its keys"
    ),
    "ERROR": TOO_OLD,
    "BADCLASS": TOO_OLD,
}

_ERRORS = (OSError, MemcacheError)


class _Busy(Exception):
    """The crawler has work; the text is what the node said."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The node to be listed: its name and address, and how to get a client of it for the lock, by its time-out.

    `timeout` is the cache's own, the least that the lock's questions wait.
    """

    name: str
    server: Server
    client: Callable[[float], Client]
    connect_timeout: float
    timeout: float

    def patient(self, deadline: Deadline) -> Client:
        """Each of two questions waits for half of STALL_SECONDS, and both for half of what is left: others follow."""
        return self.client(max(self.timeout, min(STALL_SECONDS, deadline.left() / 2) / 2))


class Spool(Protocol):
    """Where a list goes to. It must take what comes at once: the node does not wait kindly."""

    def write(self, chunk: bytes, /) -> object: ...
    def tell(self) -> int: ...
    def seek(self, offset: int, /) -> object: ...


def scan(node: Listed, prefix: str, deadline: Deadline) -> Iterator[Entry]:
    """Every live key that starts with `prefix`. Raises InventoryError."""
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        dump(node, spool, deadline)
        spool.seek(0)
        try:
            yield from parse_dump(spool, prefix)
        except (KeyError, ValueError) as error:
            text = sentence("its list of keys cannot be read (%(error)s)") % {"error": error_text(error)}
            raise InventoryError(node.name, text) from error


def dump(node: Listed, spool: Spool, deadline: Deadline) -> None:
    """The node's whole list into `spool`, under its lock. Raises InventoryError."""
    try:
        with _dump_lock(node, deadline):
            _believable_dump(node, spool, deadline)
    except _ERRORS as error:
        raise InventoryError(node.name, error_text(error)) from error


@contextmanager
def _dump_lock(node: Listed, deadline: Deadline) -> Iterator[None]:
    token = uuid4().hex.encode()
    while not _taken(node, token, deadline):
        if not deadline.left():
            raise InventoryError(node.name, OTHERS_LIST)
        sleep(0.02)
    try:
        with closing(node.patient(deadline)) as client:
            client.touch(DUMP_LOCK, DUMP_LOCK_SECONDS, noreply=False)
        yield
    finally:
        _release(node, token, deadline)


def _taken(node: Listed, token: bytes, deadline: Deadline) -> bool:
    """A time-out does not tell whether the node takes the lock, now or later: hence the question and the short life."""
    with closing(node.patient(deadline)) as client:
        with suppress(OSError):
            if client.add(DUMP_LOCK, token, expire=UNCLAIMED_SECONDS, noreply=False):
                return True
        return bool(client.get(DUMP_LOCK) == token)


def _release(node: Listed, token: bytes, deadline: Deadline) -> None:
    for _attempt in range(2):
        # A node that has died took the lock along, on any other it ends by itself
        with suppress(*_ERRORS), closing(node.patient(deadline)) as client:
            held, cas = client.gets(DUMP_LOCK)
            if held == token:
                client.cas(DUMP_LOCK, token, cas, expire=ALREADY_EXPIRED, noreply=False)
            return


def _believable_dump(node: Listed, spool: Spool, deadline: Deadline) -> None:
    """A list without a line is asked for again where the node counts keys, and believed in the end.

    The lock is one of them. After a `flush_all` they are counted until the node reclaims them.
    """
    for attempt in range(EMPTY_TRIES):
        if attempt:
            sleep(EMPTY_SECONDS)
            spool.seek(0)
        _dump(node, spool, deadline)
        if spool.tell() > len(END) or _items(node, deadline) <= 1:
            return


def _items(node: Listed, deadline: Deadline) -> int:
    with closing(node.patient(deadline)) as client:
        return int(client.stats().get(b"curr_items", 0))


def _dump(node: Listed, spool: Spool, deadline: Deadline) -> None:
    """The whole list into `spool`; a node whose crawler is at work is asked again until the deadline.

    The last of the time is left: a question that gets no answer any more would hide what the node said before.
    """
    busy: _Busy | None = None
    while busy is None or deadline.left() > BUSY_SECONDS:
        try:
            with _connect(node.server, node.connect_timeout) as connection:
                _read(node.name, connection, spool, deadline)
            return
        except _Busy as said:
            busy = said
            sleep(min(BUSY_SECONDS, deadline.left()))
    text = sentence("the node says %(said)s: somebody else lists or crawls its keys, try again in a minute")
    raise InventoryError(node.name, text % {"said": repr(str(busy))}) from busy


def _read(node: str, connection: socket.socket, spool: Spool, deadline: Deadline) -> None:
    connection.sendall(b"lru_crawler metadump hash\r\n")
    head = tail = b""
    while not tail.endswith(END):
        chunk = _received(node, connection, deadline, begun=bool(head))
        if len(head) < HEAD_BYTES:
            head += chunk[:HEAD_BYTES]
            _raise_if_refused(node, head)
        spool.write(chunk)
        tail = (tail + chunk[-len(END) :])[-len(END) :]


def _received(node: str, connection: socket.socket, deadline: Deadline, *, begun: bool) -> bytes:
    """Waits for STALL_SECONDS at most: an unanswered request holds one of the node's threads, and its clients."""
    if not (left := deadline.left()):
        raise InventoryError(node, LISTING_TOO_LONG)
    connection.settimeout(min(left, STALL_SECONDS))
    try:
        chunk = connection.recv(CHUNK_BYTES)
    except TimeoutError as error:
        raise InventoryError(node, MIDWAY if begun else NO_BEGINNING) from error
    if not chunk:
        raise InventoryError(node, DIED)
    return chunk


def _raise_if_refused(node: str, head: bytes) -> None:
    """`head` is the begin of the reply: further on, a key of the list may read like a refusal."""
    line, complete, _rest = head.partition(b"\n")
    if line.startswith(b"key=") or line.rstrip() == END.rstrip() or not complete:
        return
    said = line.decode("ascii", "replace").strip()
    if said.startswith("BUSY"):
        raise _Busy(said)
    advice = next((advice for start, advice in REFUSALS.items() if said.startswith(start)), NO_MEMCACHED)
    raise InventoryError(node, advice % {"said": repr(said)})


def _connect(server: Server, timeout: float) -> socket.socket:
    if isinstance(server, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        connection.connect(server)
        return connection
    return socket.create_connection(server, timeout=timeout)


def parse_dump(spool: IO[bytes], prefix: str) -> Iterator[Entry]:
    """`key=%3A1%3Amigo%3Aruc_20100038146 exp=1795366162 la=… cas=3 fetch=yes cls=11 size=786`, `exp=-1` never.

    A million lines: whole blocks are matched by one pattern, made of the fields that the first line has. Raises
    KeyError or ValueError.
    """
    block = spool.readline()
    quoted = _plain(quote(prefix, safe="-_.~"))
    start, pattern = f"\nkey={quoted}", _line_pattern(block.decode("ascii"), quoted)
    while block:
        block += spool.read(BLOCK_BYTES)
        text = "\n" + _plain((block + spool.readline()).decode("ascii"))
        found = pattern.findall(text) if pattern else []
        if len(found) != text.count(start):
            found = [_fields(line) for line in text.split("\n") if f"\n{line}".startswith(start)]
        if LOCK_PREFIX in text:
            found = [fields for fields in found if LOCK_PREFIX not in fields[0]]
        for key, ends, read, size in found:
            name = unquote(key) if "%" in key else key
            yield Entry(name, int(size), None if ends.startswith("-") else float(ends), read == "yes")
        block = spool.readline()


def _plain(quoted: str) -> str:
    """Nearly every key has colons and nothing else that is quoted; no other escape can look like theirs."""
    return quoted.replace("%3A", ":")


def _line_pattern(line: str, quoted: str) -> re.Pattern[str] | None:
    """Of a line like `line` whose key begins with `quoted`: later versions of memcached add fields.

    None where the ones we read come in another order.
    """
    names = [field.partition("=")[0] for field in line.split()]
    if names[:1] != ["key"] or [name for name in names if name in FIELDS] != list(FIELDS):
        return None
    value = "[^ \n]*"
    others = [f" {re.escape(name)}=" + (f"({value})" if name in FIELDS else value) for name in names[1:]]
    return re.compile(f"\nkey=({re.escape(quoted)}{value})" + "".join(others))


def _fields(line: str) -> tuple[str, str, str, str]:
    """By name, whatever the line has beside them."""
    fields = dict(field.split("=", 1) for field in line.split())
    return fields["key"], fields["exp"], fields["fetch"], fields["size"]
