"""Clearings on real servers: exactly what was asked for goes, on every node, and the row says how it went."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.utils import timezone

from api_service.models import ClearRun, RunLock, StoredAnswer
from api_service.services import clear_nodes, clearing, task_sending
from api_service.services.backends.base import LOCK_PREFIX, Deadline
from api_service.services.cache_service import APICacheService
from api_service.services.clearing import ClearingUnderWay, ClearSummary
from api_service.services.leases import LeaseLost
from api_service.services.locks import run_lock
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import RunPython, url_of
from tests.servers import Memcached
from tests.waiting import wait_until
from workers import tasks

pytestmark = pytest.mark.django_db

RUCS = [f"201000{number:05d}" for number in range(30)]
OURS = [
    *(f"migo:ruc_{ruc}" for ruc in RUCS),
    *("migo:invalid_20100000001", "migo:dni_20100000001", "migo:tipo_cambio_2026-01-28", "migo:loose"),
    *("migo:ruc_a:b", "migo:ruc_%2A", "migo:ruc_[x]"),
]
OTHERS = ["migo2:ruc_1", "amigo:ruc_1", "migo-x:ruc_1", "migo", "nubefact:doc_1", "session.abc"]


def asked(service: str = "migo", kind: str = "", pattern: str = "", **switches: bool) -> clearing.ClearRequest:
    return clearing.request(service, kind, pattern, via="command", requested_by="mirona", **switches)


def names(cache: APICacheService) -> set[str]:
    """Every live key without Django's prefix."""
    found = set()
    for node in cache.adapter.nodes():
        for entry in cache.adapter.scan(node, "", Deadline.after(10)):
            found.add(entry.key.removeprefix(cache.wire_prefix))
    return found


def fill(cache: APICacheService, keys: Iterable[str] = (*OURS, *OTHERS)) -> None:
    for name in keys:
        cache.cache.store(name, {"v": 1}, 600)


def many(cache: APICacheService, service: str, count: int) -> set[str]:
    keys = {f"{service}:ruc_{number}" for number in range(count)}
    assert cache.cache.store_many(dict.fromkeys(keys, 1), 600) == []
    return keys


@pytest.fixture(params=["memcached", "three nodes", "redis", "local_memory"])
def cache_(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> APICacheService:
    match request.param:
        case "memcached":
            use_cache_url(url_of(request.getfixturevalue("memcached")))
        case "three nodes":
            use_cache_url(url_of(*request.getfixturevalue("memcached_cluster")))
        case "redis":
            use_cache_url(request.getfixturevalue("redis_server").url)
        case _:
            use_cache_url("locmem://clearing")
    cache = APICacheService()
    cache.clear()
    fill(cache)
    return cache


# -- what goes and what stays, on every backend


@pytest.mark.parametrize(
    ("kind", "pattern", "gone"),
    [
        ("", "", OURS),
        ("ruc", "", [name for name in OURS if ":ruc_" in name]),
        ("tipo_cambio", "", ["migo:tipo_cambio_2026-01-28"]),
        ("other", "", ["migo:loose"]),
        ("", "20100000001", ["migo:ruc_20100000001", "migo:invalid_20100000001", "migo:dni_20100000001"]),
        ("ruc", "2010000001?", [f"migo:ruc_2010000001{digit}" for digit in range(10)]),
        ("ruc", "*[x]", ["migo:ruc_[x]"]),
        ("ruc", "*2A", ["migo:ruc_%2A"]),
        ("dni", "9*", []),
    ],
)
def test_exactly_the_selection_goes(cache_: APICacheService, kind: str, pattern: str, gone: list[str]) -> None:
    summary = clearing.clear(asked(kind=kind, pattern=pattern))
    assert names(cache_) == {*OURS, *OTHERS} - {*gone}
    assert (summary["found"], summary["removed"], summary["failed"]) == (len(gone), len(gone), 0)
    assert sum(summary["kinds"].values()) == len(gone)


def test_a_dry_run_counts_by_kind_and_node_and_removes_nothing(cache_: APICacheService) -> None:
    summary = clearing.clear(asked(dry_run=True))
    assert (summary["found"], summary["removed"], summary["failed"], summary["state"]) == (len(OURS), 0, 0, "done")
    assert summary["kinds"] == {"ruc": 33, "dni": 1, "invalid": 1, "other": 1, "tipo_cambio": 1}
    assert sum(node["found"] for node in summary["nodes"].values()) == len(OURS)
    assert set(summary["nodes"]) == set(cache_.adapter.nodes())
    assert names(cache_) == {*OURS, *OTHERS}


def test_no_lock_of_a_node_is_ever_removed(memcached: Memcached, cache: APICacheService) -> None:
    lock = f"{LOCK_PREFIX}dump.other"
    for key in (lock, f":1:migo:ruc_{LOCK_PREFIX}x", ":1:migo:ruc_1"):
        assert memcached.ask(f"set {key} 0 0 1\r\nx") == "STORED\r\n"
    assert clearing.clear(asked())["removed"] == 1
    assert memcached.ask(f"get {lock}").startswith("VALUE")


def test_keys_of_another_prefix_or_version_are_not_ours(memcached: Memcached, cache: APICacheService) -> None:
    foreign = ["migo:ruc_1", ":2:migo:ruc_1", "app:1:migo:ruc_1", ":1:MIGO:ruc_1"]
    for key in (*foreign, ":1:migo:ruc_1"):
        memcached.ask(f"set {key} 0 0 1\r\nx")
    assert clearing.clear(asked())["removed"] == 1
    assert [memcached.ask(f"get {key}")[:5] for key in foreign] == ["VALUE"] * len(foreign)


# -- the row


def test_the_row_says_who_what_how_many_and_how_long(cluster_cache: APICacheService) -> None:
    fill(cluster_cache)
    told: list[ClearSummary] = []
    summary = clearing.clear(asked(kind="ruc"), tell=told.append)
    row = ClearRun.objects.get()
    assert (row.requested_by, row.via, row.backend, row.state) == ("mirona", "command", "memcached", "done")
    assert (row.service, row.kind, row.pattern, row.found, row.removed, row.failed) == ("migo", "ruc", "", 33, 33, 0)
    assert row.finished_at is not None
    assert 0 < row.seconds < 30
    assert {node["state"] for node in row.nodes.values()} == {"done"}
    assert len(row.nodes) == 3
    assert summary == clearing.as_json(row) == json.loads(json.dumps(summary))
    assert told[-1]["removed"] == 33


def test_what_is_told_on_the_way_stands_in_the_row(cache: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks from outside sees how far it is."""
    many(cache, "migo", 3000)
    go_on, remove = Event(), cache.adapter.remove
    seen: list[tuple[str, int, int]] = []

    def held(node: str, keys: Iterable[str]) -> int:
        removed = remove(node, keys)
        assert go_on.wait(30)
        return removed

    def tell(summary: ClearSummary) -> None:
        row = ClearRun.objects.get()
        seen.append((row.state, row.found, summary["found"]))
        go_on.set()

    patch_every_adapter(monkeypatch, remove=held)
    clearing.clear(asked(), tell=tell)
    assert seen[0] == ("running", 1000, 1000)
    assert ClearRun.objects.get().removed == 3000


def patch_every_adapter(monkeypatch: pytest.MonkeyPatch, **methods: Callable[..., Any]) -> None:
    """A clearing makes an adapter of its own."""
    for name, method in methods.items():
        monkeypatch.setattr(type(APICacheService().adapter), name, staticmethod(method))


# -- trouble


def test_a_node_killed_amid_its_clearing_is_named_and_the_others_are_cleared(
    own_cluster: list[Memcached], own_cluster_cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, victim, done = own_cluster_cache, own_cluster[1], [0]
    many(cache, "migo", 12_000)
    kept = many(cache, "migo2", 300)
    remove = cache.adapter.remove

    def killing(node: str, keys: Iterable[str]) -> int:
        if node == victim.address and done[0] >= 2000:
            victim.kill()
        removed = remove(node, keys)
        done[0] += removed if node == victim.address else 0
        return removed

    patch_every_adapter(monkeypatch, remove=killing)
    summary = clearing.clear(asked())
    row = ClearRun.objects.get()
    assert (row.state, summary["nodes_failed"]) == ("failed", 1)
    assert victim.address in row.error
    assert row.nodes[victim.address]["removed"] == done[0] == 2000
    assert row.failed == row.nodes[victim.address]["found"] - 2000 > 0
    assert {node["state"] for name, node in row.nodes.items() if name != victim.address} == {"done"}

    monkeypatch.undo()
    victim.restart()
    assert names(cache) == {name for name in kept if cache.adapter.node_for(f":1:{name}") != victim.address}
    many(cache, "migo", 600)
    again = clearing.carry_out(ClearRun.objects.get(pk=row.pk))
    there = {f"migo:ruc_{number}" for number in range(600)}
    on_victim = {name for name in there if cache.adapter.node_for(f":1:{name}") == victim.address}
    assert (again["state"], again["failed"], again["error"]) == ("done", 0, "")
    assert again["nodes"][victim.address]["removed"] == 2000 + len(on_victim)
    assert there - names(cache) == on_victim, "a node that was done is left alone"


def test_the_traffic_of_other_services_goes_on_and_loses_nothing(cluster_cache: APICacheService) -> None:
    """Another service is written and read all the time, this one too: what was there before the start is gone."""
    before, kept, stop = many(cluster_cache, "migo", 20_000), many(cluster_cache, "migo2", 500), Event()
    written, lost = set(kept), list[str]()

    def traffic() -> None:
        number = 0
        while not stop.is_set():
            name = f"migo2:ruc_new{number}"
            cluster_cache.cache.store(name, number, 600)
            written.add(name)
            lost.extend(key for key in (name, f"migo2:ruc_{number % 500}") if cluster_cache.cache.fetch(key) is None)
            number += 1

    thread = Thread(target=traffic)
    thread.start()
    try:
        wait_until(lambda: len(written) > 520)
        summary = clearing.clear(asked())
    finally:
        stop.set()
        thread.join(10)
    assert lost == []
    assert names(cluster_cache) == written
    assert (summary["removed"], summary["found"]) == (len(before), len(before))


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_node_that_does_not_answer_costs_a_moment_and_is_named(
    own_cluster: list[Memcached], own_cluster_cache: APICacheService, harm: str
) -> None:
    fill(own_cluster_cache)
    getattr(own_cluster[0], harm)()
    summary = clearing.clear(asked())
    assert (summary["state"], summary["nodes_failed"]) == ("failed", 1)
    assert own_cluster[0].address in summary["error"]
    assert summary["seconds"] < 10
    assert summary["removed"] == summary["found"] > 0


def test_a_node_that_left_the_settings_does_not_keep_a_clearing_open(
    own_cluster: list[Memcached], own_cluster_cache: APICacheService, use_cache_url: UseCacheUrl
) -> None:
    own_cluster[0].kill()
    run = ClearRun.objects.get(pk=clearing.clear(asked())["run"])
    use_cache_url(url_of(*own_cluster[1:]))
    again = clearing.carry_out(run)
    assert (again["state"], again["nodes"][own_cluster[0].address]["state"]) == ("done", "left")


CLEAR = """
import time
from api_service.services import clearing

def tell(summary):
    print("told", flush=True)
    time.sleep(60)

clearing.clear(clearing.request("migo", via="command"), tell=tell)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_killed_amid_a_clearing_blocks_the_next_for_its_lease_only(
    cache: APICacheService, memcached: Memcached, run_python: RunPython
) -> None:
    many(cache, "migo", 100)
    process = run_python(CLEAR, CACHE_URL=url_of(memcached))
    assert process.stdout is not None
    assert process.stdout.readline() == "told\n"
    process.kill()
    process.wait(10)
    dead = ClearRun.objects.get()
    assert (dead.state, dead.removed) == ("running", 100)
    with pytest.raises(ClearingUnderWay, match=f"run {dead.pk}"):
        clearing.clear(asked())
    [lock] = RunLock.objects.exclude(token="")
    assert lock.expires_at is not None
    assert lock.expires_at <= timezone.now() + timedelta(seconds=clearing.LEASE_SECONDS)

    RunLock.objects.update(expires_at=timezone.now())
    many(cache, "migo", 7)
    assert clearing.clear(asked())["removed"] == 7
    dead.refresh_from_db()
    assert (dead.state, "interrupted" in dead.error) == ("failed", True)
    assert clearing.carry_out(dead)["state"] == "done"


def test_an_interrupt_is_written_down_and_can_be_resumed(cache: APICacheService) -> None:
    fill(cache)

    def tell(_summary: ClearSummary) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clearing.clear(asked(), tell=tell)
    row = ClearRun.objects.get()
    assert (row.state, "KeyboardInterrupt" in row.error) == ("failed", True)
    assert clearing.carry_out(row)["state"] == "done"
    assert RunLock.objects.exclude(token="").count() == 0


def test_a_clearing_that_is_done_is_told_again_and_not_repeated(cache: APICacheService) -> None:
    fill(cache)
    first = clearing.clear(asked())
    fill(cache)
    assert clearing.carry_out(ClearRun.objects.get()) == first
    assert "migo:ruc_20100000001" in names(cache)


# -- one at a time


def test_two_clearings_of_a_service_do_not_run_side_by_side(cache: APICacheService) -> None:
    fill(cache)
    with run_lock("clear:migo", 60):
        with pytest.raises(ClearingUnderWay, match="another clearing of migo"):
            clearing.clear(asked())
        assert clearing.clear(asked("nubefact"))["removed"] == 1
    refused = ClearRun.objects.get(service="migo")
    assert (refused.state, "under way" in refused.error) == ("failed", True)
    assert "migo:ruc_20100000001" in names(cache)


@pytest.mark.django_db(transaction=True)
def test_a_task_that_comes_again_waits_for_the_lock_of_the_dead_worker(cache: APICacheService) -> None:
    fill(cache)
    held = run_lock("clear:migo", 0.7)
    held.__enter__()
    assert clearing.clear(asked(), patience=10)["state"] == "done"


def test_who_lost_the_lock_stops_and_leaves_the_row_to_the_other(cache: APICacheService) -> None:
    fill(cache)

    def tell(_summary: ClearSummary) -> None:
        RunLock.objects.update(token="somebody else")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clear_nodes, "TELL_SECONDS", 0.01)
        release = Event()
        remove = cache.adapter.remove

        def slow(node: str, keys: Iterable[str]) -> int:
            release.wait(0.3)
            return remove(node, keys)

        patch_every_adapter(patch, remove=slow)
        with pytest.raises(LeaseLost):
            clearing.clear(asked(), tell=tell)
    assert ClearRun.objects.get().state == "running"


# -- stored answers


@pytest.fixture
def answers() -> None:
    rows = [("migo", "ruc", f"20{number:03d}") for number in range(25)] + [
        ("migo", "dni", "20001"),
        ("x", "ruc", "20001"),
    ]
    StoredAnswer.objects.bulk_create(
        StoredAnswer(service=service, kind=kind, identifier=name, data="{}", born_at=timezone.now())
        for service, kind, name in rows
    )


@pytest.mark.parametrize(
    ("kind", "pattern", "left"), [("", "", 1), ("ruc", "", 2), ("ruc", "2000?", 17), ("", "20001", 25)]
)
def test_stored_answers_of_the_selection_are_forgotten_when_asked(
    cache: APICacheService, answers: None, monkeypatch: pytest.MonkeyPatch, kind: str, pattern: str, left: int
) -> None:
    monkeypatch.setattr(clearing, "ANSWERS_BATCH", 4)
    counted = clearing.clear(asked(kind=kind, pattern=pattern, with_answers=True, dry_run=True))
    assert (counted["answers_found"], counted["answers_removed"]) == (27 - left, 0)
    assert clearing.clear(asked(kind=kind, pattern=pattern))["answers_found"] == 0
    assert StoredAnswer.objects.count() == 27
    summary = clearing.clear(asked(kind=kind, pattern=pattern, with_answers=True))
    assert (summary["answers_found"], summary["answers_removed"]) == (27 - left, 27 - left)
    assert StoredAnswer.objects.count() == left


def test_answers_are_forgotten_before_the_keys_so_that_none_fills_the_cache_again(
    cache: APICacheService, answers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache)
    left_at_removal: list[int] = []
    forget, adapter = clearing._answers, cache.adapter

    def spied(wanted: Any) -> Iterable[list[int]]:
        yield from forget(wanted)
        left_at_removal.append(len(names(cache)))

    monkeypatch.setattr(clearing, "_answers", spied)
    clearing.clear(asked(with_answers=True))
    assert left_at_removal == [len(OURS) + len(OTHERS)]
    assert len(list(adapter.scan(adapter.nodes()[0], "", Deadline.after(5)))) == len(OTHERS)


# -- through a worker


def test_the_task_clears_and_says_what_it_did_in_json(cache: APICacheService) -> None:
    fill(cache)
    counted = tasks.clear_service_cache(service="migo")
    summary = tasks.clear_service_cache(service="migo", kind="ruc", pattern="2010000000*", dry_run=False)
    assert (counted["found"], summary["removed"]) == (len(OURS), 10)
    assert json.loads(json.dumps(summary)) == summary
    assert list(ClearRun.objects.values_list("via", flat=True)) == ["task", "task"]


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({}, "service: Missing required argument"),
        ({"service": "MIGO"}, "service name"),
        ({"service": "migo", "patern": "x"}, "patern"),
        ({"service": "migo", "dry_run": "no"}, "dry_run"),
        ({"service": "migo", "run": 99_999}, "no clearing 99999"),
    ],
)
def test_a_call_that_is_not_understood_clears_nothing(cache: APICacheService, kwargs: Any, error: str) -> None:
    fill(cache)
    with pytest.raises((ValueError, clearing.NoSuchClearing), match=error):
        tasks.clear_service_cache(**kwargs)
    assert names(cache) == {*OURS, *OTHERS}


@pytest.mark.parametrize("error", [clearing.NOT_TAKEN, clearing.INTERRUPTED, "another clearing of migo is under way"])
def test_a_message_that_comes_after_its_clearing_was_told_as_failed_clears_nothing(
    cache: APICacheService, error: str
) -> None:
    """Whoever read that it failed may have cleared again, and filled the cache since."""
    run = clearing._record(asked())
    clearing._fail(error, run, timezone.now())
    fill(cache)
    result = tasks.clear_service_cache(service="migo", run=run.pk, dry_run=False)
    assert (result["state"], result["error"], result["removed"]) == ("failed", error, 0)
    assert names(cache) == {*OURS, *OTHERS}
    assert clearing.carry_out(run)["removed"] == len(OURS)


def test_a_message_that_comes_again_goes_on_with_what_its_killed_worker_left(cache: APICacheService) -> None:
    run = clearing._record(asked())
    ClearRun.objects.update(state="running")
    fill(cache)
    result = tasks.clear_service_cache(service="migo", run=run.pk, dry_run=False)
    assert (result["run"], result["state"], result["removed"]) == (run.pk, "done", len(OURS))


def test_a_message_that_comes_again_goes_on_where_a_worker_was_told_to_end(cache: APICacheService) -> None:
    run = clearing._record(asked())
    fill(cache)

    def tell(_summary: ClearSummary) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        clearing.carry_out(run, tell=tell)
    fill(cache)
    assert tasks.clear_service_cache(service="migo", run=run.pk, dry_run=False)["state"] == "done"
    assert ClearRun.objects.get().error == ""


def test_a_number_of_another_clearing_is_not_taken_for_this_one(cache: APICacheService) -> None:
    fill(cache)
    other = clearing.clear(asked("nubefact"))["run"]
    with pytest.raises(ValueError, match="is of nubefact"):
        tasks.clear_service_cache(service="migo", run=other, dry_run=False)
    assert "migo:loose" in names(cache)


@pytest.fixture
def no_broker(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")


def test_a_broker_that_is_down_leaves_no_row_behind(cache: APICacheService, no_broker: None) -> None:
    with pytest.raises(task_sending.BrokerDown):
        clearing.submit(asked())
    assert ClearRun.objects.count() == 0


def test_a_broker_that_is_down_leaves_a_failed_clearing_as_it_was(
    own_memcached: Memcached, use_cache_url: UseCacheUrl, no_broker: None
) -> None:
    use_cache_url(url_of(own_memcached))
    own_memcached.kill()
    run = clearing.find(clearing.clear(asked())["run"])
    with pytest.raises(task_sending.BrokerDown):
        clearing.submit_again(run)
    again = ClearRun.objects.get()
    assert (again.state, again.error, again.finished_at) == ("failed", run.error, run.finished_at)


def test_a_clearing_that_no_worker_took_does_not_wait_for_ever() -> None:
    now = timezone.now()
    old, young = clearing._record(asked()), clearing._record(asked())
    ClearRun.objects.filter(pk=old.pk).update(queued_at=now - clearing.WAITING_AT_MOST - timedelta(seconds=1))
    clearing.close_abandoned(now)
    states = dict(ClearRun.objects.values_list("pk", "state"))
    assert states == {old.pk: "failed", young.pk: "waiting"}
    assert "no worker" in ClearRun.objects.get(pk=old.pk).error


def test_a_clearing_under_its_lock_is_not_taken_for_abandoned() -> None:
    run = clearing._record(asked())
    ClearRun.objects.update(state="running")
    with run_lock("clear:migo", 60):
        assert clearing.find(run.pk).state == "running"
    assert clearing.find(run.pk).state == "failed"


def test_rows_are_pruned_with_age_dry_runs_sooner() -> None:
    now = timezone.now()
    for days, dry_run in ((29, True), (31, True), (399, False), (401, False)):
        ClearRun.objects.create(started_at=now - timedelta(days=days), dry_run=dry_run, service="migo", via="task")
    assert clearing.prune(now) == 2
    assert sorted((now - row.started_at).days for row in ClearRun.objects.all()) == [29, 399]
