"""A node that is dead, frozen or back: never mistaken for a miss, never paid for twice."""

import logging
from collections.abc import Callable

import pytest

from api_service.caches import node_state
from api_service.caches.errors import NodeUnavailable
from api_service.caches.fail_open import FailOpenCache
from api_service.caches.protocol import Replacement
from tests.integration.caches.building import frozen, memcached_cache, redis_cache
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

FROZEN = {"timeout": 0.2, "retry_interval": 1.0}


class Clock:
    """Of the caches. It stands still: an attempt too many is none that a slow machine made due."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("connections", "redis"):
        monkeypatch.setattr(f"api_service.caches.{module}.monotonic", clock)
    return clock


@pytest.fixture(params=["memcached", "redis"])
def server(request: pytest.FixtureRequest) -> Memcached | Redis:
    server: Memcached | Redis = request.getfixturevalue(f"own_{request.param}")
    return server


def cache_on(server: Memcached | Redis, **options: float) -> FailOpenCache:
    return memcached_cache(server, **options) if isinstance(server, Memcached) else redis_cache(server, **options)


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The node of each failed call."""
    calls: list[str] = []
    monkeypatch.setattr(node_state, "on_failure", [calls.append])
    return calls


def answers(cache: FailOpenCache) -> bool:
    try:
        cache.fetch("probe")
    except NodeUnavailable:
        return False
    return True


def test_a_dead_server_is_an_outage_to_strict_callers_and_a_miss_to_djangos(server: Memcached | Redis) -> None:
    cache = cache_on(server)
    cache.store("a", 1, 60)
    _one, version = cache.fetch_versions(["a"])[0]["a"]
    server.kill()
    strict: list[Callable[[], object]] = [
        lambda: cache.fetch("a"),
        lambda: cache.store("a", 2, 60),
        lambda: cache.remove("a"),
        lambda: cache.add_strict("b", 1, 60),
        lambda: cache.touch_strict("a", 60),
        lambda: cache.incr_strict("a"),
    ]
    for call in strict:
        with pytest.raises(NodeUnavailable, match=server.address):
            call()
    assert cache.fetch_many(["a", "b"]) == ({}, ["a", "b"])
    assert cache.claim_many(["a", "b"], 1, 60) == ({}, ["a", "b"])
    assert cache.fetch_versions(["a", "b"]) == ({}, ["a", "b"])
    assert cache.replace_many({"a": Replacement(1, version, 60)}) == {}
    assert cache.store_many({"a": 1, "b": 2}, 60) == ["a", "b"]
    assert cache.remove_many(["a"]) == ["a"]
    assert len(cache.clear_nodes()) == 1


def test_djangos_api_never_raises_because_a_server_is_down(server: Memcached | Redis, failed: list[str]) -> None:
    cache = cache_on(server)
    server.kill()
    assert cache.get("a", "default") == "default"
    assert (cache.add("a", 1), cache.delete("a"), cache.touch("a", 5), cache.has_key("a")) == (False,) * 4
    assert (cache.get_many(["a"]), cache.set_many({"a": 1})) == ({}, ["a"])
    cache.set("a", 1)
    cache.delete_many(["a"])
    cache.clear()
    with pytest.raises(ValueError, match="not found"):
        cache.incr("a")
    assert cache.get_or_set("a", "computed") == "computed"
    assert len(failed) >= 1


def test_a_frozen_server_costs_one_time_out_per_retry_interval(
    server: Memcached | Redis, failed: list[str], clock: Clock
) -> None:
    cache_on(server).store("a", 1, 60)
    cache = cache_on(server, **FROZEN)
    with frozen(server):
        for interval in range(1, 4):
            assert {cache.get("a") for _ in range(1_000)} == {None}
            assert len(failed) == interval
            clock.now += FROZEN["retry_interval"]

    def answers_later() -> bool:
        clock.now += FROZEN["retry_interval"]
        return answers(cache)

    wait_until(answers_later)
    assert cache.get("a") == 1


def test_another_cache_of_the_same_process_knows_at_once_that_the_server_is_down(
    server: Memcached | Redis, failed: list[str], clock: Clock
) -> None:
    first, second = cache_on(server, **FROZEN), cache_on(server, **FROZEN)
    with frozen(server):
        assert first.get("a") is None
        with pytest.raises(NodeUnavailable):
            second.fetch("a")
        assert len(failed) == 1


def test_a_restarted_server_serves_again_after_the_retry_interval(
    server: Memcached | Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="api_service.caches")
    cache = cache_on(server)
    cache.store("a", "before", 60)
    server.kill()
    assert not answers(cache)
    server.restart()
    wait_until(lambda: answers(cache), message="the server taken back")
    assert cache.fetch("a", "a miss") == "a miss"
    assert cache.store("a", "after", 60)
    assert cache.fetch("a") == "after"
    lines = [record for record in caplog.records if record.name == "api_service.caches"]
    assert [record.levelname for record in lines] == ["WARNING", "INFO"]


def test_a_restart_between_two_calls_is_not_even_an_outage(server: Memcached | Redis, failed: list[str]) -> None:
    cache = cache_on(server)
    cache.store("a", "before", 60)
    server.kill()
    server.restart()
    assert cache.fetch("a", "a miss") == "a miss"
    assert len(failed) == 0


def test_a_dead_node_keeps_its_keys_and_the_others_keep_theirs(own_cluster: list[Memcached]) -> None:
    cache = memcached_cache(*own_cluster)
    data = {f"ruc_{number}": number for number in range(300)}
    assert cache.store_many(data, 60) == []
    dead = own_cluster[1]
    own = {key for key in data if cache.placement.node_for(cache.make_key(key)) == dead.address}
    dead.kill()
    found, unreachable = cache.fetch_many(data)
    assert set(unreachable) == own
    assert found == {key: data[key] for key in data.keys() - own}
    assert set(cache.store_many(data, 60)) == own
    dead.restart()
    wait_until(lambda: cache.fetch_many(own)[1] == [], message="the dead node taken back")
    assert cache.fetch_many(data) == (found, [])
