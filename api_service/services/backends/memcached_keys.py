"""Keys of one memcached node as its list arrives, for who acts on each at once and needs nothing else of it.

The list is read by a thread of its own at full speed, whatever the one who takes the keys does: a reader that stalls
would slow the node down for everybody (`memcached_dump.py`). Lines of other keys cost next to nothing: the whole of
what has come is searched for ours at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from queue import SimpleQueue
from tempfile import TemporaryFile
from urllib.parse import quote, unquote

from api_service.services.backends import memcached_dump
from api_service.services.backends.base import LOCK_PREFIX, Deadline
from api_service.services.backends.memcached_dump import Listed

# A list of a hundred thousand keys, if nobody takes them
MEMORY_BYTES = 8 * 1024 * 1024


def keys(node: Listed, prefix: str, deadline: Deadline) -> Generator[str]:
    """Every live key that starts with `prefix`. Raises InventoryError, maybe after some keys."""
    with TemporaryFile(buffering=0) as spill, ThreadPoolExecutor(1, "key-list") as reader:
        backlog = Backlog(spill)
        reading = reader.submit(_read, node, backlog, deadline)
        try:
            for found in matched(backlog.chunks(), prefix):
                yield from found
            reading.result()
        finally:
            # The rest of the list is read and thrown away
            backlog.abandon()


def _read(node: Listed, backlog: Backlog, deadline: Deadline) -> None:
    try:
        memcached_dump.dump(node, backlog, deadline)
    finally:
        backlog.end()


class Backlog:
    """Bytes on their way from one thread to another: the writer never waits, what is too much for memory is spilled."""

    def __init__(self, spill: FileIO) -> None:
        self._spill = spill
        self._waiting: SimpleQueue[bytes | range | None] = SimpleQueue()
        # Each is written by one of the two threads only
        self._put = self._taken = self._written = self._spilled = 0
        self._abandoned = False

    def write(self, chunk: bytes) -> int:
        self._written += len(chunk)
        if self._abandoned:
            return len(chunk)
        if self._put - self._taken + len(chunk) <= MEMORY_BYTES:
            self._put += len(chunk)
            self._waiting.put(chunk)
        else:
            self._waiting.put(self._stored(chunk))
        return len(chunk)

    def tell(self) -> int:
        return self._written

    def seek(self, offset: int) -> int:
        """To the beginning, where a list that had no line is asked for again: its end is no key."""
        self._written = offset
        return offset

    def end(self) -> None:
        self._waiting.put(None)

    def abandon(self) -> None:
        self._abandoned = True

    def chunks(self) -> Iterator[bytes]:
        while (chunk := self._waiting.get()) is not None:
            if isinstance(chunk, range):
                yield os.pread(self._spill.fileno(), len(chunk), chunk.start)
            else:
                yield chunk
                self._taken += len(chunk)

    def _stored(self, chunk: bytes) -> range:
        place, rest = range(self._spilled, self._spilled + len(chunk)), memoryview(chunk)
        while rest:
            rest = rest[self._spill.write(rest) :]
        self._spilled = place.stop
        return place


def matched(chunks: Iterable[bytes], prefix: str) -> Iterator[list[str]]:
    """The keys of the lines that begin with `prefix`, of a list cut anywhere."""
    ours = re.compile(b"\nkey=(" + re.escape(quote(prefix, safe="-_.~").encode()) + b"[^ \n]*) ")
    rest = b"\n"
    for chunk in chunks:
        text = rest + chunk
        # The end of a line begins the next one: it stays with that
        cut = text.rfind(b"\n")
        rest = text[cut:]
        if found := ours.findall(text, 0, cut):
            yield _names(found)


def _names(found: list[bytes]) -> list[str]:
    # Nearly every key has colons and nothing else that is quoted; no other escape can look like theirs
    text = b" ".join(found).replace(b"%3A", b":").decode("ascii")
    names = text.split(" ")
    if "%" in text:
        names = [unquote(name) if "%" in name else name for name in names]
    return [name for name in names if LOCK_PREFIX not in name] if LOCK_PREFIX in text else names
