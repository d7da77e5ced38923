"""Values of one memcached node, many at a time, by meta commands whose every reply is read.

Replies come in the order of the questions, so each one is known to be about which key. Writes are quiet (`q`): the
node says only which did not succeed, which saves it a third of its work. An error does not say which key it is about:
the keys of its batch are looked for then, and those that are missing are the ones.
"""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from time import time
from typing import IO, Final, TypeVar

from api_service.caches.placement import Server
from api_service.caches.serializer import JSON_FLAG
from api_service.sentences import sentence
from api_service.services.backends.base import Formed, Found, InventoryError, Item, Written, error_text

BATCH: Final = 1000
WRITE_BYTES: Final = 1_000_000
# Questions that wait while the node sends values must fit into the sockets' buffers, or both sides wait for ever
ASK_BYTES: Final = 32_000
AHEAD: Final = 2
MAX_KEY_BYTES: Final = 250
# Memcached reads more as a Unix time
LONGEST_RELATIVE: Final = 30 * 86_400

ADD: Final = " ME"
_SET: Final = f"ms {{key}} {{size}} T{{seconds}} F{JSON_FLAG}{{mode}} q\r\n{{data}}\r\n"
_ASK_END: Final = b"mn\r\n"
_FLAG: Final = b"f%d" % JSON_FLAG
_END: Final = b"MN\r\n"
_EXISTS: Final = b"NS\r\n"
_REMOVED: Final = b"HD\r\n"
_NOT_FOUND: Final = b"NF\r\n"
_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f]")
_RECEIVE_BYTES: Final = 1 << 18

Ask = TypeVar("Ask")
# What is asked about, and the bytes that ask it
Batch = tuple[list[Ask], bytes]


@dataclass(frozen=True, slots=True)
class Address:
    """One node. `timeout` is for each wait on the socket, not for the whole work."""

    name: str
    server: Server
    connect_timeout: float
    timeout: float


def read(node: Address, keys: Iterable[str]) -> Found:
    """`u` leaves the node's own order of use and its `fetch` mark as they are: reading here is no use."""
    found = Found()

    def take(replies: IO[bytes], asked: Sequence[str]) -> None:
        for key in asked:
            _take_value(node.name, replies, key, found)

    _exchange(node, _questions(b"mg %b v f u%b\r\n", keys), take)
    return found


def write(node: Address, items: Iterable[Item | Formed], *, replace: bool) -> Written:
    """What is `Formed` has been made by `add_form`: it does not replace in any case."""
    written = Written()

    def take(replies: IO[bytes], asked: Sequence[str]) -> None:
        existed, errors = _complaints(node.name, replies)
        refused = _refused(node, asked, errors) if errors else {}
        written.stored += len(asked) - existed - len(errors)
        # One that is there after all: traffic has written it since
        written.existed += existed + len(errors) - len(refused)
        written.refused.update(refused)

    stores = _stores(items, "" if replace else ADD, written)
    _exchange(node, ((asked, request + _ASK_END) for asked, request in stores), take)
    return written


def add_form(*, key: str, size: str, seconds: str, data: str) -> str:
    """A quiet write of a key that must not exist, of the texts of its parts: `data` has `size` bytes."""
    return _SET.format(key=key, size=size, seconds=seconds, mode=ADD, data=data)


def remove(node: Address, keys: Iterable[str]) -> int:
    removed = 0

    def take(replies: IO[bytes], asked: Sequence[str]) -> None:
        nonlocal removed
        removed += _removed(node.name, replies, len(asked))

    _exchange(node, _questions(b"md %b%b\r\n", keys), take)
    return removed


def expiry(expires_at: float | None, now: float) -> int | None:
    """Memcached's form of an end of life, in whole seconds: 0 for never, None for what has hardly one left.

    Relative, as the clock of the node may be another; beyond 30 days there is no choice.
    """
    if expires_at is None:
        return 0
    left = int(expires_at - now + 0.5)
    if left < 1:
        return None
    return left if left <= LONGEST_RELATIVE else int(expires_at)


TOO_OLD = sentence("the node says 'ERROR': memcached 1.6 or later is needed, with meta commands")


def why_unusable(key: str) -> str:
    """Why memcached cannot have that key, "" when it can."""
    if key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= MAX_KEY_BYTES:
        return ""
    if not 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY_BYTES:
        return sentence("the key is empty or longer than %(most)s bytes") % {"most": MAX_KEY_BYTES}
    return sentence("the key has spaces or control characters") if _UNUSABLE.search(key) else ""


# -- the conversation


def _exchange(node: Address, batches: Iterable[Batch[Ask]], take: Callable[[IO[bytes], Sequence[Ask]], None]) -> None:
    """Send a few batches ahead, hand the replies of each to `take`. Raises InventoryError naming the node."""
    waiting: deque[list[Ask]] = deque()
    try:
        with _connection(node) as (connection, replies):
            for asked, request in batches:
                connection.sendall(request)
                waiting.append(asked)
                if len(waiting) > AHEAD:
                    take(replies, waiting.popleft())
            while waiting:
                take(replies, waiting.popleft())
    except OSError as error:
        raise InventoryError(node.name, error_text(error)) from error


@contextmanager
def _connection(node: Address) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    with _connect(node) as connection:
        connection.settimeout(node.timeout)
        with BufferedReader(connection.makefile("rb", 0), _RECEIVE_BYTES) as replies:
            connection.sendall(_ASK_END)
            if (hello := replies.readline()) != _END:
                raise _unexpected(node.name, hello)
            yield connection, replies


def _connect(node: Address) -> socket.socket:
    if not isinstance(node.server, str):
        return socket.create_connection(node.server, timeout=node.connect_timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(node.connect_timeout)
        connection.connect(node.server)
    except BaseException:
        connection.close()
        raise
    return connection


def _unexpected(node: str, reply: bytes) -> InventoryError:
    if not reply.endswith(b"\n"):
        return InventoryError(node, sentence("the node closed the connection amid its answers"))
    if reply.startswith(b"ERROR"):
        return InventoryError(node, TOO_OLD)
    kind = reply.split()[:1]
    # The head only: out of step, a line may be a piece of somebody's value
    if kind and kind[0] in {b"CLIENT_ERROR", b"SERVER_ERROR"}:
        return InventoryError(node, sentence("the node says %(said)s") % {"said": repr(_text(reply))})
    return InventoryError(node, sentence("the node says 'an unexpected answer'"))


def _text(reply: bytes) -> str:
    return reply.rstrip().decode("ascii", "replace")[:200]


# -- questions and answers


def _questions(form: bytes, keys: Iterable[str]) -> Iterator[Batch[str]]:
    """`form` has the place of a key and of the flag of its spelling."""
    head, *others = form.split(b"%b")
    tail = b"".join(others)
    for some in _few(keys, len(form)):
        if _are_plain(some):
            yield some, head + (tail + head).join([key.encode() for key in some]) + tail
        elif asked := [(key, name) for key in some if (name := _name(key))]:
            yield [key for key, _ in asked], b"".join([form % name for _, name in asked])


def _few(keys: Iterable[str], around: int) -> Iterator[list[str]]:
    """So many that their questions, with `around` bytes about each key, have ASK_BYTES at most."""
    rest = iter(keys)
    while some := list(islice(rest, BATCH)):
        longest = max(map(len, some)) + around
        step = max(1, ASK_BYTES // longest)
        yield from (some[start : start + step] for start in range(0, len(some), step))


def _name(key: str) -> tuple[bytes, bytes] | None:
    """The key as it is asked for, with the flag of its spelling; None for one that no node can hold.

    Keys with spaces come from clients of the binary protocol: sent as they are, they would read as commands.
    """
    if not why_unusable(key):
        return key.encode(), b""
    coded = b64encode(key.encode("utf-8", "replace"))
    return (coded, b" b") if 0 < len(coded) <= MAX_KEY_BYTES else None


def _stores(items: Iterable[Item | Formed], mode: str, written: Written) -> Iterator[Batch[str]]:
    form = _SET.format(key="%b", size="%d", seconds="%d", mode=mode, data="%b").encode()
    for batch in _batches(items):
        if isinstance(batch, Formed):
            yield batch.keys, batch.request
            continue
        now, asked, lines = time(), list[str](), list[bytes]()
        for key, data, expires_at in batch if _are_plain([item[0] for item in batch]) else _usable(batch, written):
            if (seconds := expiry(expires_at, now)) is not None:
                asked.append(key)
                lines.append(form % (key.encode(), len(data), seconds, data))
        if asked:
            yield asked, b"".join(lines)


def _batches(items: Iterable[Item | Formed]) -> Iterator[list[Item] | Formed]:
    """So many items at a time that a request stays small, in number and in bytes."""
    some: list[Item] = []
    size = 0
    for item in items:
        if isinstance(item, Formed):
            yield item
            continue
        if some and (len(some) == BATCH or size + len(item[1]) > WRITE_BYTES):
            yield some
            some, size = [], 0
        some.append(item)
        size += len(item[1])
    if some:
        yield some


def _are_plain(keys: Sequence[str]) -> bool:
    """None of the keys can be unusable; asked of all at once, as nearly always it is so."""
    text = "".join(keys)
    printable = text.isascii() and text.isprintable() and " " not in text
    return printable and "" not in keys and max(map(len, keys)) <= MAX_KEY_BYTES


def _usable(items: Iterable[Item], written: Written) -> Iterator[Item]:
    for item in items:
        if reason := why_unusable(item.key):
            written.refused[item.key] = reason
        else:
            yield item


def _complaints(node: str, replies: IO[bytes]) -> tuple[int, list[str]]:
    """What the node says of a batch of quiet writes: how many keys existed, and its errors in the batch's order."""
    existed, errors = 0, list[str]()
    while (reply := replies.readline()) != _END:
        if reply == _EXISTS:
            existed += 1
        elif reply.startswith(b"SERVER_ERROR") and reply.endswith(b"\n"):
            errors.append(_text(reply))
        else:
            raise _unexpected(node, reply)
    return existed, errors


def _removed(node: str, replies: IO[bytes], count: int) -> int:
    """How many of that many deletes found their key. What is no error has four bytes, and errors have more."""
    said = replies.read(count * len(_REMOVED))
    removed = said.count(_REMOVED)
    if removed + said.count(_NOT_FOUND) < count:
        lines = said.splitlines(keepends=True)
        wrong = next((line for line in lines if line not in (_REMOVED, _NOT_FOUND)), b"")
        raise _unexpected(node, wrong if wrong.endswith(b"\n") else wrong + replies.readline())
    return removed


def _refused(node: Address, asked: Sequence[str], errors: Sequence[str]) -> dict[str, str]:
    """Memcached drops what it had under a key that it refuses."""
    missing: list[str] = []

    def take(replies: IO[bytes], keys: Sequence[str]) -> None:
        for key in keys:
            reply = replies.readline()
            if reply == b"EN\r\n":
                missing.append(key)
            elif reply != b"HD\r\n":
                raise _unexpected(node.name, reply)

    _exchange(node, _questions(b"mg %b u%b\r\n", asked), take)
    return dict(zip(missing, errors, strict=False))


def _take_value(node: str, replies: IO[bytes], key: str, found: Found) -> None:
    head = replies.readline()
    if head == b"EN\r\n":
        found.misses += 1
        return
    parts = head.split()
    if len(parts) < 3 or parts[0] != b"VA":
        raise _unexpected(node, head)
    size = int(parts[1])
    data = replies.read(size + 2)
    if len(data) != size + 2:
        raise _unexpected(node, b"")
    found.hits += 1
    if parts[2] == _FLAG:
        found.values[key] = data[:-2]
    else:
        found.foreign.append(key)
