"""One connection to one memcached: pymemcache's client, with the hot commands spoken here.

pymemcache's generic `get` costs half again as much as the exchange itself, and its store command
forgets the other replies of a batch at the first refused value. Reads and stores are therefore
framed in this module; all other commands are pymemcache's own.
"""

import select
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from api_service.caches.placement import Server
from api_service.caches.serializer import JSON_FLAG
from api_service.sentences import sentence

T = TypeVar("T")
# a value as stored: (flags, data)
Stored = tuple[bytes, bytes]


class Write(NamedTuple):
    """One value to write, only where `version` is the key's, or where there is no value yet when it is None."""

    key: bytes
    data: bytes
    expire: int
    version: int | None = None


_ONE = 4096
_BULK = 65536
_NOT_WRITTEN = frozenset({b"NS", b"EX", b"NF"})
# replies wait in the socket's buffer while we still send: a batch must fit on both sides
_BATCH = 1000
# the time-out is for a whole batch, not for each of its items
_BATCH_BYTES = 1_000_000


class NodeClient(Client):  # type: ignore[misc]  # pymemcache ships no types
    """Keys are bytes that the cache backend has validated."""

    sock: socket.socket | None

    def __init__(self, server: Server, *, connect_timeout: float, timeout: float, no_delay: bool) -> None:
        super().__init__(
            server,
            connect_timeout=connect_timeout,
            timeout=timeout,
            no_delay=no_delay,
            default_noreply=False,
        )
        self.busy = False

    def check_key(self, key: bytes | str, key_prefix: bytes) -> bytes:  # noqa: ARG002 - pymemcache's signature
        """Nothing to check: pymemcache would do again what the backend did."""
        return key if isinstance(key, bytes) else key.encode()

    def _connect(self) -> None:
        """Try every address of the host; pymemcache tries the first only.

        `localhost` is `::1` first on many machines where memcached listens on 127.0.0.1 alone.
        """
        self.close()
        if isinstance(self.server, str):
            sock = self._connect_unix(self.server)
        else:
            sock = socket.create_connection(self.server, timeout=self.connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(self.no_delay))
        sock.settimeout(self.timeout)
        self._idle = select.poll()
        self._idle.register(sock, select.POLLIN)
        self.sock = sock

    def _connect_unix(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.connect_timeout)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return sock

    def make_ready(self) -> None:
        """A connection on which nothing waits (0.7 µs when there is one).

        An idle connection with something to read was closed by the server or holds the answer
        to a question that nobody waits for any more: neither may be used.
        """
        if self.sock is None or self._idle.poll(0):
            self._connect()

    def _connected(self) -> socket.socket:
        if self.sock is None:
            raise MemcacheUnexpectedCloseError
        return self.sock

    def fetch_one(self, key: bytes) -> Stored | None:
        sock = self._connected()
        sock.sendall(b"get " + key + b"\r\n")
        reply = sock.recv(_ONE)
        if reply == b"END\r\n":
            return None
        head = reply.find(b"\r\n")
        while head < 0:
            reply += self._more()
            head = reply.find(b"\r\n")
        if head == 3 and reply.startswith(b"END"):
            return None
        flags, size = _value_line(reply[:head], key)
        start = head + 2
        stop = start + size
        reply = self._read_to(reply, stop + 7)
        if reply[stop:] != b"\r\nEND\r\n":
            raise MemcacheUnknownError(sentence("unexpected bytes after a value"))
        return flags, reply[start:stop]

    def fetch_many(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        return {key: item for key, (item, _version) in self._fetch(b"get", keys).items()}

    def fetch_versions(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Stored, int]]:
        return self._fetch(b"gets", keys)

    def _fetch(self, command: bytes, keys: Sequence[bytes]) -> dict[bytes, tuple[Stored, int]]:
        found: dict[bytes, tuple[Stored, int]] = {}
        for at in range(0, len(keys), _BATCH):
            self._connected().sendall(command + b" " + b" ".join(keys[at : at + _BATCH]) + b"\r\n")
            self._read_values(found)
        return found

    def _read_values(self, found: dict[bytes, tuple[Stored, int]]) -> None:
        reply, at = self._more(), 0
        while True:
            head = reply.find(b"\r\n", at)
            while head < 0:
                reply, at = reply[at:] + self._more(), 0
                head = reply.find(b"\r\n")
            line = reply[at:head]
            if line == b"END" and head + 2 == len(reply):
                return
            key, flags, size, version = _split_value_line(line)
            start = head + 2
            stop = start + size
            if stop + 2 > len(reply):
                reply, start, stop = self._read_to(reply[start:], size + 2), 0, size
            found[key] = (flags, reply[start:stop]), version
            at = stop + 2

    def set_items(self, items: Sequence[tuple[bytes, bytes]], flags: int, expire: int) -> list[bool]:
        """Set every (key, data); a key whose new value is refused loses its old one too."""
        stored = self.store_items(b"set", items, flags, expire)
        refused = [key for (key, _data), done in zip(items, stored, strict=True) if not done]
        if refused:
            self.delete_many(refused)
        return stored

    def store_items(self, command: bytes, items: Sequence[tuple[bytes, bytes]], flags: int, expire: int) -> list[bool]:
        """Send `set` or `add` for every (key, data); True where the server stored it."""
        stored: list[bool] = []
        for batch in _batches(items):
            lines = [
                b"%b %b %d %d %d\r\n%b\r\n" % (command, key, flags, expire, len(data), data) for key, data in batch
            ]
            self._connected().sendall(b"".join(lines))
            stored += [_was_stored(line) for line in self._read_lines(len(batch))]
        return stored

    def write_versions(self, writes: Sequence[Write]) -> dict[bytes, int]:
        """Write each that its condition allows; the new versions of those. Meta commands: memcached 1.6.9 or later."""
        versions: dict[bytes, int] = {}
        for batch in _batches([(write, write.data) for write in writes]):
            self._connected().sendall(b"".join(_conditional(write) for write, _data in batch))
            for (write, _data), line in zip(batch, self._read_lines(len(batch)), strict=True):
                if (version := _version_written(line)) is not None:
                    versions[write.key] = version
        return versions

    def _read_lines(self, count: int) -> list[bytes]:
        reply = b""
        while reply.count(b"\r\n") < count:
            reply += self._more()
        *lines, rest = reply.split(b"\r\n")
        if rest or len(lines) != count:
            raise MemcacheUnknownError(sentence("more replies than questions"))
        return lines

    def _read_to(self, reply: bytes, length: int) -> bytes:
        if len(reply) >= length:
            return reply
        chunks, missing = [reply], length - len(reply)
        while missing > 0:
            chunks.append(self._more(max(missing, _ONE)))
            missing -= len(chunks[-1])
        return b"".join(chunks)

    def _more(self, size: int = _BULK) -> bytes:
        data = self._connected().recv(size)
        if not data:
            raise MemcacheUnexpectedCloseError
        return data


def _batches(items: Sequence[tuple[T, bytes]]) -> Iterator[Sequence[tuple[T, bytes]]]:
    first, size = 0, 0
    for position, (_what, data) in enumerate(items):
        if position > first and (position - first == _BATCH or size + len(data) > _BATCH_BYTES):
            yield items[first:position]
            first, size = position, 0
        size += len(data)
    if items:
        yield items[first:]


def _conditional(write: Write) -> bytes:
    """A meta set that answers with the new version; `ME` stores where nothing is, `C` where that version is."""
    mode = b"ME" if write.version is None else b"C%d" % write.version
    head = b"ms %b %d T%d F%d %b c\r\n" % (write.key, len(write.data), write.expire, JSON_FLAG, mode)
    return head + write.data + b"\r\n"


def _version_written(line: bytes) -> int | None:
    """None where something else is there, or the value was refused."""
    kind, _, version = line.partition(b" c")
    if kind == b"HD" and version.isdigit():
        return int(version)
    if kind in _NOT_WRITTEN or line.startswith(b"SERVER_ERROR"):
        return None
    raise _unexpected(line)


def _value_line(line: bytes, asked: bytes) -> tuple[bytes, int]:
    key, flags, size, _version = _split_value_line(line)
    if key != asked:
        raise MemcacheUnknownError(sentence("the answer to another question"))
    return flags, size


def _split_value_line(line: bytes) -> tuple[bytes, bytes, int, int]:
    """Key, flags, size, and the version where it was asked for."""
    parts = line.split(b" ")
    if len(parts) not in {4, 5} or parts[0] != b"VALUE" or not all(part.isdigit() for part in parts[3:]):
        raise _unexpected(line)
    return parts[1], parts[2], int(parts[3]), int(parts[4]) if len(parts) == 5 else 0


def _was_stored(line: bytes) -> bool:
    """A value that is too large or finds no memory is refused with SERVER_ERROR."""
    if line == b"STORED":
        return True
    if line == b"NOT_STORED" or line.startswith(b"SERVER_ERROR"):
        return False
    raise _unexpected(line)


def _unexpected(line: bytes) -> MemcacheServerError | MemcacheUnknownError:
    # the head only: a desynchronised line can be a piece of somebody's value
    kind, _, text = line.partition(b" ")
    if kind == b"SERVER_ERROR":
        return MemcacheServerError(text[:80].decode("ascii", "replace"))
    is_refusal = kind in (b"ERROR", b"CLIENT_ERROR")
    return MemcacheUnknownError(kind.decode() if is_refusal else sentence("unexpected answer"))
