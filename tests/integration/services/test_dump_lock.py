"""One list of a node at a time: the lock on the node itself, and a node that pauses while it is taken or freed."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import pytest

from api_service.services.backends import Deadline, InventoryError, adapter_for, memcached_dump
from api_service.services.backends.memcached_dump import DUMP_LOCK
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.servers import Memcached
from tests.waiting import wait_until


@contextmanager
def paused(node: Memcached, seconds: float) -> Iterator[None]:
    node.freeze()
    thaw = Timer(seconds, node.thaw)
    thaw.start()
    try:
        yield
    finally:
        thaw.join()


def listed(node: Memcached, seconds: float) -> list[str]:
    return [entry.key for entry in adapter_for().scan(node.address, "", Deadline.after(seconds))]


def lock_of(node: Memcached) -> str:
    return node.ask(f"get {DUMP_LOCK}")


@pytest.fixture
def node(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> Memcached:
    use_cache_url(url_of(own_memcached))
    own_memcached.ask("set a 0 0 1\r\n1")
    return own_memcached


@pytest.mark.parametrize("pause", [0.8, 2.4])
def test_a_node_that_pauses_while_the_lock_is_taken_is_listed_and_left_free(node: Memcached, pause: float) -> None:
    """Within the patience of one question, and beyond it: the node took the lock, and was not heard saying so."""
    with paused(node, pause):
        assert listed(node, 8) == ["a"]

    assert lock_of(node) == "END\r\n"


def test_a_node_that_pauses_while_the_lock_is_freed_is_left_free(
    node: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = memcached_dump._dump
    pauses = []

    def dump_then_pause(*arguments: object) -> None:
        dump(*arguments)  # type: ignore[arg-type]
        pause = paused(node, 2.4)
        pause.__enter__()
        pauses.append(pause)

    monkeypatch.setattr(memcached_dump, "_dump", dump_then_pause)
    assert listed(node, 8) == ["a"]
    pauses[0].__exit__(None, None, None)

    assert lock_of(node) == "END\r\n"


def test_a_lock_that_nobody_waited_for_ends_soon(node: Memcached, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node takes it when it goes on, long after its owner has given up."""
    monkeypatch.setattr(memcached_dump, "UNCLAIMED_SECONDS", 4)
    node.freeze()
    with pytest.raises(InventoryError, match="timed out"):
        listed(node, 1)
    node.thaw()

    wait_until(lambda: "VALUE" in lock_of(node))
    wait_until(lambda: lock_of(node) == "END\r\n")
    assert listed(node, 10) == ["a"]


def test_a_lock_that_is_held_lasts_as_long_as_a_list(node: Memcached, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(memcached_dump, "_dump", lambda *_: left.append(int(node.ask(f"mg {DUMP_LOCK} t")[4:])))
    listed(node, 5)

    assert left[0] > memcached_dump.DUMP_LOCK_SECONDS - 5
