import logging
import socket
import time
from threading import Thread

import pytest
from django.core.cache import caches
from pymemcache.client.base import Client

from api_service.services import clear_nodes, health, inventory
from api_service.services.backends import Deadline, InventoryError, adapter_for
from api_service.services.backends.base import Adapter
from api_service.services.backends.memcached_dump import DUMP_LOCK, _raise_if_refused, parse_dump
from api_service.services.cache_service import APICacheService
from api_service.services.clear_plan import selection
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.servers import Memcached
from tests.waiting import wait_until

ODD = ["migo:ruc_1", "a%20b", "BUSY", "ERROR:x", "END", "key=x", "a+b&c=d", "~!@#$^*()[]{}|\\\"'<>?,;", "ñandú", "中文"]


def scanned(adapter: Adapter, prefix: str = "", seconds: float = 10) -> set[str]:
    return {entry.key for node in adapter.nodes() for entry in adapter.scan(node, prefix, Deadline.after(seconds))}


def put(node: Memcached, key: str, value: bytes = b"1", expire: int = 0) -> None:
    client = Client(("127.0.0.1", node.port), allow_unicode_keys=True)
    assert client.set(key, value, expire=expire, noreply=False)
    client.close()


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
    put(memcached, "read", b"x" * 1000, expire=300)
    put(memcached, "unread")
    memcached.ask("get read")
    found = {entry.key: entry for entry in cache.adapter.scan(cache.adapter.nodes()[0], "", Deadline.after(5))}

    assert 1000 < found["read"].size < 1200
    assert found["read"].expires_at == pytest.approx(time.time() + 300, abs=3)
    assert found["unread"].expires_at is None
    assert (found["read"].read, found["unread"].read) == (True, False)


def test_an_empty_node_lists_nothing(cache: APICacheService) -> None:
    assert scanned(cache.adapter) == set()


def test_locks_and_probes_are_not_listed_whatever_their_prefix() -> None:
    line = "key=%s exp=-1 la=1 cas=3 fetch=no cls=1 size=70\r\n"
    keys = ("%3A1%3Amigo%3Aa", "cache-operations-lock.dump", "%3A1%3Acache-operations-lock.alias.5f")

    assert [entry.key for entry in parse_dump([(line % key).encode() for key in keys], "")] == [":1:migo:a"]


def test_a_key_that_reads_like_a_refusal_is_none() -> None:
    _raise_if_refused("n", b"key=ERROR exp=-1")
    with pytest.raises(InventoryError, match="start memcached with"):
        _raise_if_refused("n", b"CLIENT_ERROR lru crawler disabled\r\n")
    with pytest.raises(InventoryError, match="in a minute"):
        _raise_if_refused("n", b"BUSY currently processing crawler request\r\n")


def test_a_busy_dump_lock_is_waited_for_and_then_reported(cache: APICacheService, memcached: Memcached) -> None:
    put(memcached, DUMP_LOCK, b"somebody", expire=60)
    with pytest.raises(InventoryError, match="another process is listing this node's keys: try again"):
        scanned(cache.adapter, seconds=0.2)

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


def test_a_frozen_node_is_an_error_within_the_deadline(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(30)})
    own_cluster[1].freeze()
    started = time.monotonic()
    listing = inventory.listing(own_cluster_cache.adapter, "", seconds=5)

    assert time.monotonic() - started < 5
    assert set(listing.failed) == {own_cluster[1].address}
    assert listing.entries


class MidwayServer(Thread):
    """Speaks memcached until the dump, then does `last` in the midst of the list."""

    def __init__(self, last: str) -> None:
        super().__init__(daemon=True)
        self.last = last
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.kept: list[socket.socket] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        self.kept.append(connection)
        try:
            while request := connection.recv(65_536):
                if not self.answer(connection, request):
                    return
        except OSError:
            return

    def answer(self, connection: socket.socket, request: bytes) -> bool:
        if b"metadump" in request:
            connection.sendall(b"key=%3A1%3Aa exp=-1 la=1 cas=1 fetch=no cls=1 size=60\r\nkey=%3A1")
            if self.last == "close":
                connection.close()
            return False
        connection.sendall(b"STORED\r\n" if request.startswith(b"add") else b"END\r\n")
        return True

    def stop(self) -> None:
        self.listener.close()
        for connection in self.kept:
            connection.close()


@pytest.mark.parametrize(
    ("last", "reason"), [("close", "closed the connection amid"), ("stall", "timed out|longer than")]
)
def test_a_node_that_dies_amid_its_list_is_an_error_and_no_shorter_list(
    last: str, reason: str, use_cache_url: UseCacheUrl
) -> None:
    server = MidwayServer(last)
    server.start()
    use_cache_url(f"memcached://{server.address}")
    found: list[str] = []
    started = time.monotonic()
    with pytest.raises(InventoryError, match=reason):
        found += [entry.key for entry in adapter_for().scan(server.address, "", Deadline.after(1))]

    assert found == []
    assert time.monotonic() - started < 4
    server.stop()


def test_a_probe_tells_the_facts_of_the_node(cache: APICacheService, memcached: Memcached) -> None:
    cache.set("a", "x" * 500)
    facts, stats = cache.adapter.probe(memcached.address), memcached.stats()

    assert (facts.node, facts.reachable, facts.error) == (memcached.address, True, "")
    assert (facts.pid, facts.version) == (memcached.pid, stats["version"])
    assert facts.booted_at == pytest.approx(int(stats["time"]) - int(stats["uptime"]), abs=1)
    assert (facts.bytes_limit, facts.max_connections) == (64 * 1024 * 1024, int(stats["max_connections"]))
    assert facts.items is not None
    assert facts.items >= 1
    assert facts.latency_ms is not None
    assert 0 < facts.latency_ms < 500
    assert None not in (facts.hits, facts.misses, facts.evictions, facts.connections, facts.bytes_used)


def test_a_probe_leaves_nothing_behind(
    cache: APICacheService, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    service = APICacheService()
    service.adapter.probe(own_memcached.address)
    health.check_alias(service)

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

    assert time.monotonic() - started < 2
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


def test_clean_up_removes_what_outlived_its_end_and_touches_nobody_elses(
    cache: APICacheService, memcached: Memcached
) -> None:
    """As after a clock set back: the server keeps what its own record says is over."""
    ended = {"v": 1, "t": time.time() - 9, "e": time.time() - 1, "d": {}}
    long = "migo:" + "x" * 300
    for name in ("migo:ruc_20100038146", "migo:invalid_20999999999", "migo:other_x", cache._normalize_key(long)):
        cache.cache.store(name, ended, 600)
    cache.cache.store("session.abc", ended, 600)
    cache.set_ruc("20131312955", {"ruc": "20131312955"})

    assert inventory.cleanup(cache) == {"invalid_rucs": 1, "rucs": 1, "other": 2, "nodes_failed": 0}
    assert scanned(cache.adapter) == {":1:session.abc", ":1:migo:ruc_20131312955"}


def test_fields_that_a_later_memcached_adds_are_passed_over() -> None:
    line = b"key=%3A1%3Amigo%3Aruc_1 exp=-1 la=1 cas=3 fetch=yes cls=11 size=786 flags=74\n"

    [entry] = parse_dump([line], ":1:migo:")

    assert (entry.key, entry.size, entry.expires_at, entry.read) == (":1:migo:ruc_1", 786, None, True)
