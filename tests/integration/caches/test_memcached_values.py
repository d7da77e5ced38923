"""What only a memcached server can do to a value."""

import pickle
from collections import Counter
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pymemcache.client.base import Client

from api_service.caches import node_state, serializer
from api_service.caches.memcached import MemcachedCache
from api_service.caches.serializer import JSON_FLAG
from tests.integration.caches.building import memcached_cache
from tests.servers import Memcached

TOO_LARGE = "x" * 1_100_000


@pytest.fixture
def cache(memcached: Memcached) -> MemcachedCache:
    return memcached_cache(memcached)


def test_a_value_too_large_is_reported_and_the_old_one_does_not_survive(
    cache: MemcachedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    monkeypatch.setattr(node_state, "on_failure", [failed.append])
    cache.store("a", "old", 60)
    assert cache.store("a", TOO_LARGE, 60) is False
    assert cache.fetch("a", "a miss") == "a miss"
    assert cache.add_strict("b", TOO_LARGE, 60) is False
    # No fault of the node
    assert failed == []


def test_one_refused_value_does_not_cost_the_others_of_its_batch(cache: MemcachedCache) -> None:
    cache.store("large", "old", 60)
    data: dict[str, Any] = {"first": 1, "large": TOO_LARGE, "last": 3}
    assert cache.store_many(data, 60) == ["large"]
    assert cache.fetch_many(data) == ({"first": 1, "last": 3}, [])


def test_values_of_other_clients_are_misses_counted_and_never_unpickled(
    memcached: Memcached, cache: MemcachedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(serializer, "on_unreadable", [reasons.append])
    with_flag = {"pickled": (pickle.dumps({"a": 1}), 1), "text": (b"plain", 0), "broken": (b'{"a":', JSON_FLAG)}
    client = Client(memcached.address, default_noreply=False, timeout=5, connect_timeout=5)
    for key, (data, flags) in with_flag.items():
        client.set(cache.make_key(key), data, flags=flags)
    client.close()
    assert [cache.fetch(key, "a miss") for key in with_flag] == ["a miss"] * 3
    assert cache.get_many(with_flag) == {}
    assert Counter(reasons) == {"unknown flag": 4, "broken JSON": 2}


def test_unreachable_options_and_locations_fail_at_start_up() -> None:
    with pytest.raises(ImproperlyConfigured, match="ignore_exc"):
        MemcachedCache("127.0.0.1:11211", {"OPTIONS": {"ignore_exc": True}})
    with pytest.raises(ImproperlyConfigured, match="LOCATION"):
        MemcachedCache("", {})


def test_long_batches_of_long_keys_are_answered(cache: MemcachedCache) -> None:
    data = {f"{'k' * 200}{number:05}": "x" * 1_000 for number in range(3_000)}
    assert cache.store_many(data, 60) == []
    assert cache.fetch_many(data) == (data, [])


def test_a_host_name_reaches_the_address_that_listens(memcached: Memcached) -> None:
    # `localhost` is ::1 first on many machines; the server listens on 127.0.0.1 alone
    cache = MemcachedCache(f"localhost:{memcached.port}", {})
    assert cache.store("a", 1, 60) is True
    assert cache.fetch("a") == 1
    cache.disconnect()


def test_a_batch_of_large_values_is_not_one_time_out(memcached: Memcached) -> None:
    cache = memcached_cache(memcached, timeout=0.5)
    data = {f"k{number}": "x" * 50_000 for number in range(600)}
    assert cache.store_many(data, 60) == []
    assert cache.fetch_many(list(data)[:500]) == (dict(list(data.items())[:500]), [])
