"""A copy of all keys against the bare reads and writes that it is made of, in the same run.

    python -m tests.benchmarks.copying --sizes 10000,100000,1000000

The bare side asks `get` for a thousand keys at a time and sends `set` for a thousand at a time, its replies only
counted; it neither lists the keys, nor places them, nor looks at ends of life, nor proves anything afterwards.
"""

import resource
import socket
from collections.abc import Iterator, Sequence
from time import time
from typing import Any

from redis import Redis as RedisClient

from tests.benchmarks.stage import Line, Scene, arguments, seconds, show, stage
from tests.servers import Memcached, Redis

BATCH = 1000
ENDS_IN = 3600


def main() -> None:
    options = arguments(__doc__)
    lines: list[Line] = []
    with stage(memcached=1) as scene:
        other, redis = Memcached(memory=2048).start(), Redis().start()
        try:
            for size in options.sizes:
                lines += measured(scene, other, redis, size)
        finally:
            other.close()
            redis.close()
    show(lines, as_json=options.json)


def measured(scene: Scene, other: Memcached, redis: Redis, size: int) -> list[Line]:
    from api_service.services.backends import Item, adapter_for

    [node] = scene.memcached
    for server in (node, other, redis):
        server.flush()
    names = [f":1:migo:ruc_{20_000_000_000 + number}" for number in range(size)]
    ends = time() + ENDS_IN
    data = b'{"v":1,"t":1795000000.0,"e":%.3f,"d":{"nombre":"%b"}}' % (ends, b"x" * 640)
    adapter = adapter_for()
    adapter.write(adapter.nodes()[0], (Item(name, data, ends) for name in names), replace=True)
    keys = [name.encode() for name in names]
    reading = seconds(lambda: bare_get(node.port, keys))
    writing = seconds(lambda: bare_set(other.port, keys, data))
    other.flush()
    redis_writing = seconds(lambda: bare_redis_set(redis.port, names, data))
    redis.flush()
    return [
        line(f"{size:,} keys, Memcached to Memcached", size, other.url, reading + writing),
        line(f"{size:,} keys, Memcached to Redis", size, redis.url, reading + redis_writing),
        line(f"{size:,} keys, again, all are there", size, redis.url, reading + redis_writing),
    ]


def line(what: str, size: int, url: str, bare: float) -> Line:
    from api_service.services import copying
    from api_service.services.backends import adapter_for_url
    from api_service.services.cache_service import APICacheService
    from api_service.services.copy_checks import Job

    service, before, summaries = APICacheService(), peak(), []
    job = Job(service.adapter, adapter_for_url(url, "--to"), service.wire_prefix)
    took = seconds(lambda: summaries.append(copying.copy(job)))
    [summary] = summaries
    assert summary["copied"] + summary["already_there"] == size, summary
    assert summary["missing"] == 0, summary
    assert summary["verdicts"] == {"same": summary["checked"]}, summary
    return Line(f"{what}, {peak() - before:.0f} MiB", size / took, "keys/s", took / bare, "bare get + set")


def bare_get(port: int, keys: Sequence[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for batch in batches(keys):
            connection.sendall(b"get " + b" ".join(batch) + b"\r\n")
            tail = b""
            while not tail.endswith(b"END\r\n"):
                tail = (tail + connection.recv(1 << 18))[-5:]


def bare_set(port: int, keys: Sequence[bytes], data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for batch in batches(keys):
            connection.sendall(
                b"".join(b"set %b 74 %d %d\r\n%b\r\n" % (key, ENDS_IN, len(data), data) for key in batch)
            )
            left = len(batch) * len(b"STORED\r\n")
            while left:
                left -= len(connection.recv(1 << 16))


def bare_redis_set(port: int, names: Sequence[str], data: bytes) -> None:
    client = RedisClient(port=port)
    for batch in batches(names):
        pipe = client.pipeline(transaction=False)
        for name in batch:
            pipe.set(name, data, ex=ENDS_IN)
        pipe.execute()
    client.close()


def batches(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (keys[at : at + BATCH] for at in range(0, len(keys), BATCH))


def peak() -> float:
    """The most memory this process ever had, in MiB: a copy that needed less than the set-up shows as 0."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
