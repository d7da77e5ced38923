import time

import pytest
from redis import Redis as Client

from api_service.services import alias_check, clear_nodes, inventory
from api_service.services.backends import Deadline, InventoryError, adapter_for, redis
from api_service.services.backends.base import Adapter, Entry
from api_service.services.backends.redis import _unique
from api_service.services.cache_service import APICacheService
from api_service.services.clear_plan import selection
from tests.conftest import UseCacheUrl
from tests.servers import Redis


@pytest.fixture
def client(redis_server: Redis, use_cache_url: UseCacheUrl) -> Client:
    use_cache_url(redis_server.url)
    return Client(port=redis_server.port)


@pytest.fixture
def adapter(client: Client) -> Adapter:
    return adapter_for()


def scanned(adapter: Adapter, prefix: str = "") -> dict[str, Entry]:
    (node,) = adapter.nodes()
    return {entry.key: entry for entry in adapter.scan(node, prefix, Deadline.after(10))}


def test_keys_of_every_type_are_listed_with_size_and_end(client: Client, adapter: Adapter) -> None:
    now = time.time()
    client.set(":1:migo:a", "x" * 1000, ex=300)
    client.hset("a-hash", "field", "value")
    client.rpush("a-list", 1, 2, 3)
    client.pexpire("a-list", 60_000)
    client.zadd("a-set", {"member": 1})
    found = scanned(adapter)

    assert set(found) == {":1:migo:a", "a-hash", "a-list", "a-set"}
    assert found[":1:migo:a"].expires_at == pytest.approx(now + 300, abs=10)
    assert found["a-list"].expires_at == pytest.approx(now + 60, abs=10)
    assert found["a-hash"].expires_at is None
    assert found[":1:migo:a"].size > 1000
    assert all(entry.size > 0 for entry in found.values())


@pytest.mark.parametrize("prefix", ["a*", "a?", "a[bc]", "a\\", "[", "*", "a[^b]"])
def test_a_prefix_with_characters_of_patterns_selects_literally(client: Client, adapter: Adapter, prefix: str) -> None:
    others = {"axb", "ab", "ac", "ax", "a", "b"}
    for key in {*others, f"{prefix}:1", f"{prefix}:2"}:
        client.set(key, 1)

    assert set(scanned(adapter, prefix)) == {f"{prefix}:1", f"{prefix}:2"}


def test_a_key_that_scan_names_twice_is_counted_once() -> None:
    """As it may when the server resizes its table in between."""
    assert list(_unique([b"a", b"b", b"a", b"c", b"b"])) == [b"a", b"b", b"c"]


def test_only_the_last_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with what the server holds."""
    monkeypatch.setattr(redis, "REMEMBERED", 2)

    assert list(_unique([b"a", b"b", b"c", b"a", b"d", b"e", b"d", b"a"])) == [b"a", b"b", b"c", b"d", b"e", b"a"]


def test_a_prefix_that_no_key_has_ends_at_the_deadline(client: Client, adapter: Adapter) -> None:
    """One step of SCAN walks a thousand keys and names none of them."""
    client.mset({f"other:{number}": 1 for number in range(20_000)})
    (node,) = adapter.nodes()
    assert scanned(adapter, "mine:") == {}
    with pytest.raises(InventoryError, match="took longer than allowed"):
        list(adapter.scan(node, "mine:", EndsAfter(3)))


class EndsAfter(Deadline):
    """A deadline that is over when it has been asked that often."""

    def left(self) -> float:
        object.__setattr__(self, "at", self.at - 1)
        return max(0.0, self.at)


def test_every_key_is_listed_while_the_table_grows(client: Client, adapter: Adapter) -> None:
    for number in range(3000):
        client.set(f"old:{number}", 1)
    (node,) = adapter.nodes()
    keys: list[str] = []
    for number, entry in enumerate(adapter.scan(node, "old:", Deadline.after(30))):
        keys.append(entry.key)
        if number % 500 == 0:
            client.mset({f"new:{number}:{index}": 1 for index in range(3000)})

    assert len(keys) == len(set(keys)) == 3000


def test_keys_that_are_not_text_do_not_stop_the_list(client: Client, adapter: Adapter) -> None:
    client.set(b"\xff\xfe\x00", 1)
    client.set("plain", 1)

    assert len(scanned(adapter)) == 2
    assert "plain" in scanned(adapter)


def test_probes_and_locks_are_not_listed_and_a_probe_leaves_nothing(client: Client, adapter: Adapter) -> None:
    client.set(":1:cache-operations-lock.alias.1", 1)
    adapter.probe(adapter.nodes()[0])
    assert alias_check.round_trip(APICacheService()) == ""

    assert scanned(adapter) == {}
    assert client.dbsize() == 1


def test_a_refused_command_is_an_error_and_not_an_empty_list(client: Client, use_cache_url: UseCacheUrl) -> None:
    client.set("a", 1)
    client.acl_setuser("watcher", enabled=True, passwords=["+secret-9"], keys=["*"], commands=["+@all", "-memory"])
    port = client.connection_pool.connection_kwargs["port"]
    use_cache_url(f"redis://watcher:secret-9@127.0.0.1:{port}/0")
    try:
        with pytest.raises(InventoryError) as refused:
            scanned(adapter_for())
    finally:
        client.acl_deluser("watcher")

    assert "permission" in refused.value.reason.lower()
    assert "secret-9" not in str(refused.value)


def test_clearing_removes_the_prefix_and_nothing_else(client: Client, adapter: Adapter) -> None:
    client.mset({f":1:migo:{number}": 1 for number in range(2500)})
    client.mset({":1:migo2:a": 1, ":2:migo:a": 1})

    counts = clear_nodes.clear(adapter, ":1:", selection("migo"))
    assert counts == {"found": 2500, "removed": 2500, "failed": 0, "nodes_failed": 0}
    assert set(scanned(adapter)) == {":1:migo2:a", ":2:migo:a"}


def test_a_flush_empties_its_own_database_only(client: Client, adapter: Adapter, redis_server: Redis) -> None:
    client.set("a", 1)
    other = Client(port=redis_server.port, db=5)
    other.set("b", 1)

    assert inventory.flush(adapter) is True
    assert (client.dbsize(), other.dbsize()) == (0, 1)


def test_a_user_that_may_not_ask_for_statistics_has_a_node_that_answers(
    client: Client, redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    client.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    use_cache_url(redis_server.url.replace("redis://", "redis://reader:secret@"))
    adapter = adapter_for()
    facts = adapter.probe(adapter.nodes()[0])
    client.acl_deluser("reader")

    assert (facts.reachable, facts.error, facts.items) == (True, "", None)
    assert facts.latency_ms is not None
    assert "info" in facts.stats_error
    assert "secret" not in facts.stats_error


def test_a_probe_tells_the_facts(adapter: Adapter, redis_server: Redis) -> None:
    node = adapter.nodes()[0]
    facts, info = adapter.probe(node), redis_server.stats()

    assert node == f"127.0.0.1:{redis_server.port}/0"
    assert (facts.reachable, facts.pid, facts.version) == (True, redis_server.pid, info["redis_version"])
    assert facts.booted_at == pytest.approx(time.time() - int(info["uptime_in_seconds"]), abs=10)
    assert facts.bytes_limit is None
    assert facts.max_connections == int(info["maxclients"])


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_server_that_does_not_answer_costs_one_time_out(
    harm: str, own_redis: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_redis.url)
    adapter = adapter_for()
    getattr(own_redis, harm)()
    started = time.monotonic()
    facts = adapter.probe(adapter.nodes()[0])
    assert time.monotonic() - started < 10
    with pytest.raises(InventoryError):
        scanned(adapter)

    assert time.monotonic() - started < 20
    assert not facts.reachable
    assert facts.error


def test_the_password_is_in_no_name_and_no_error(own_redis: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(f"redis://user:s3cret-word@127.0.0.1:{own_redis.port}/3")
    adapter = adapter_for()
    facts = adapter.probe(adapter.nodes()[0])

    assert adapter.nodes() == (f"127.0.0.1:{own_redis.port}/3",)
    assert not facts.reachable
    assert "s3cret" not in facts.error
