"""Cache instances on the servers of a test, with the short intervals a test can wait for."""

import contextlib
from collections.abc import Iterator

from api_service.caches.memcached import MemcachedCache
from api_service.caches.redis import RedisJSONCache
from tests.servers import Memcached, Redis


def memcached_cache(*servers: Memcached, timeout: float = 2.0, retry_interval: float = 0.5) -> MemcachedCache:
    options = {"timeout": timeout, "connect_timeout": timeout, "retry_interval": retry_interval}
    return MemcachedCache([server.address for server in servers], {"OPTIONS": options})


def redis_cache(server: Redis, *, timeout: float = 2.0, retry_interval: float = 0.5) -> RedisJSONCache:
    options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry_interval": retry_interval}
    return RedisJSONCache(server.url, {"OPTIONS": options})


@contextlib.contextmanager
def frozen(server: Memcached | Redis) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def connections(server: Memcached) -> int:
    """Of clients: without the one that asks."""
    return int(server.stats()["curr_connections"]) - 1
