"""What clearing one service costs, as a ratio to the bare pipelined deletes of the same keys in the same run.

    python -m tests.benchmarks.clearing [--sizes 10000,100000,1000000] [--rounds 3] [--json]

One tenth of the keys of one memcached is the service that is cleared. The deletes are sent over a raw socket a
thousand at a time, their replies read; they know the keys. A clearing has to find them first, and the server makes
its list at its own speed, in one thread: "the node's list" is what a raw reader that throws it away waits for, and no
clearing by the live list ends before. Where that row alone is above the target, the server cannot meet it; the last row
tells what is ours.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from statistics import median

from tests.benchmarks.stage import Line, arguments, seconds, show, stage
from tests.servers import Memcached

BATCH = 1000
LIFE = 3600
TARGET = 3.0
RECORD = b'{"v":1,"t":1795362562.0,"e":1795366162.0,"d":{"ruc":"20100038146","nombre":"%s"}}' % (b"x" * 260)


class Raw:
    """The least that any client must do."""

    def __init__(self, server: Memcached) -> None:
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fill(self, keys: Iterable[bytes]) -> None:
        for batch in batches(keys):
            items = (b"ms %b %d T%d q\r\n%b\r\n" % (key, len(RECORD), LIFE, RECORD) for key in batch)
            self.socket.sendall(b"".join(items) + b"mn\r\n")
            assert self._read(1) == b"MN\r\n"

    def delete(self, keys: Iterable[bytes]) -> None:
        for batch in batches(keys):
            self.socket.sendall(b"".join(b"delete %b\r\n" % key for key in batch))
            assert self._read(len(batch)) == b"DELETED\r\n" * len(batch)

    def _read(self, lines: int) -> bytes:
        reply = b""
        while reply.count(b"\n") < lines:
            reply += self.socket.recv(65_536)
        return reply

    def dump(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(b"lru_crawler metadump hash\r\n")
            tail = b""
            while not tail.endswith(b"END\r\n"):
                tail = (tail + connection.recv(1 << 20))[-8:]


def batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch


def measured(rounds: int, before: Callable[[], None], run: Callable[[], object]) -> float:
    """Median seconds of `run`; `before` is not counted."""

    def once() -> float:
        before()
        return seconds(run)

    return median([once() for _ in range(rounds)])


def lines_of(size: int, rounds: int, raw: Raw) -> list[Line]:
    from api_service.services import clearing
    from api_service.services.backends import Deadline
    from api_service.services.cache_service import APICacheService

    ours = [b":1:migo:ruc_%d" % (20_000_000_000 + number) for number in range(size // 10)]
    raw.server.flush()
    raw.fill(b":1:nubefact:doc_%d" % number for number in range(size - len(ours)))
    cache, cleared = APICacheService(), list[int]()
    [node] = cache.adapter.nodes()

    def fill() -> None:
        raw.fill(ours)

    def list_ours() -> None:
        found = sum(1 for _ in cache.adapter.scan(node, ":1:migo:", Deadline.after(120)))
        assert found == len(ours), found

    def clear() -> None:
        cleared.append(cache.clear_service_cache("migo")["removed"])

    def clear_on_record() -> None:
        summary = clearing.clear(clearing.request("migo", via="command"))
        assert summary["state"] == "done", summary
        cleared.append(summary["removed"])

    bare = measured(rounds, fill, lambda: raw.delete(ours))
    dump = measured(rounds, fill, raw.dump)
    listing = measured(rounds, fill, list_ours)
    clear_all = measured(rounds, fill, clear)
    recorded = measured(rounds, fill, clear_on_record)
    assert cleared == [len(ours)] * 2 * rounds, cleared

    def line(what: str, value: float, target: float | None = None) -> Line:
        return Line(f"{len(ours):,} of {size:,} keys: {what}", value, "s", value / bare, "the bare deletes", target)

    return [
        line("bare pipelined deletes", bare),
        line("the node's list, thrown away", dump),
        line("our listing of the service", listing),
        line("clear_service_cache", clear_all, TARGET),
        line("the same on record", recorded, TARGET),
        Line(
            f"{len(ours):,} of {size:,} keys: clear_service_cache",
            clear_all,
            "s",
            clear_all / dump,
            "the node's list, before whose end no clearing by it ends",
        ),
    ]


def main() -> None:
    asked = arguments(__doc__, rounds="3")
    with stage(database="sqlite", memcached=1) as scene:
        raw = Raw(scene.memcached[0])
        show([line for size in asked.sizes for line in lines_of(size, int(asked.rounds), raw)], as_json=asked.json)


if __name__ == "__main__":
    main()
