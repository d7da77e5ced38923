"""What every adapter does alike: each test runs on each row of BACKENDS, on real servers."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Thread

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings
from redis import Redis as RedisClient

from api_service.caches.serializer import dumps
from api_service.services.backends import Deadline, Entry, Formed, InventoryError, Item, adapter_for, adapter_for_url
from api_service.services.backends.base import Adapter
from api_service.services.backends.memcached import MemcachedAdapter
from api_service.services.backends.memcached_values import add_form, expiry, why_unusable
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.servers import Memcached, Redis

BACKENDS = ("memcached", "three memcached", "redis", "local memory")
SERVERS = ("memcached", "redis")
DATA = b'{"v":1,"t":1.5,"e":null,"d":{"ruc":"20100038146","x":[1,2.5,"\xc3\xb1"]}}'
DAY = 86_400


@pytest.fixture(params=BACKENDS)
def adapter(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> Adapter:
    match request.param:
        case "memcached":
            use_cache_url(url_of(request.getfixturevalue("memcached")))
        case "three memcached":
            use_cache_url(url_of(*request.getfixturevalue("memcached_cluster")))
        case "redis":
            use_cache_url(request.getfixturevalue("redis_server").url)
        case _:
            use_cache_url("locmem://contract")
            caches["default"].clear()
    return adapter_for()


def written(adapter: Adapter, *items: Item, replace: bool = False) -> tuple[int, int, dict[str, str]]:
    """Stored, existed and refused, each item on the node where the cache looks for it."""
    stored, existed = 0, 0
    refused: dict[str, str] = {}
    for node in adapter.nodes():
        done = adapter.write(node, (item for item in items if adapter.node_for(item.key) == node), replace=replace)
        stored, existed, refused = stored + done.stored, existed + done.existed, refused | done.refused
    return stored, existed, refused


def read(adapter: Adapter, *keys: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for node in adapter.nodes():
        found |= adapter.read(node, (key for key in keys if adapter.node_for(key) == node)).values
    return found


def listed(adapter: Adapter, prefix: str = "") -> dict[str, Entry]:
    entries = [entry for node in adapter.nodes() for entry in adapter.scan(node, prefix, Deadline.after(10))]
    assert len({entry.key for entry in entries}) == len(entries)
    return {entry.key: entry for entry in entries}


def many(count: int, data: bytes = DATA) -> list[Item]:
    return [Item(f":1:migo:ruc_{number}", data, time.time() + 600) for number in range(count)]


def test_what_is_written_is_what_the_cache_reads(adapter: Adapter) -> None:
    assert written(adapter, Item(":1:migo:a", DATA, time.time() + 60), Item(":1:migo:b", b"7", None)) == (2, 0, {})

    assert caches["default"].get("migo:a")["d"]["x"] == [1, 2.5, "ñ"]
    assert caches["default"].get("migo:b") == 7
    assert read(adapter, ":1:migo:a", ":1:migo:b") == {":1:migo:a": DATA, ":1:migo:b": b"7"}


def test_what_the_cache_wrote_is_read_where_node_for_says(adapter: Adapter) -> None:
    values = {f"migo:ruc_{number}": {"n": number, "text": "ñ" * number} for number in range(50)}
    caches["default"].set_many(values, 60)

    for name, value in values.items():
        key = f":1:{name}"
        assert adapter.read(adapter.node_for(key), [key]).values == {key: dumps(value, key)}


def test_a_key_that_exists_is_left_alone_unless_it_is_to_be_replaced(adapter: Adapter) -> None:
    caches["default"].set("migo:a", "newer", 60)
    older = Item(":1:migo:a", DATA, time.time() + 600)

    assert written(adapter, older) == (0, 1, {})
    assert caches["default"].get("migo:a") == "newer"
    assert written(adapter, older, replace=True) == (1, 0, {})
    assert read(adapter, ":1:migo:a") == {":1:migo:a": DATA}


@pytest.mark.parametrize("days", [1 / 24, 29.9, 30, 31, 400])
def test_the_end_of_life_is_kept_to_seconds(adapter: Adapter, days: float) -> None:
    ends = time.time() + days * DAY
    written(adapter, Item(":1:migo:a", DATA, ends), Item(":1:migo:never", DATA, None))
    found = listed(adapter)

    # Memcached counts in whole seconds of a clock of its own, which a busy machine lets lag
    assert found[":1:migo:a"].expires_at == pytest.approx(ends, abs=3)
    assert found[":1:migo:never"].expires_at is None
    assert read(adapter, ":1:migo:a")


def test_what_ended_meanwhile_is_passed_over(adapter: Adapter) -> None:
    now = time.time()
    ended = [Item(":1:migo:a", DATA, now - 1), Item(":1:migo:b", DATA, now), Item(":1:migo:c", DATA, 1.0)]

    assert written(adapter, *ended, Item(":1:migo:d", DATA, now + 60)) == (1, 0, {})
    assert set(listed(adapter)) == {":1:migo:d"}


def test_thousands_are_written_read_and_removed_with_true_counts(adapter: Adapter) -> None:
    items = many(3500)
    keys = [item.key for item in items]

    assert written(adapter, *items[:1500]) == (1500, 0, {})
    assert written(adapter, *items) == (2000, 1500, {})
    assert set(listed(adapter, ":1:migo:")) == set(keys)
    assert set(read(adapter, *keys, ":1:migo:none").values()) == {DATA}
    assert len(read(adapter, *keys, ":1:migo:none")) == 3500
    removed = [
        adapter.remove(node, [key for key in [*keys[:2500], ":1:migo:none"] if adapter.node_for(key) == node])
        for node in adapter.nodes()
    ]
    assert sum(removed) == 2500
    assert set(listed(adapter)) == set(keys[2500:])


def test_values_of_half_a_megabyte_go_both_ways(adapter: Adapter) -> None:
    items = many(20, data=b'"' + b"x" * 500_000 + b'"')

    assert written(adapter, *items) == (20, 0, {})
    assert read(adapter, *(item.key for item in items)) == {item.key: item.data for item in items}


def test_keys_of_every_lawful_form_come_back(adapter: Adapter) -> None:
    keys = [":1:a%20b", ":1:ñandú", ":1:中文", ":1:~!@#$^*()[]{}|\\\"'<>?,;", ":1:" + "x" * 247]
    items = [Item(key, DATA, time.time() + 60) for key in keys]

    assert written(adapter, *items) == (5, 0, {})
    assert set(read(adapter, *keys)) == set(keys) == set(listed(adapter))


def test_keys_are_those_of_a_scan(adapter: Adapter) -> None:
    written(adapter, *many(3000), Item(":1:migo2:ruc_1", DATA, None), Item(":1:migo:a%b", DATA, None))
    for prefix in ("", ":1:migo:", ":1:migo2", ":1:m%", "*"):
        found = [key for node in adapter.nodes() for key in adapter.keys(node, prefix, Deadline.after(10))]
        assert len(found) == len(set(found))
        assert set(found) == set(listed(adapter, prefix))


def test_whether_a_scan_counts_as_hits_is_known_and_the_keys_alone_never_do(adapter: Adapter) -> None:
    node = adapter.nodes()[0]
    adapter.write(node, many(100), replace=True)

    def hits_of(look: Callable[[str, str, Deadline], Iterable[object]]) -> int:
        before = adapter.probe(node).hits or 0
        assert len(list(look(node, "", Deadline.after(5)))) == 100
        return (adapter.probe(node).hits or 0) - before

    # Beside the probe's, and those of the lock that a listing takes
    few = range(5)
    assert hits_of(adapter.scan) in (range(100, 105) if adapter.scan_counts else few)
    assert hits_of(adapter.keys) in few


def test_a_read_says_what_its_node_has_counted_of_it(adapter: Adapter) -> None:
    node = adapter.nodes()[0]
    adapter.write(node, many(30), replace=True)
    before = adapter.probe(node)
    found = adapter.read(node, [*(item.key for item in many(30)), ":1:migo:gone", ":1:migo:never"])
    after = adapter.probe(node)

    # Beside the probe's get
    assert (after.hits or 1) - (before.hits or 0) - 1 == found.hits
    assert (after.misses or 0) - (before.misses or 0) == found.misses


def test_nothing_to_do_is_no_error(adapter: Adapter) -> None:
    for node in adapter.nodes():
        assert adapter.read(node, []).values == {}
        assert adapter.write(node, [], replace=True).stored == 0
        assert adapter.remove(node, []) == 0


def test_a_key_of_another_version_is_another_key(adapter: Adapter) -> None:
    caches["default"].set("a", "mine", 60)
    node = adapter.node_for(":1:a")

    assert adapter.remove(node, [":2:a", "a"]) == 0
    assert adapter.read(node, [":2:a", "a"]).values == {}
    assert caches["default"].get("a") == "mine"


# -- values and keys that cannot be carried


def test_memcached_values_without_our_flag_are_foreign(memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(memcached))
    memcached.ask("set :1:migo:pickle 1 0 2\r\n{}")
    caches["default"].set("migo:a", {}, 60)
    found = adapter_for().read(memcached.address, [":1:migo:pickle", ":1:migo:a"])

    assert (found.values, found.foreign) == ({":1:migo:a": b"{}"}, [":1:migo:pickle"])


def test_redis_values_that_are_no_json_are_foreign(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    client = RedisClient(port=redis_server.port)
    client.set(":1:migo:pickle", b"\x80\x05K\x07.")
    client.hset(":1:migo:hash", "a", "b")
    client.set(":1:migo:a", DATA)
    adapter = adapter_for()
    found = adapter.read(adapter.nodes()[0], [":1:migo:pickle", ":1:migo:hash", ":1:migo:a", ":1:migo:gone"])

    assert found.values == {":1:migo:a": DATA}
    assert sorted(found.foreign) == [":1:migo:hash", ":1:migo:pickle"]


def test_memcached_says_which_keys_and_values_it_cannot_have(memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(memcached))
    big, long = b'"' + b"x" * 1_100_000 + b'"', ":1:" + "x" * 248
    ends = time.time() + 60
    items = [*many(1200), Item(":1:big", big, ends), Item(":1:a b", DATA, ends), Item(long, DATA, ends), *many(1300)]
    done = adapter_for().write(memcached.address, items, replace=False)

    assert (done.stored, done.existed) == (1300, 1200)
    assert done.refused[":1:big"] == "SERVER_ERROR object too large for cache"
    assert "spaces" in done.refused[":1:a b"]
    assert "250 bytes" in done.refused[long]
    assert len(done.refused) == 3


def test_reading_for_a_copy_is_no_use_of_a_key(memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(memcached))
    caches["default"].set("migo:a", 1, 60)
    adapter = adapter_for()
    adapter.read(memcached.address, [":1:migo:a"])

    assert listed(adapter)[":1:migo:a"].read is False


def test_keys_with_spaces_of_other_clients_are_read_and_removed_as_keys(
    memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    """Sent as they are they would be commands: `md a b` removes `a`."""
    use_cache_url(url_of(memcached))
    memcached.ask("set a 0 0 1\r\nx")
    assert memcached.ask("ms YSBx 3 b\r\nabc").startswith("HD")
    adapter = adapter_for()

    assert set(listed(adapter)) == {"a", "a q"}
    assert adapter.read(memcached.address, ["a q"]).foreign == ["a q"]
    assert adapter.remove(memcached.address, ["a q", "a\r\nflush_all"]) == 1
    assert set(listed(adapter)) == {"a"}


@pytest.mark.parametrize("backend", SERVERS)
def test_a_full_server_refuses_key_by_key(backend: str, use_cache_url: UseCacheUrl) -> None:
    server = Memcached(memory=4, options=["-M"]) if backend == "memcached" else Redis(options=["--maxmemory", "3mb"])
    try:
        server.start()
        use_cache_url(server.url)
        adapter = adapter_for()
        items = many(1000, data=b'"' + b"x" * 8000 + b'"')
        done = adapter.write(adapter.nodes()[0], items, replace=True)
        assert done.stored + len(done.refused) == 1000
        assert done.stored > 0
        assert len(done.refused) > 100
        assert all("memory" in reason for reason in done.refused.values())
    finally:
        server.close()


def test_writes_that_others_have_formed_are_told_of_like_items(
    memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(memcached))
    adapter = MemcachedAdapter("default")

    def formed(*sizes: int) -> Formed:
        keys = [f":1:migo:ruc_{number}" for number in range(len(sizes))]
        adds = [
            add_form(key=key, size=str(size), seconds="60", data="7" * size)
            for key, size in zip(keys, sizes, strict=True)
        ]
        return Formed(keys, "".join(adds).encode())

    first = adapter.write(memcached.address, [formed(1, 2_000_000, 3)], replace=False)
    assert (first.stored, first.existed) == (2, 0)
    assert first.refused == {":1:migo:ruc_1": "SERVER_ERROR object too large for cache"}
    again = adapter.write(memcached.address, [formed(4, 5, 6), *many(4)], replace=False)
    assert (again.stored, again.existed, again.refused) == (2, 5, {})
    assert read(adapter, ":1:migo:ruc_0", ":1:migo:ruc_1") == {":1:migo:ruc_0": b"7", ":1:migo:ruc_1": b"77777"}
    flags, left = memcached.ask("mg :1:migo:ruc_0 f t").split()[1:]
    assert (flags, 0 < int(left.removeprefix("t")) <= 60) == ("f74", True)


def test_the_forms_of_an_end_of_life() -> None:
    now = 1_795_000_000.0
    assert [expiry(end, now) for end in (None, now + 1.4, now + 0.6, now + 30 * DAY)] == [0, 1, 1, 30 * DAY]
    assert expiry(now + 30 * DAY + 1, now) == int(now) + 30 * DAY + 1
    assert [expiry(end, now) for end in (now + 0.4, now, now - 5, 0.0)] == [None] * 4


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "a\0b", "\x7f", "x" * 251, "ñ" * 126])
def test_keys_that_memcached_cannot_have(key: str) -> None:
    assert why_unusable(key)
    assert not why_unusable("ñ" * 125)


# -- servers that die, freeze or are too old


@pytest.fixture(params=SERVERS)
def own_server(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> Memcached | Redis:
    server: Memcached | Redis = request.getfixturevalue(f"own_{request.param}")
    use_cache_url(server.url)
    return server


def have_little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_service.services.backends.memcached.STALL_SECONDS", 0.5)
    monkeypatch.setattr("api_service.services.backends.redis.STALL_SECONDS", 0.5)


Act = Callable[[Adapter, str, Iterator[Item]], object]
ACTS: dict[str, Act] = {
    "write": lambda adapter, node, items: adapter.write(node, items, replace=True),
    "read": lambda adapter, node, items: adapter.read(node, (item.key for item in items)),
    "remove": lambda adapter, node, items: adapter.remove(node, (item.key for item in items)),
}


@pytest.mark.parametrize("harm", ["kill", "freeze"])
@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_dies_or_freezes_amid_the_work_is_an_error_that_names_it(
    act: str, harm: str, own_server: Memcached | Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = adapter_for()
    [node] = adapter.nodes()
    adapter.write(node, many(3000), replace=True)
    have_little_patience(monkeypatch)

    def harmed() -> Iterator[Item]:
        for number, item in enumerate(many(20_000)):
            if number == 5000:
                getattr(own_server, harm)()
            yield item

    started = time.monotonic()
    with pytest.raises(InventoryError) as raised:
        ACTS[act](adapter, node, harmed())
    assert raised.value.node == node
    assert raised.value.reason
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_is_not_there_is_an_error(act: str, own_server: Memcached | Redis) -> None:
    own_server.kill()
    adapter = adapter_for()
    with pytest.raises(InventoryError):
        ACTS[act](adapter, adapter.nodes()[0], iter(many(5)))


def test_a_redis_cut_off_amid_its_list_is_an_error_after_what_it_listed(
    own_redis: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_redis.url)
    adapter = adapter_for()
    [node] = adapter.nodes()
    adapter.write(node, many(5000), replace=True)
    found: list[str] = []

    def take() -> None:
        for entry in adapter.scan(node, "", Deadline.after(10)):
            found.append(entry.key)
            if len(found) == 500:
                own_redis.kill()

    with pytest.raises(InventoryError):
        take()
    assert 500 <= len(found) < 5000


@pytest.mark.parametrize("version", ["7.2.4", "6.2.1"])
def test_the_end_of_a_redis_key_reads_the_same_each_time(
    version: str, redis_server: Redis, use_cache_url: UseCacheUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Redis 7 only what is left can be asked."""
    use_cache_url(redis_server.url)
    adapter = adapter_for()
    end = float(int(time.time()) + 60)
    adapter.write(adapter.nodes()[0], [Item("a", b"1", end)], replace=True)
    asked: list[str] = []
    info = RedisClient.info

    def old_info(client: RedisClient, *sections: str) -> object:
        asked.extend(sections)
        return {**info(client, *sections), "redis_version": version}

    monkeypatch.setattr(RedisClient, "info", old_info)
    ends = {listed(adapter)["a"].expires_at for _ in range(5)}

    assert asked
    assert len(ends) == 1
    assert ends.pop() == pytest.approx(end, abs=2)


@pytest.mark.parametrize("act", ACTS)
def test_a_memcached_without_meta_commands_says_what_is_needed(act: str, use_cache_url: UseCacheUrl) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"ERROR\r\n")

    Thread(target=serve, daemon=True).start()
    use_cache_url(f"memcached://127.0.0.1:{listener.getsockname()[1]}")
    adapter = adapter_for()
    with pytest.raises(InventoryError, match=r"memcached 1\.6 or later"):
        ACTS[act](adapter, adapter.nodes()[0], iter(many(5)))
    listener.close()


# -- a second cache beside the default one


def test_another_cache_is_opened_by_its_url(redis_server: Redis, settings: Settings) -> None:
    before = dict(settings.CACHES)
    adapter = adapter_for_url(redis_server.url, "--to")
    adapter.write(adapter.nodes()[0], many(3), replace=True)

    assert adapter.nodes() == (f"127.0.0.1:{redis_server.port}/0",)
    assert RedisClient(port=redis_server.port).dbsize() == 3
    assert before == settings.CACHES


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("locmem://", "one process"),
        ("memcached://", "names no memcached node"),
        ("redis://:hidden-word@:99999/x", "cannot be read"),
        ("redis:/:hidden-word@host", "not usable"),
        ("memcached://user:hidden-word@host", "not a host:port|nothing else"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said) as refused:
        adapter_for_url(url, "--to")
    assert str(refused.value).startswith("--to")
    assert "hidden-word" not in str(refused.value)


def test_a_backend_that_cannot_be_watched_is_refused_before_its_first_use(settings: Settings) -> None:
    stock = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:1"}
    settings.CACHES = {**settings.CACHES, "stock": stock}
    with pytest.raises(ImproperlyConfigured, match=r"^CACHES\['stock'\] uses .* which cannot be watched"):
        APICacheService("stock")
