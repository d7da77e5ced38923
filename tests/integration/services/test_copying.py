"""Copies between real servers: what arrives, what does not and why, and what an interruption costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.core.cache import caches
from django.utils import timezone
from redis import Redis as RedisClient

from api_service.models import CopyRun, RunLock
from api_service.services import copy_plan, copying
from api_service.services.backends import Adapter, Deadline, Entry, Item, Written, adapter_for_url
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import CannotCopy, Job
from api_service.services.copying import CopySummary, CopyUnderWay
from api_service.services.leases import lease
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import RunPython, url_of
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

NAMES = [f"migo:ruc_{number}" for number in range(300)]
DATA = b'{"v":1,"t":1.5,"e":null,"d":"x"}'


@pytest.fixture
def clusters() -> Iterator[Callable[[int], list[Memcached]]]:
    """Nodes of a test's own, any number at a time."""
    with ExitStack() as stack:

        def start(count: int) -> list[Memcached]:
            nodes = [Memcached().start() for _ in range(count)]
            for node in nodes:
                stack.callback(node.close)
            return nodes

        yield start


def filled(names: list[str] = NAMES, ttl: float = 600) -> APICacheService:
    service = APICacheService()
    assert service.set_many({name: {"name": name, "text": "ñ" * 50} for name in names}, ttl) == []
    return service


def job(service: APICacheService, url: str, **options: Any) -> Job:
    return Job(service.adapter, adapter_for_url(url, "--to"), service.wire_prefix, **options)


def copied(service: APICacheService, url: str, **options: Any) -> CopySummary:
    return copying.copy(job(service, url, **options), patience=0)


def copied_without(node: Memcached, service: APICacheService, url: str, **options: Any) -> CopySummary:
    """A copy of a filled cluster of which a node is down, which is up and empty afterwards."""
    filled()
    node.kill()
    summary = copied(service, url, **options)
    node.restart()
    return summary


def listed(adapter: Adapter) -> dict[str, Entry]:
    return {entry.key: entry for node in adapter.nodes() for entry in adapter.scan(node, "", Deadline.after(10))}


@pytest.mark.parametrize("way", ["memcached to redis", "redis to memcached", "memcached to memcached"])
def test_every_key_arrives_with_what_is_left_of_its_life(
    way: str,
    memcached_cluster: list[Memcached],
    redis_server: Redis,
    clusters: Callable[[int], list[Memcached]],
    use_cache_url: UseCacheUrl,
) -> None:
    urls = {"memcached": url_of(*memcached_cluster), "redis": redis_server.url}
    source, target = way.split(" to ")
    to = url_of(*clusters(2)) if source == target else urls[target]
    use_cache_url(urls[source])
    service = filled()
    service.set("nubefact:doc_1", 5, ttl=40 * 86_400)
    caches["default"].set("session.abc", "not ours", 600)
    before = listed(service.adapter)
    summary = copied(service, to)
    use_cache_url(to)
    after, found = listed(APICacheService().adapter), APICacheService().get_many([*NAMES, "nubefact:doc_1"])

    assert (summary["found"], summary["copied"], summary["state"]) == (301, 301, "done")
    assert (summary["missing"], summary["skipped"], summary["unproved"]) == (0, {}, {})
    assert summary["verdicts"] == {"same": 301}
    assert set(after) == set(before) - {":1:session.abc"}
    assert found == {name: {"name": name, "text": "ñ" * 50} for name in NAMES} | {"nubefact:doc_1": 5}
    for key, entry in after.items():
        assert entry.expires_at == pytest.approx(before[key].expires_at, abs=3)


def test_nothing_else_at_the_target_is_touched(
    cache: APICacheService, redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    client = RedisClient(port=redis_server.port)
    client.set("theirs", "1")
    client.set(":1:migo:ruc_other", DATA)
    filled(NAMES[:3])
    copied(cache, redis_server.url)

    assert client.get("theirs") == b"1"
    assert client.get(":1:migo:ruc_other") == DATA
    assert client.dbsize() == 5


def value(born: float, data: int) -> bytes:
    return b'{"v":1,"t":%.3f,"e":null,"d":%d}' % (born, data)


@pytest.mark.parametrize(("replace", "kept"), [(False, {"a": 2, "b": 2, "c": 9}), (True, {"a": 1, "b": 2, "c": 1})])
def test_newer_answers_win_unless_all_are_to_be_replaced(
    cache: APICacheService, redis_server: Redis, replace: bool, kept: dict[str, int]
) -> None:
    client, node = RedisClient(port=redis_server.port), cache.adapter.nodes()[0]
    now = time.time()
    here = {"a": value(now - 50, 1), "b": value(now - 50, 2), "c": value(now - 50, 1)}
    there = {"a": value(now - 20, 2), "b": value(now - 90, 1), "c": b"9"}
    cache.adapter.write(node, [Item(f":1:migo:{key}", data, None) for key, data in here.items()], replace=True)
    client.mset({f":1:migo:{key}": data for key, data in there.items()})
    summary = copied(cache, redis_server.url, replace=replace, sample=0)

    wanted = {**here, **{key: there[key] for key in "ac" if not replace}}
    assert {key: client.get(f":1:migo:{key}") for key in kept} == wanted
    assert (summary["copied"], summary["already_there"]) == ((3, 0) if replace else (1, 2))


def test_what_cannot_be_copied_is_counted_by_reason(
    redis_server: Redis, memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(redis_server.url)
    service = filled(NAMES[:10])
    client = RedisClient(port=redis_server.port)
    client.set(":1:migo:ruc_big", b'"' + b"x" * 1_200_000 + b'"')
    client.set(":1:migo:ruc_pickle", b"\x80\x05K\x07.")
    client.set(":1:migo:" + "x" * 243, DATA)
    client.set(":1:migo:has space", DATA)
    summary = copied(service, url_of(memcached))

    assert summary["skipped"] == {"foreign": 1, "too_large": 1, "invalid_key": 1}
    assert (summary["found"], summary["copied"], summary["missing"]) == (13, 10, 0)
    assert summary["examples"]["too_large"] == ":1:migo:ruc_big: SERVER_ERROR object too large for cache"
    assert "250 bytes" in summary["examples"]["invalid_key"]
    assert set(listed(adapter_for_url(url_of(memcached), "--to"))) == {f":1:{name}" for name in NAMES[:10]}


def test_left_overs_where_the_cache_does_not_look_stay_behind(
    cluster_cache: APICacheService, redis_server: Redis
) -> None:
    """After other nodes were in use: an old answer must not come back to life."""
    filled(NAMES[:5])
    adapter, key = cluster_cache.adapter, f":1:{NAMES[0]}"
    wrong = next(node for node in adapter.nodes() if node != adapter.node_for(key))
    adapter.write(wrong, [Item(key, DATA, None)], replace=True)
    summary = copied(cluster_cache, redis_server.url)

    assert (summary["copied"], summary["skipped"]) == (5, {"misplaced": 1})
    assert RedisClient(port=redis_server.port).get(key) != DATA


def test_keys_that_end_meanwhile_are_no_failure(cache: APICacheService, redis_server: Redis) -> None:
    filled(NAMES[:50], ttl=600)
    adapter = cache.adapter
    original = adapter.read

    def read_later(node: str, keys: Any) -> Any:
        wanted = list(keys)
        adapter.remove(node, wanted[:20])
        return original(node, wanted)

    adapter.read = read_later  # type: ignore[method-assign]
    summary = copied(cache, redis_server.url, sample=0)

    assert (summary["found"], summary["copied"], summary["skipped"]) == (50, 30, {"gone": 20})
    assert (summary["missing"], summary["state"]) == (0, "done")


# -- the proof can fail


class Forging:
    """A target that says it stored everything."""

    def __init__(self, adapter: Adapter, forge: Callable[[list[Item]], list[Item]]) -> None:
        self._adapter = adapter
        self._forge = forge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def write(self, node: str, items: Any, *, replace: bool) -> Written:
        wanted = list(items)
        self._adapter.write(node, self._forge(wanted), replace=replace)
        return Written(stored=len(wanted))


@pytest.mark.parametrize(
    ("forge", "missing", "verdicts"),
    [
        (lambda items: items[4:], 4, {"same": 46, "missing": 4}),
        (
            lambda items: [item._replace(data=item.data.replace(b"x", b"y")) for item in items[:3]] + items[3:],
            0,
            {"same": 47, "differs": 3},
        ),
    ],
    ids=["lost", "altered"],
)
def test_a_target_that_lost_or_altered_values_is_found_out(
    cache: APICacheService, redis_server: Redis, forge: Any, missing: int, verdicts: dict[str, int]
) -> None:
    items = [Item(f":1:{name}", DATA, time.time() + 600) for name in NAMES[:50]]
    cache.adapter.write(cache.adapter.nodes()[0], items, replace=True)
    target: Any = Forging(adapter_for_url(redis_server.url, "--to"), forge)
    summary = copying.copy(Job(cache.adapter, target, cache.wire_prefix), patience=0)

    assert (summary["missing"], summary["verdicts"]) == (missing, verdicts)
    assert CopyRun.objects.get(pk=summary["run"]).differing == 50 - verdicts["same"]


def test_a_target_that_is_too_small_is_found_out(cache: APICacheService) -> None:
    service, small = APICacheService(), Memcached(memory=4)
    service.set_many(dict.fromkeys(NAMES[:100], "x" * 100000), 600)
    small.start()
    try:
        summary = copied(service, url_of(small))
    finally:
        small.close()

    assert summary["copied"] == 100
    assert summary["missing"] > 0


def test_a_copy_under_traffic_brings_every_key_that_was_there(
    cluster_cache: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_plan, "BATCH", 10)
    filled()
    stop, rounds = Event(), 0

    def traffic() -> None:
        nonlocal rounds
        while not stop.is_set():
            for name in NAMES[::7]:
                cluster_cache.set(name, {"round": rounds}, 600)
                cluster_cache.get(name)
            rounds += 1

    thread = Thread(target=traffic)
    thread.start()
    try:
        wait_until(lambda: rounds > 1)
        before = rounds
        summary = copied(cluster_cache, redis_server.url)
    finally:
        stop.set()
        thread.join(10)

    assert rounds > before
    assert (summary["found"], summary["copied"], summary["missing"]) == (300, 300, 0)
    assert set(summary["verdicts"]) <= {"same", "changed"}
    assert summary["verdicts"]["same"] >= 300 - len(NAMES[::7])


def test_only_so_many_values_are_compared(cache: APICacheService, redis_server: Redis) -> None:
    filled()
    assert copied(cache, redis_server.url, sample=40)["checked"] == 40


# -- nodes that die


def test_a_dead_source_node_is_told_and_the_others_are_copied(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], redis_server: Redis
) -> None:
    filled()
    own_cluster[1].kill()
    summary = copied(own_cluster_cache, redis_server.url)
    states = [summary["nodes"][node.address]["state"] for node in own_cluster]

    assert states == ["copied", "failed", "copied"]
    assert summary["state"] == "failed"
    assert summary["nodes"][own_cluster[1].address]["error"]
    assert RedisClient(port=redis_server.port).dbsize() == summary["copied"] > 0
    assert summary["missing"] == 0


def test_a_target_node_that_dies_amid_the_copy_costs_its_keys_only_and_the_next_run_brings_them(
    cluster_cache: APICacheService, own_cluster: list[Memcached], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_plan, "BATCH", 20)
    filled()
    target, writes = adapter_for_url(url_of(*own_cluster), "--to"), 0
    original = target.write

    def write(node: str, items: Any, *, replace: bool) -> Written:
        nonlocal writes
        writes += 1
        if writes == 10:
            own_cluster[2].kill()
        return original(node, items, replace=replace)

    target.write = write  # type: ignore[method-assign]
    work = Job(cluster_cache.adapter, target, cluster_cache.wire_prefix)
    first = copying.copy(work, patience=0)
    own_cluster[2].restart()
    second = copying.copy(work, patience=0)

    assert first["state"] == "failed"
    assert own_cluster[2].address in first["error"]
    assert first["skipped"]["target_down"] + first["copied"] == 300
    assert first["skipped"]["target_down"] > 0
    assert (second["run"], second["resumed"], second["state"]) == (first["run"], True, "done")
    # What the dead node had been given before is in nodes that are done already: the proof names it
    there = set(listed(target))
    assert second["missing"] == 300 - len(there)
    third = copying.copy(work, patience=0)
    assert (third["run"] != second["run"], third["missing"], third["found"]) == (True, 0, 300)
    assert len(listed(target)) == 300


# -- interrupted


KILLED = """
import os, signal
from api_service.services import copying, copy_plan
from api_service.services.backends import adapter_for_url
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import Job
copying.LEASE_SECONDS, copying.TELL_SECONDS, copy_plan.BATCH = 60.0, 0.0, 20
batch = copying._Copying._batch
done = []
def killed(self, node, entries, *rest):
    batch(self, node, entries, *rest)
    done.append(node)
    if len(set(done)) == 2 and done.count(node) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
copying._Copying._batch = killed
service = APICacheService()
copying.copy(Job(service.adapter, adapter_for_url(os.environ["TO"], "TO"), service.wire_prefix))
"""


@pytest.mark.django_db(transaction=True)
def test_a_killed_copy_ends_with_its_lease_and_goes_on_where_it_was(
    cluster_cache: APICacheService,
    memcached_cluster: list[Memcached],
    redis_server: Redis,
    run_python: RunPython,
) -> None:
    filled()
    process = run_python(KILLED, CACHE_URL=url_of(*memcached_cluster), TO=redis_server.url)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == -9, output
    killed = CopyRun.objects.get()
    states = [killed.nodes[node.address]["state"] for node in memcached_cluster]
    assert (killed.state, states) == ("running", ["copied", "running", "waiting"])
    gets = int(memcached_cluster[0].stats()["cmd_get"])
    client = RedisClient(port=redis_server.port)
    assert 40 < client.dbsize() < 300

    held_until = RunLock.objects.get(name=copying.LOCK).expires_at
    assert held_until is not None
    copying.close_abandoned(held_until - timedelta(seconds=0.1))
    killed.refresh_from_db()
    assert killed.state == "running"
    copying.close_abandoned(held_until + timedelta(minutes=5))
    killed.refresh_from_db()
    assert (killed.state, killed.error, killed.finished_at) == ("failed", copying.INTERRUPTED, held_until)

    RunLock.objects.update(expires_at=timezone.now())
    summary = copying.copy(job(cluster_cache, redis_server.url, sample=0), patience=10)
    assert (summary["run"], summary["resumed"], summary["state"]) == (killed.pk, True, "done")
    assert summary["copied"] + summary["already_there"] == 300
    assert summary["already_there"] == 40
    assert summary["missing"] == 0
    assert client.dbsize() == 300
    # Listed again for the proof, but no value of it was read
    assert int(memcached_cluster[0].stats()["cmd_get"]) - gets < 20


def test_a_copy_that_ended_is_not_gone_on_with(cache: APICacheService, redis_server: Redis) -> None:
    filled(NAMES[:10])
    first, second = copied(cache, redis_server.url), copied(cache, redis_server.url)

    assert first["run"] != second["run"]
    assert (second["resumed"], second["copied"], second["already_there"]) == (False, 0, 10)


def test_a_restart_begins_anew(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], redis_server: Redis
) -> None:
    first = copied_without(own_cluster[0], own_cluster_cache, redis_server.url)
    again = copying.copy(job(own_cluster_cache, redis_server.url), restart=True, patience=0)

    assert first["state"] == "failed"
    assert (again["run"] != first["run"], again["resumed"], again["state"]) == (True, False, "done")
    assert again["already_there"] == first["copied"]


def test_whatever_stops_a_copy_is_on_record_and_the_next_one_goes_on(
    cache: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(copy_plan, "BATCH", 20)
    filled()

    def interrupt(summary: CopySummary) -> None:
        if summary["found"] >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(job(cache, redis_server.url), patience=0, tell=interrupt)
    stopped = CopyRun.objects.get()
    summary = copied(cache, redis_server.url)

    assert (stopped.state, stopped.error) == ("failed", "stopped: KeyboardInterrupt")
    assert (stopped.found, stopped.finished_at is None) == (100, False)
    assert (summary["run"], summary["resumed"], summary["found"]) == (stopped.pk, True, 300)
    assert (summary["copied"], summary["already_there"], summary["missing"]) == (200, 100, 0)


def test_a_copy_that_failed_long_ago_is_begun_anew(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], redis_server: Redis
) -> None:
    """Its keys have ended since: who switches to the target would pay for all of them."""
    first = copied_without(own_cluster[0], own_cluster_cache, redis_server.url)
    CopyRun.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    again = copied(own_cluster_cache, redis_server.url)
    assert (first["state"], again["state"]) == ("failed", "done")
    assert (again["run"] != first["run"], again["resumed"]) == (True, False)


@pytest.mark.parametrize("another", [False, True], ids=["at once", "after a copy to another target"])
def test_a_copy_that_was_killed_long_ago_is_begun_anew(
    another: bool,
    cluster_cache: APICacheService,
    redis_server: Redis,
    clusters: Callable[[int], list[Memcached]],
) -> None:
    """Nobody opened a page nor checked the cache since, which close it as well."""
    killed_at, work = timezone.now() - timedelta(hours=3), job(cluster_cache, redis_server.url)
    places = [copy_plan.label(adapter.name, adapter.nodes()) for adapter in (work.source, work.target)]
    states = dict(zip(work.source.nodes(), [copy_plan.COPIED, copy_plan.RUNNING, copy_plan.WAITING], strict=True))
    killed = CopyRun.objects.create(
        purpose=work.purpose,
        source=places[0],
        target=places[1],
        started_at=killed_at,
        nodes={node: copy_plan.new_node(state, replaced=False) for node, state in states.items()},
    )
    RunLock.objects.create(name=copying.LOCK, token="of the killed", expires_at=killed_at)
    filled(NAMES[:60])
    if another:
        copied(cluster_cache, url_of(*clusters(1)))
    summary = copied(cluster_cache, redis_server.url)

    killed.refresh_from_db()
    assert (killed.state, killed.error, killed.finished_at) == ("failed", copying.INTERRUPTED, killed_at)
    assert (summary["run"] != killed.pk, summary["resumed"], summary["copied"]) == (True, False, 60)


@pytest.mark.parametrize("before", [False, True], ids=["begun without", "begun with it"])
def test_overwriting_does_not_trust_what_was_copied_without_it(
    before: bool, own_cluster_cache: APICacheService, own_cluster: list[Memcached], redis_server: Redis
) -> None:
    first = copied_without(own_cluster[0], own_cluster_cache, redis_server.url, replace=before)
    client = RedisClient(port=redis_server.port)
    theirs = dict.fromkeys(listed(own_cluster_cache.adapter), b"9")
    client.mset(theirs)
    again = copied(own_cluster_cache, redis_server.url, replace=True, sample=0)

    assert (first["state"], again["state"], again["run"]) == ("failed", "done", first["run"])
    left = sum(client.get(key) == b"9" for key in theirs)
    assert left == (len(theirs) if before else 0)


def test_two_copies_at_once_do_not_happen(cache: APICacheService, redis_server: Redis) -> None:
    filled(NAMES[:10])
    with lease(copying.LOCK, 30, 0), pytest.raises(CopyUnderWay):
        copied(cache, redis_server.url)

    assert CopyRun.objects.count() == 0
    assert RedisClient(port=redis_server.port).dbsize() == 0


# -- refused before anything is done


def test_the_same_cache_by_any_name_is_no_target(cache: APICacheService, memcached: Memcached) -> None:
    filled(NAMES[:3])
    before = set(listed(cache.adapter))
    for url in (url_of(memcached), f"memcached://localhost:{memcached.port}"):
        with pytest.raises(CannotCopy, match="a node of the cache in use"):
            copied(cache, url)

    assert CopyRun.objects.count() == 0
    assert set(listed(cache.adapter)) == before
    assert "identity" not in memcached.ask("lru_crawler metadump hash")


def test_another_database_of_the_same_redis_is_a_target(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    service = filled(NAMES[:5])
    summary = copied(service, f"redis://127.0.0.1:{redis_server.port}/7")

    assert (summary["copied"], summary["state"]) == (5, "done")
    assert RedisClient(port=redis_server.port, db=7).dbsize() == 5


@pytest.mark.parametrize("kind", ["memcached", "redis"])
def test_a_target_that_does_not_answer_is_refused(
    kind: str, cache: APICacheService, own_memcached: Memcached, own_redis: Redis
) -> None:
    filled(NAMES[:3])
    server = own_memcached if kind == "memcached" else own_redis
    server.kill()
    with pytest.raises(CannotCopy, match="target does not answer"):
        copied(cache, server.url)

    assert CopyRun.objects.count() == 0


def test_a_wrong_password_is_refused_and_in_no_text(cache: APICacheService, own_redis: Redis) -> None:
    RedisClient(port=own_redis.port).config_set("requirepass", "right-password")
    url = f"redis://:wrong-password@{own_redis.address}/0"
    with pytest.raises(CannotCopy) as refused:
        copied(cache, url)
    filled(NAMES[:3])
    summary = copied(cache, url.replace("wrong", "right"))

    assert "password" in str(refused.value)  # what Redis says of it
    assert "wrong-password" not in str(refused.value)
    assert (summary["copied"], summary["target"]) == (3, f"redis {own_redis.address}/0")
    assert "right-password" not in str(CopyRun.objects.values())


# -- other nodes of the same cache


def test_a_node_more_gets_its_keys_before_the_switch(
    clusters: Callable[[int], list[Memcached]], use_cache_url: UseCacheUrl
) -> None:
    nodes = clusters(3)
    use_cache_url(url_of(*nodes[:2]))
    service = filled()
    summary = copied(service, url_of(*nodes), purpose=CopyRun.Purpose.MOVE)
    use_cache_url(url_of(*nodes))

    assert len(APICacheService().get_many(NAMES)) == 300
    assert 50 < summary["copied"] < 150
    assert int(nodes[2].stats()["curr_items"]) == summary["copied"] == summary["found"]
    assert summary["missing"] == 0


def test_the_keys_of_a_node_that_leaves_get_new_homes(
    clusters: Callable[[int], list[Memcached]], use_cache_url: UseCacheUrl
) -> None:
    nodes = clusters(3)
    use_cache_url(url_of(*nodes))
    service = filled()
    leaving = len(list(service.adapter.scan(nodes[2].address, "", Deadline.after(5))))
    summary = copied(service, url_of(*nodes[:2]), purpose=CopyRun.Purpose.MOVE)
    nodes[2].kill()
    use_cache_url(url_of(*nodes[:2]))

    assert len(APICacheService().get_many(NAMES)) == 300
    assert summary["copied"] == leaving


def test_a_node_by_another_name_is_refused(
    clusters: Callable[[int], list[Memcached]], use_cache_url: UseCacheUrl
) -> None:
    nodes = clusters(2)
    use_cache_url(url_of(nodes[0]))
    for url, said in (
        (f"memcached://localhost:{nodes[0].port},{nodes[1].address}", "by another name"),
        (url_of(nodes[0]), "no key would move"),
    ):
        with pytest.raises(CannotCopy, match=said):
            copied(APICacheService(), url, purpose=CopyRun.Purpose.MOVE)
