"""Connections of the Memcached backend: few, lasting, and never with somebody else's answer on them."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import NoReturn

import pytest
from django.core import signals
from django.core.cache import caches
from django.db import close_old_connections
from django.test import override_settings

from api_service.caches.connections import Node
from api_service.caches.memcached import MemcachedCache
from api_service.caches.wire import NodeClient, Stored
from tests.integration.caches.building import connections, memcached_cache
from tests.servers import Memcached
from tests.waiting import wait_until

THREADS = 32


@pytest.fixture
def cache(own_memcached: Memcached) -> Iterator[MemcachedCache]:
    cache = memcached_cache(own_memcached)
    yield cache
    cache.disconnect()


def only_node(cache: MemcachedCache) -> Node:
    (node,) = cache._nodes.values()
    return node


def test_32_threads_lose_no_answer_and_share_few_connections(own_memcached: Memcached, cache: MemcachedCache) -> None:
    data = {f"key{number}": {"number": number} for number in range(THREADS)}
    assert cache.store_many(data, 60) == []
    together = Barrier(THREADS)

    def read(number: int) -> tuple[int, int]:
        together.wait(timeout=30)
        # a second instance of the same settings uses the thread's connection too
        pair = (cache, memcached_cache(own_memcached))
        right = sum(pair[turn % 2].fetch(f"key{number}") == {"number": number} for turn in range(250))
        together.wait(timeout=60)
        return right, connections(own_memcached) if number == 0 else 0

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(read, range(THREADS)))
    assert [right for right, _open in results] == [250] * THREADS
    assert results[0][1] <= THREADS + 1
    wait_until(lambda: connections(own_memcached) <= 1, message="the connections of finished threads closed")


def test_a_finished_thread_leaves_no_socket_to_the_garbage_collector(
    own_memcached: Memcached, cache: MemcachedCache
) -> None:
    # an unclosed socket is a ResourceWarning, which the suite's settings make an error
    thread = threading.Thread(target=cache.fetch, args=("a",))
    thread.start()
    thread.join(timeout=10)
    gc.collect()
    wait_until(lambda: connections(own_memcached) == 0)
    assert cache.fetch("a", "a miss") == "a miss"
    # The server takes a moment to forget the connection that asked for its statistics
    wait_until(lambda: connections(own_memcached) == 1)


def test_the_connection_outlives_the_request(own_memcached: Memcached) -> None:
    backend = {"BACKEND": "api_service.caches.memcached.MemcachedCache", "LOCATION": own_memcached.address}
    signals.request_finished.disconnect(close_old_connections)
    try:
        with override_settings(CACHES={"default": backend}):
            for number in range(20):
                caches["default"].set("a", number, 60)
                signals.request_finished.send(None)
                assert caches["default"].get("a") == number
            cache = caches["default"]
    finally:
        signals.request_finished.connect(close_old_connections)
    wait_until(lambda: connections(own_memcached) == 1)
    assert isinstance(cache, MemcachedCache)
    cache.disconnect()
    wait_until(lambda: connections(own_memcached) == 0)


def test_bytes_that_wait_on_an_idle_connection_are_never_read_as_an_answer(cache: MemcachedCache) -> None:
    cache.store_many({"a": "of a", "b": "of b"}, 60)
    for _ in range(3):
        only_node(cache).call(_ask_and_walk_away, cache.make_key("a").encode())
        assert cache.fetch("b") == "of b"
    assert not only_node(cache).state.troubled


def _ask_and_walk_away(client: NodeClient, key: bytes) -> None:
    """As a caller would that was stopped between question and answer."""
    sock = client._connected()
    sock.sendall(b"get " + key + b"\r\n")
    # the answer is there
    sock.recv(1)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit, RuntimeError])
def test_an_interrupted_exchange_closes_its_socket(cache: MemcachedCache, interruption: type[BaseException]) -> None:
    cache.store_many({"a": "of a", "b": "of b"}, 60)

    def interrupted(client: NodeClient, key: bytes) -> None:
        client._connected().sendall(b"get " + key + b"\r\n")
        raise interruption

    with pytest.raises(interruption):
        only_node(cache).call(interrupted, cache.make_key("a").encode())
    assert cache.fetch("b") == "of b"
    # it was the caller who stopped, not the node
    assert not only_node(cache).state.troubled


def test_a_signal_handler_may_use_the_cache_in_the_middle_of_an_exchange(
    own_memcached: Memcached, cache: MemcachedCache
) -> None:
    cache.store_many({"a": "of a", "b": "of b"}, 60)

    def with_handler(client: NodeClient, key: bytes) -> bytes:
        sock = client._connected()
        sock.sendall(b"get " + key + b"\r\n")
        assert cache.fetch("b") == "of b"
        assert cache.fetch("absent", "a miss") == "a miss"
        return sock.recv(100)

    key = cache.make_key("a").encode()
    assert only_node(cache).call(with_handler, key) == b'VALUE %b 74 6\r\n"of a"\r\nEND\r\n' % key
    wait_until(lambda: connections(own_memcached) == 1, message="the handler's own connection closed")


def test_the_answer_to_another_question_is_refused(cache: MemcachedCache) -> None:
    cache.store("a", "of a", 60)

    def swapped(client: NodeClient) -> Stored | None:
        client._connected().sendall(b"get " + cache.make_key("a").encode() + b"\r\n")
        return client.fetch_one(b":1:b")

    assert cache.fetch("a") == "of a"
    with pytest.raises(Exception, match="another question"):
        only_node(cache).call(swapped)


def test_parent_and_forked_child_never_read_each_others_answers(cache: MemcachedCache) -> None:
    cache.store_many({"parent": "of the parent", "child": "of the child"}, 60)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(lambda: sum(cache.fetch("child") == "of the child" for _ in range(1_000)), writing)
    os.close(writing)
    right = sum(cache.fetch("parent") == "of the parent" for _ in range(1_000))
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _pid, status = os.waitpid(child, 0)
    assert (right, answer, status) == (1_000, "1000", 0)


def _in_child(work: Callable[[], object], writing: int) -> NoReturn:
    """Never returns: pytest must not run on in the child."""
    code = 1
    try:
        os.write(writing, str(work()).encode())
        code = 0
    finally:
        os._exit(code)


def test_a_forked_child_opens_a_connection_of_its_own(own_memcached: Memcached, cache: MemcachedCache) -> None:
    cache.store("a", 1, 60)

    def local_port() -> int:
        cache.fetch("a")
        return only_node(cache).call(lambda client: int(client._connected().getsockname()[1]))

    own = local_port()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(local_port, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert int(pipe.read()) != own
    assert os.waitpid(child, 0)[1] == 0
    # the child's end took nothing of the parent's with it
    assert local_port() == own


def test_a_child_forked_while_a_node_was_down_asks_for_itself(own_memcached: Memcached, cache: MemcachedCache) -> None:
    own_memcached.kill()
    assert cache.get("a") is None
    own_memcached.restart()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(lambda: cache.fetch("a", "a miss"), writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "a miss"
    assert os.waitpid(child, 0)[1] == 0
