"""One suite, three backends: what a caller may rely on wherever the answers are kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache.backends.base import InvalidCacheKey

from api_service.caches import node_state
from api_service.caches.fail_open import FailOpenCache
from api_service.caches.local import LocalMemoryCache
from api_service.caches.memcached import MemcachedCache
from api_service.caches.protocol import Replacement, StrictCache, Version
from api_service.caches.redis import RedisJSONCache
from api_service.caches.wire import NodeClient
from tests.integration.caches.building import memcached_cache, redis_cache
from tests.waiting import wait_until

RECORD = {"success": True, "ruc": "20100038146", "deuda": 1.5, "lote": None, "rubros": ["Ñ", 2, {"x": []}]}
Backend = FailOpenCache | LocalMemoryCache


@pytest.fixture(params=["memcached", "memcached_cluster", "redis", "local_memory"])
def cache(request: pytest.FixtureRequest) -> Iterator[Backend]:
    match request.param:
        case "memcached":
            yield memcached_cache(request.getfixturevalue("memcached"))
        case "memcached_cluster":
            yield memcached_cache(*request.getfixturevalue("memcached_cluster"))
        case "redis":
            yield redis_cache(request.getfixturevalue("redis_server"))
        case _:
            local = LocalMemoryCache(uuid4().hex, {})
            yield local
            local.clear()


def test_every_backend_has_the_strict_methods(cache: Backend) -> None:
    assert isinstance(cache, StrictCache)


def test_a_stored_record_comes_back_equal_and_is_the_callers_own(cache: Backend) -> None:
    assert cache.store("ruc", RECORD, 60) is True
    cache.fetch("ruc")["ruc"] = "changed"
    assert cache.fetch("ruc") == RECORD
    assert cache.get("ruc") == RECORD


def test_a_miss_is_the_default_and_a_stored_none_is_a_hit(cache: Backend) -> None:
    assert cache.fetch("absent", "default") == "default"
    cache.store("none", None, 60)
    assert cache.fetch("none", "default") is None
    assert "none" in cache
    assert "absent" not in cache


def test_both_apis_refuse_what_is_not_json_and_name_the_key(cache: Backend) -> None:
    cache.store("when", "old", 60)
    for write in (cache.store, cache.add_strict, cache.set, cache.add):
        with pytest.raises(TypeError, match="'when' is not JSON"):
            write("when", datetime(2026, 1, 28, tzinfo=UTC), 60)
    with pytest.raises(TypeError, match="'when' is not JSON"):
        cache.store_many({"fine": 1, "when": b"bytes"}, 60)
    assert cache.fetch("when") == "old"
    assert cache.fetch("fine") is None


def test_remove_says_whether_there_was_something(cache: Backend) -> None:
    cache.store("a", 1, 60)
    assert [cache.remove("a"), cache.remove("a"), cache.delete("a")] == [True, False, False]
    assert cache.fetch("a") is None


def test_add_takes_a_free_key_only(cache: Backend) -> None:
    assert cache.add_strict("a", "first", 60) is True
    assert cache.add_strict("a", "second", 60) is False
    assert cache.fetch("a") == "first"


def test_of_all_that_claim_a_free_key_at_once_one_gets_it(cache: Backend) -> None:
    cache.store("taken", RECORD, 60)

    def claim(number: int) -> dict[str, Version]:
        return cache.claim_many(["taken", "free", "other"], {"by": number}, 60)[0]

    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(claim, range(16)))
    assert sorted(key for claimed in claims for key in claimed) == ["free", "other"]
    assert cache.fetch("taken") == RECORD
    assert cache.claim_many([], 0, 60) == ({}, [])


def test_a_replacement_needs_the_version_that_is_there(cache: Backend) -> None:
    claimed, unreachable = cache.claim_many(["a", "b", "gone"], {"by": 1}, 60)
    assert unreachable == []
    cache.store("b", {"by": "somebody else"}, 60)
    cache.remove("gone")
    done = cache.replace_many({key: Replacement(RECORD, claimed[key], 60) for key in claimed})
    assert set(done) == {"a"}
    assert (cache.fetch("a"), cache.fetch("b"), cache.fetch("gone")) == (RECORD, {"by": "somebody else"}, None)
    again = cache.replace_many({"a": Replacement(1, claimed["a"], 60)})
    assert again == {}
    assert set(cache.replace_many({"a": Replacement({"by": 2}, done["a"], 60)})) == {"a"}


def test_versions_come_with_the_values_and_a_replacement_may_leave_nothing(cache: Backend) -> None:
    cache.store_many({"a": RECORD, "b": [1]}, 60)
    found, unreachable = cache.fetch_versions(["a", "b", "absent"])
    assert {key: value for key, (value, _version) in found.items()} == {"a": RECORD, "b": [1]}
    assert unreachable == []
    assert set(cache.replace_many({"a": Replacement(0, found["a"][1], 0)})) == {"a"}
    assert cache.fetch("a", "nothing") == "nothing"


def write_raw(cache: Backend, key: str, data: bytes) -> None:
    """Bytes that no serializer of ours made."""
    wire_key = cache.make_and_validate_key(key)
    if isinstance(cache, MemcachedCache):
        node, name = cache._locate(key, None)
        node.call(NodeClient.set, name, data, 60)
    elif isinstance(cache, RedisJSONCache):
        cache._redis.set(wire_key, data)
    else:
        assert isinstance(cache, LocalMemoryCache)
        cache._set(wire_key, data, 60)


def test_what_cannot_be_read_has_a_version_all_the_same(cache: Backend) -> None:
    write_raw(cache, "broken", b"{not json")
    found, _unreachable = cache.fetch_versions(["broken"])
    value, version = found["broken"]
    assert value is None
    assert set(cache.replace_many({"broken": Replacement("mended", version, 60)})) == {"broken"}
    assert cache.fetch("broken") == "mended"


def test_a_claim_ends_by_itself(cache: Backend) -> None:
    # Memcached counts its own seconds: of two it keeps one at least, of one perhaps none
    cache.claim_many(["a"], 0, 2)
    assert cache.fetch("a") == 0
    wait_until(lambda: cache.claim_many(["a"], 1, 60)[0] != {})


def test_a_value_lives_as_long_as_it_should(cache: Backend) -> None:
    cache.store_many({"short": 1, "touched": 1}, 4)
    cache.store("long", 1, 60 * 60 * 24 * 365)
    cache.store("for_ever", 1, None)
    assert cache.touch("touched", 60) is True
    assert cache.touch("absent", 60) is False
    wait_until(lambda: cache.fetch("short") is None, message="the end of a life time of four seconds")
    assert cache.fetch_many(["touched", "long", "for_ever"]) == ({"touched": 1, "long": 1, "for_ever": 1}, [])


@pytest.mark.parametrize("timeout", [0, -5])
def test_a_life_time_that_is_over_removes_the_key(cache: Backend, timeout: int) -> None:
    for store in (cache.store, cache.set):
        cache.store("a", "old", 60)
        store("a", "new", timeout)
        assert cache.fetch("a") is None
    cache.store("b", "old", 60)
    cache.store_many({"b": "new"}, timeout)
    assert cache.fetch("b") is None


def test_counting_is_exact_and_keeps_the_life_time(cache: Backend) -> None:
    cache.store("n", 9, 60)
    assert [cache.incr("n"), cache.incr("n", 90), cache.decr("n", 95)] == [10, 100, 5]
    assert cache.fetch("n") == 5
    with pytest.raises(ValueError, match="not found"):
        cache.incr("absent")
    cache.store("text", "nine", 60)
    with pytest.raises(TypeError, match="whole number"):
        cache.incr("text")


def test_many_keys_are_written_read_and_removed_at_once(cache: Backend) -> None:
    data: dict[str, Any] = {f"k{number}": {"number": number} for number in range(2_500)}
    assert cache.store_many(data, 60) == []
    assert cache.fetch_many([*data, "absent"]) == (data, [])
    assert cache.get_many(["k1", "absent"]) == {"k1": {"number": 1}}
    cache.delete_many(data)
    assert cache.fetch_many(data) == ({}, [])
    assert cache.fetch_many([]) == ({}, [])
    assert cache.store_many({}, 60) == []


def test_versions_are_apart(cache: Backend) -> None:
    cache.store("a", 1, 60)
    cache.store("a", 2, 60, version=2)
    assert (cache.fetch("a"), cache.fetch("a", version=2)) == (1, 2)
    assert cache.fetch_many(["a"], version=2) == ({"a": 2}, [])


def test_large_values_and_awkward_texts_come_back_whole(cache: Backend) -> None:
    values = {"large": "x" * 900_000, "end": "END\r\nVALUE a 74 1\r\n", "empty": "", "deep": [[[[]]]]}
    assert cache.store_many(values, 60) == []
    assert cache.fetch_many(values) == (values, [])
    assert {key: cache.fetch(key) for key in values} == values


def test_clear_leaves_nothing(cache: Backend) -> None:
    cache.store_many({f"k{number}": number for number in range(50)}, 60)
    cache.clear()
    assert cache.fetch_many([f"k{number}" for number in range(50)]) == ({}, [])


def test_get_or_set_computes_once(cache: Backend) -> None:
    calls: list[str] = []

    def compute() -> str:
        calls.append("called")
        return "computed"

    assert [cache.get_or_set("a", compute, 60) for _ in range(3)] == ["computed"] * 3
    assert calls == ["called"]


@pytest.mark.parametrize("key", ["two words", "line\n", "x" * 250, "ñ" * 130, "\x7f"])
def test_memcached_refuses_keys_that_the_protocol_cannot_carry(
    request: pytest.FixtureRequest, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    monkeypatch.setattr(node_state, "on_failure", [failed.append])
    cache = memcached_cache(request.getfixturevalue("memcached"))
    for read in (cache.fetch, cache.get, cache.remove):
        with pytest.raises(InvalidCacheKey):
            read(key)
    with pytest.raises(InvalidCacheKey):
        cache.fetch_many(["plain", key])
    # No fault of the node
    assert failed == []
