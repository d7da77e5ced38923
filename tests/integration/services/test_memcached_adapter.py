import base64
import itertools
import logging
import socket
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread
from typing import Any

import pytest
from django.core.cache import caches
from pymemcache.client.base import Client
from pytest_django import Settings

from api_service.services import alias_check, clear_nodes, inventory
from api_service.services.backends import Deadline, InventoryError, Item, adapter_for, memcached_dump
from api_service.services.backends.base import Adapter
from api_service.services.backends.memcached_dump import DUMP_LOCK
from api_service.services.cache_service import APICacheService
from api_service.services.clear_plan import selection
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.integration.services.midway_server import MidwayServer
from tests.servers import Memcached
from tests.waiting import wait_until

ODD = ["migo:ruc_1", "a%20b", "BUSY", "ERROR:x", "END", "key=x", "a+b&c=d", "~!@#$^*()[]{}|\\\"'<>?,;", "ñandú", "中文"]


def scanned(adapter: Adapter, prefix: str = "", seconds: float = 10) -> set[str]:
    return {entry.key for node in adapter.nodes() for entry in adapter.scan(node, prefix, Deadline.after(seconds))}


def put(node: Memcached, key: str, value: bytes = b"1", expire: int = 0) -> None:
    client = Client(("127.0.0.1", node.port), allow_unicode_keys=True)
    assert client.set(key, value, expire=expire, noreply=False)
    client.close()


def many(count: int) -> list[Item]:
    return [Item(f":1:migo:ruc_{number}", b"1", time.time() + 600) for number in range(count)]


def test_a_scan_sees_exactly_the_keys_of_the_cluster(cluster_cache: APICacheService) -> None:
    names = {f"migo:ruc_{number}" for number in range(3000)}
    assert cluster_cache.set_many(dict.fromkeys(names, "x" * 700), 600) == []

    found = scanned(cluster_cache.adapter, ":1:")
    assert found == {f":1:{name}" for name in names}
    assert len(cluster_cache.adapter.nodes()) == 3


def test_each_node_lists_what_placement_put_on_it(cluster_cache: APICacheService) -> None:
    cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(60)})
    placement = caches["default"].placement  # type: ignore[attr-defined]

    for node in cluster_cache.adapter.nodes():
        keys = [entry.key for entry in cluster_cache.adapter.scan(node, "", Deadline.after(5))]
        assert keys
        assert {placement.node_for(key) for key in keys} == {node}


def test_odd_characters_come_back_as_they_were(cache: APICacheService, memcached: Memcached) -> None:
    for key in ODD:
        put(memcached, key)

    assert scanned(cache.adapter) == set(ODD)
    for key in ODD:
        assert key in scanned(cache.adapter, key)


def test_a_prefix_selects_literally(cache: APICacheService, memcached: Memcached) -> None:
    for key in (":1:migo:a", ":1:migo2:a", ":1:mig", "1:migo:a"):
        put(memcached, key)

    assert scanned(cache.adapter, ":1:migo:") == {":1:migo:a"}


def test_an_entry_tells_size_end_and_whether_it_was_read(cache: APICacheService, memcached: Memcached) -> None:
    now = time.time()
    put(memcached, "read", b"x" * 1000, expire=300)
    put(memcached, "unread")
    memcached.ask("get read")
    found = {entry.key: entry for entry in cache.adapter.scan(cache.adapter.nodes()[0], "", Deadline.after(5))}

    assert 1000 < found["read"].size < 1200
    assert found["read"].expires_at == pytest.approx(now + 300, abs=10)
    assert found["unread"].expires_at is None
    assert (found["read"].read, found["unread"].read) == (True, False)


def test_an_empty_node_lists_nothing(cache: APICacheService) -> None:
    assert scanned(cache.adapter) == set()


def test_a_busy_dump_lock_is_waited_for_and_then_reported(cache: APICacheService, memcached: Memcached) -> None:
    put(memcached, DUMP_LOCK, b"somebody", expire=60)
    with pytest.raises(InventoryError, match="another process is listing this node's keys: try again"):
        scanned(cache.adapter, seconds=1)

    assert memcached.ask(f"get {DUMP_LOCK}").splitlines()[1] == "somebody"


def test_a_scan_begins_as_soon_as_the_lock_is_free(cache: APICacheService, memcached: Memcached) -> None:
    put(memcached, "a")
    put(memcached, DUMP_LOCK, b"somebody", expire=60)
    found: list[set[str]] = []
    waiting = Thread(target=lambda: found.append(scanned(cache.adapter, seconds=20)))
    waiting.start()
    wait_until(lambda: int(memcached.stats()["cmd_set"]) > 3)
    assert found == []
    memcached.ask(f"delete {DUMP_LOCK}")
    waiting.join(20)

    assert found == [{"a"}]


def test_the_dump_lock_is_released(cache: APICacheService, memcached: Memcached) -> None:
    for _ in range(3):
        scanned(cache.adapter, seconds=1)

    assert memcached.ask(f"get {DUMP_LOCK}") == "END\r\n"


def test_a_server_without_crawler_says_what_to_do(use_cache_url: UseCacheUrl) -> None:
    server = Memcached(options=["-o", "no_lru_crawler"]).start()
    try:
        use_cache_url(url_of(server))
        adapter = adapter_for()
        assert adapter.probe(server.address).reachable
        with pytest.raises(InventoryError, match="start memcached with -o lru_crawler"):
            scanned(adapter)
    finally:
        server.close()


def test_a_crawler_that_is_off_says_how_to_switch_it_on(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(own_memcached))
    put(own_memcached, "a")
    assert own_memcached.ask("lru_crawler disable") == "OK\r\n"
    with pytest.raises(InventoryError, match=r"crawler disabled.*switch the crawler on with `lru_crawler enable`"):
        scanned(adapter_for())
    assert own_memcached.ask("lru_crawler enable") == "OK\r\n"

    assert scanned(adapter_for()) == {"a"}


def test_a_node_whose_crawler_is_busy_is_asked_until_it_lists_all(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    names = {f"a{number}" for number in range(40)}
    for name in names:
        put(own_memcached, name)
    assert own_memcached.ask("lru_crawler sleep 20000") == "OK\r\n"
    assert own_memcached.ask("lru_crawler crawl all") == "OK\r\n"

    assert scanned(adapter_for(), seconds=20) == names


def test_a_reader_that_stalls_elsewhere_is_named_and_our_connection_is_not_left_behind(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    connections = own_memcached.stats()["curr_connections"]
    with raw_connection(own_memcached) as stalled:
        sets = (b"set %s%d 0 0 1 noreply\r\n1\r\n" % (b"x" * 200, number) for number in range(30_000))
        stalled.sendall(b"".join(sets) + b"mn\r\n")
        assert stalled.recv(10) == b"MN\r\n"
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        stalled.sendall(b"lru_crawler metadump hash\r\n")
        assert stalled.recv(10)
        started = time.monotonic()
        with pytest.raises(InventoryError, match=r"timed out: .*asked for it and stopped reading"):
            scanned(adapter_for(), seconds=1)
        assert time.monotonic() - started < 20

    wait_until(lambda: own_memcached.stats()["curr_connections"] == connections)
    assert len(scanned(adapter_for())) == 30_000


def raw_connection(node: Memcached) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=10)


def test_keys_of_any_bytes_and_250_of_them_are_listed(cache: APICacheService, memcached: Memcached) -> None:
    names = ["with space", "100%", "%3A", "tab\there", "ñandú", "line\nend"]
    with raw_connection(memcached) as connection:
        for name in names:
            connection.sendall(b"ms %s 1 b\r\n1\r\n" % base64.b64encode(name.encode()))
            assert connection.recv(10) == b"HD\r\n"
    put(memcached, "x" * 250)

    assert scanned(cache.adapter) == {*names, "x" * 250}
    assert all(entry.expires_at is None for entry in cache.adapter.scan(memcached.address, "", Deadline.after(5)))


def test_a_frozen_node_is_an_error_within_the_deadline(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(30)})
    own_cluster[1].freeze()
    started = time.monotonic()
    names, failed = inventory.names(own_cluster_cache.adapter, "", seconds=20)

    assert time.monotonic() - started < 20
    assert set(failed) == {own_cluster[1].address}
    assert names


@pytest.mark.parametrize(
    ("last", "reason"), [("close", "closed the connection amid"), ("stall", "timed out|longer than")]
)
def test_a_node_that_dies_amid_its_list_is_an_error_and_no_shorter_list(
    last: str, reason: str, use_cache_url: UseCacheUrl
) -> None:
    server = MidwayServer(last)
    use_cache_url(f"memcached://{server.address}")
    found: list[str] = []
    started = time.monotonic()
    with pytest.raises(InventoryError, match=reason):
        found += [entry.key for entry in adapter_for().scan(server.address, "", Deadline.after(1))]

    assert found == []
    assert time.monotonic() - started < 20
    server.stop()


BUSY = b"BUSY currently processing crawler request\r\n"
LINE = b"key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=60\n"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"ERROR\r\n", "says 'ERROR': it is too old to list its keys by `metadump hash`, memcached 1.6.9 or later"),
        (b"HTTP/1.1 400 Bad Request\r\n", "says 'HTTP/1.1 400 Bad Request': is that a memcached"),
        (b"CLIENT_ERROR unauthenticated\r\n", "says 'CLIENT_ERROR unauthenticated'"),
        (LINE + b"key=b exp=soon la=1 cas=1 fetch=no cls=1 size=60\nEND\r\n", "its list of keys cannot be read"),
        (LINE + b"key=b exp=-1 la=1\nEND\r\n", "its list of keys cannot be read"),
        (LINE + b"key=\xff exp=-1 la=1 cas=1 fetch=no cls=1 size=60\nEND\r\n", "its list of keys cannot be read"),
    ],
)
def test_an_answer_that_is_no_list_is_told_with_what_to_do(
    reply: bytes, reason: str, use_cache_url: UseCacheUrl
) -> None:
    server = MidwayServer("stall", reply)
    use_cache_url(f"memcached://{server.address}")
    with pytest.raises(InventoryError, match=reason):
        list(adapter_for().scan(server.address, "", Deadline.after(2)))
    server.stop()


def test_busy_is_tried_again_within_the_deadline_and_then_told(use_cache_url: UseCacheUrl) -> None:
    server = MidwayServer("stall", BUSY, BUSY, LINE + b"END\r\n", *[BUSY] * 100)
    use_cache_url(f"memcached://{server.address}")
    assert scanned(adapter_for()) == {"a"}
    with pytest.raises(InventoryError, match=r"BUSY.*somebody else lists or crawls its keys, try again in a minute"):
        scanned(adapter_for(), seconds=3)
    server.stop()


@pytest.mark.parametrize(
    ("items", "replies", "found"),
    [(5, [b"END\r\n", b"END\r\n", LINE + b"END\r\n"], {"a"}), (5, [b"END\r\n"] * 3, set()), (1, [b"END\r\n"], set())],
)
def test_a_list_without_a_line_is_asked_for_again_where_the_node_counts_keys(
    items: int, replies: list[bytes], found: set[str], use_cache_url: UseCacheUrl
) -> None:
    """The lock alone counts as one. What was flushed is counted until it is reclaimed: hence believed in the end."""
    server = MidwayServer("close", *replies, items=items)
    use_cache_url(f"memcached://{server.address}")
    assert scanned(adapter_for()) == found
    assert server.replies == []
    server.stop()


def test_a_node_flushed_just_now_lists_nothing(cache: APICacheService, memcached: Memcached) -> None:
    cache.set_many({f"migo:ruc_{number}": 1 for number in range(500)})
    memcached.flush()

    assert scanned(cache.adapter) == set()


def test_a_node_killed_amid_its_list_is_an_error(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(own_memcached))
    put(own_memcached, "a")
    connect, received = memcached_dump._connect, memcached_dump._received

    def freeze_and_connect(*arguments: Any, **keywords: Any) -> socket.socket:
        own_memcached.freeze()  # Its kernel takes the question, and it never answers
        return connect(*arguments, **keywords)

    def kill_and_receive(*arguments: Any, **keywords: Any) -> bytes:
        own_memcached.kill()
        return received(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memcached_dump, "_connect", freeze_and_connect)
        patch.setattr(memcached_dump, "_received", kill_and_receive)
        with pytest.raises(InventoryError, match=r"closed the connection amid|ConnectionResetError"):
            scanned(adapter_for())


# -- keys while the list arrives


def slow_list(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[], object]) -> None:
    """The list comes in small pieces; before the one with that number something happens."""
    received, calls = memcached_dump._received, itertools.count()

    def act_and_receive(*arguments: Any, **keywords: Any) -> bytes:
        if next(calls) == at:
            act()
        return received(*arguments, **keywords)

    monkeypatch.setattr(memcached_dump, "CHUNK_BYTES", 200)
    monkeypatch.setattr(memcached_dump, "_received", act_and_receive)


def test_the_first_keys_are_there_before_the_list_has_ended(
    cache: APICacheService, memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        put(memcached, f"a{number}")
    taken = Event()
    slow_list(monkeypatch, 5, lambda: taken.wait(30) or pytest.fail("no key came before the end"))
    keys = cache.adapter.keys(memcached.address, "", Deadline.after(60))
    first = next(keys)
    taken.set()

    assert {first, *keys} == {f"a{number}" for number in range(50)}


def test_a_node_killed_amid_its_list_is_an_error_after_the_keys_that_came(
    own_memcached: Memcached, use_cache_url: UseCacheUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sent more than a socket holds when it dies: what is lost is not taken for the end."""
    use_cache_url(url_of(own_memcached))
    adapter_for().write(own_memcached.address, many(100_000), replace=True)
    slow_list(monkeypatch, 5, own_memcached.kill)
    found: list[str] = []
    with pytest.raises(InventoryError, match=r"closed the connection amid|ConnectionResetError"):
        found.extend(iter(adapter_for().keys(own_memcached.address, "", Deadline.after(10))))

    assert 0 < len(found) < 100_000


def test_who_takes_no_more_keys_leaves_the_node_free(cache: APICacheService, memcached: Memcached) -> None:
    for number in range(50):
        put(memcached, f"a{number}")
    with closing(cache.adapter.keys(memcached.address, "a", Deadline.after(10))) as keys:
        assert next(keys).startswith("a")

    assert memcached.ask(f"get {DUMP_LOCK}") == "END\r\n"
    assert len(scanned(cache.adapter)) == 50


def test_a_probe_tells_the_facts_of_the_node(cache: APICacheService, memcached: Memcached) -> None:
    cache.set("a", "x" * 500)
    facts, stats = cache.adapter.probe(memcached.address), memcached.stats()

    assert (facts.node, facts.reachable, facts.error) == (memcached.address, True, "")
    assert (facts.pid, facts.version) == (memcached.pid, stats["version"])
    assert facts.booted_at == pytest.approx(int(stats["time"]) - int(stats["uptime"]), abs=2)
    assert (facts.bytes_limit, facts.max_connections) == (64 * 1024 * 1024, int(stats["max_connections"]))
    assert facts.items is not None
    assert facts.items >= 1
    assert facts.latency_ms is not None
    assert 0 < facts.latency_ms < 10_000
    assert None not in (facts.hits, facts.misses, facts.evictions, facts.connections, facts.bytes_used)


def test_a_proxy_that_knows_no_statistics_is_a_node_that_answers(
    monkeypatch: pytest.MonkeyPatch, cache: APICacheService
) -> None:
    """Real replies but for one: a request that memcached itself does not know either."""
    monkeypatch.setattr(Client, "stats", lambda client: client.raw_command("statistics"))
    facts = cache.adapter.probe(cache.adapter.nodes()[0])

    assert (facts.reachable, facts.error, facts.items) == (True, "", None)
    assert facts.stats_error.startswith("MemcacheUnknownCommandError")


def test_a_probe_leaves_nothing_behind(
    cache: APICacheService, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    service = APICacheService()
    service.adapter.probe(own_memcached.address)
    assert alias_check.round_trip(service) == ""

    assert own_memcached.stats()["curr_items"] == "0"


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_probe_of_a_node_that_does_not_answer_ends_soon_and_says_so(
    harm: str, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    adapter = adapter_for()
    getattr(own_memcached, harm)()
    started = time.monotonic()
    facts = adapter.probe(own_memcached.address)

    assert time.monotonic() - started < 10
    assert not facts.reachable
    assert facts.error
    assert (facts.pid, facts.items) == (None, None)


def test_removal_takes_keys_from_the_node_that_holds_them(cluster_cache: APICacheService) -> None:
    cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(50)})
    cluster_cache.set_many({f"nubefact:x_{number}": 1 for number in range(50)})

    assert clear_nodes.clear(cluster_cache.adapter, ":1:", selection("migo")) == {
        "found": 50,
        "removed": 50,
        "failed": 0,
        "nodes_failed": 0,
    }
    assert len(scanned(cluster_cache.adapter)) == 50


def test_clearing_goes_on_past_a_dead_node_and_says_so(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], caplog: pytest.LogCaptureFixture
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(60)})
    own_cluster[0].kill()
    with caplog.at_level(logging.WARNING):
        counts = clear_nodes.clear(own_cluster_cache.adapter, ":1:", selection("migo"))

    assert counts["nodes_failed"] == 1
    assert counts["found"] == counts["removed"] > 0
    assert own_cluster[0].address in caplog.text
    assert inventory.flush(own_cluster_cache.adapter) is False


@pytest.mark.django_db
def test_clean_up_removes_what_outlived_its_end_and_touches_nobody_elses(
    cache: APICacheService, memcached: Memcached, settings: Settings
) -> None:
    """As after a clock set back: the server keeps what its own record says is over."""
    # Beyond the time for which old answers are there to be shown
    end = time.time() - settings.STALE_WHILE_REVALIDATE - 1
    ended = {"v": 1, "t": end - 9, "e": end, "d": {}}
    long = "migo:" + "x" * 300
    for name in ("migo:ruc_20100038146", "migo:invalid_20999999999", "migo:other_x", cache._normalize_key(long)):
        cache.cache.store(name, ended, 600)
    cache.cache.store("session.abc", ended, 600)
    cache.set_ruc("20131312955", {"ruc": "20131312955"})

    assert inventory.cleanup(cache) == {"invalid_rucs": 1, "rucs": 1, "other": 2, "nodes_failed": 0}
    assert scanned(cache.adapter) == {":1:session.abc", ":1:migo:ruc_20131312955"}
