"""Hits that an inventory makes on a node are nobody's: left out of its hit ratio, or there is none."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from redis import Redis as RedisClient

from api_service.models import HealthSample, NodeListing, TrackRun
from api_service.services import key_table, monitoring, own_hits, refill
from api_service.services.backends import Entry
from api_service.services.backends.memcached import MemcachedAdapter
from api_service.services.backends.redis import RedisAdapter
from api_service.services.cache_service import APICacheService
from api_service.services.key_tracking import track_keys
from api_service.services.node_facts import OwnReads
from tests.conftest import UseCacheUrl
from tests.integration.services.warm_runs import read, run
from tests.rucs import valid_rucs
from tests.servers import Memcached, Redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("counts_at_once")]

RUCS = 300


def checked() -> HealthSample:
    """A run that was judged, so that the next one is compared with it."""
    sample = monitoring.run_health_check()
    HealthSample.objects.filter(pk=sample.pk).update(judged_at=timezone.now())
    return sample


def ratio_of(sample: HealthSample) -> float | None:
    found: float | None = sample.nodes.get().hit_ratio
    return found


def look_up(hits: int, misses: int) -> None:
    cache = APICacheService()
    assert cache.set("migo:there", 1)
    for _ in range(hits):
        assert cache.get("migo:there") == 1
    for number in range(misses):
        assert cache.get(f"migo:absent_{number}") is None


@pytest.fixture
def filled(
    request: pytest.FixtureRequest, memcached: Memcached, redis_server: Redis, use_cache_url: UseCacheUrl
) -> str:
    kind: str = request.param
    use_cache_url(memcached.url if kind == "memcached" else redis_server.url)
    for number in range(RUCS):
        assert APICacheService().add_invalid_ruc(f"20999999{number:03}")
    return kind


@pytest.mark.parametrize("filled", ["redis"], indirect=True)
def test_keys_of_others_that_an_inventory_asks_redis_about_are_no_hits_of_look_ups(
    filled: str, redis_server: Redis
) -> None:
    RedisClient(port=redis_server.port).mset({f"session:{number}": "x" for number in range(3000)})
    checked()
    look_up(hits=50, misses=150)
    assert track_keys()["state"] == "done"
    look_up(hits=50, misses=150)

    assert ratio_of(checked()) == pytest.approx(0.25, abs=0.02)


def counts_of(node: str) -> tuple[int, int]:
    """Hits and misses; the one get of a probe less."""
    facts = APICacheService().adapter.probe(node)
    assert facts.hits is not None
    assert facts.misses is not None
    return facts.hits - 1, facts.misses


@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_what_is_fresh_costs_a_warm_run_one_hit_and_no_miss(filled: str) -> None:
    cache, rucs = APICacheService(), valid_rucs(40)
    for ruc in rucs:
        assert cache.set_ruc(ruc, {"ruc": ruc})
    read(rucs)
    (node,) = cache.adapter.nodes()
    hits, misses = counts_of(node)
    assert run(limit=40, budget=0)["skipped"] == {"fresh": 40}

    assert counts_of(node) == (hits + 1 + 40, misses)


@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_a_refill_and_a_clean_up_list_keys_without_a_hit_of_each(filled: str) -> None:
    cache = APICacheService()
    (node,) = cache.adapter.nodes()
    first, _misses = counts_of(node)
    assert refill.refill(node)["state"] == "done"
    refilled, _misses = counts_of(node)
    # It reads each value once, to look for its end
    assert cache.cleanup_expired()["nodes_failed"] == 0
    cleaned, _misses = counts_of(node)

    # The probes' gets, and those of the lock around Memcached's list
    assert refilled - first < 10
    assert RUCS <= cleaned - refilled < RUCS + 10


def amid(kind: str, step: str, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """`act` once, when half of what the inventory lists, or the values that it reads, was asked for."""
    adapter = MemcachedAdapter if kind == "memcached" else RedisAdapter
    original, done = getattr(adapter, step), list[object]()

    def scan(self: Any, *args: Any) -> Iterator[Entry]:
        for number, entry in enumerate(original(self, *args)):
            if number == RUCS // 2 and not done:
                done.append(act())
            yield entry

    def read(self: Any, *args: Any) -> Any:
        found = original(self, *args)
        if not done:
            done.append(act())
        return found

    monkeypatch.setattr(adapter, step, scan if step == "scan" else read)


@pytest.mark.parametrize(
    ("filled", "step"), [("memcached", "read"), ("redis", "read"), ("redis", "scan")], indirect=["filled"]
)
def test_a_health_run_amid_an_inventory_has_no_hit_ratio_nor_has_the_next_and_the_one_after_has_it_right(
    filled: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[HealthSample] = []

    def check() -> None:
        samples.append(checked())
        look_up(hits=10, misses=300)

    amid(filled, step, check, monkeypatch)
    checked()
    assert track_keys()["state"] == "done"
    samples.append(checked())
    look_up(hits=150, misses=150)
    after = checked()

    assert [ratio_of(sample) for sample in samples] == [None, None]
    assert ratio_of(after) == pytest.approx(0.5, abs=0.02)
    assert [sample.findings for sample in [*samples, after]] == [[], [], []]
    unknown = [{one["code"] for one in sample.unknown or ()} for sample in [*samples, after]]
    assert ["hit_ratio_low" in codes for codes in unknown] == [True, True, False]


@pytest.mark.parametrize("filled", ["memcached"], indirect=True)
def test_reads_of_an_inventory_that_was_killed_cost_a_ratio_until_the_next_one_begins(filled: str) -> None:
    adapter, node = APICacheService().adapter, APICacheService().adapter.nodes()[0]
    run = TrackRun.objects.create(started_at=timezone.now(), state="done")
    checked()
    left = row(adapter.probe(node).hits, timezone.now(), began=0, ended=None)
    NodeListing.objects.create(run=run, node=node, state="done", own_reads=[left])
    look_up(hits=150, misses=50)
    assert ratio_of(checked()) is None
    assert track_keys()["state"] == "done"
    assert ratio_of(checked()) is None
    look_up(hits=150, misses=50)

    assert ratio_of(checked()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("filled", ["redis"], indirect=True)
def test_reads_that_failed_amid_are_of_unknown_number(filled: str) -> None:
    adapter, node = APICacheService().adapter, APICacheService().adapter.nodes()[0]
    run = TrackRun.objects.create(started_at=timezone.now())
    NodeListing.objects.create(run=run, node=node)
    before = timezone.now()

    def read(error: Exception | None) -> None:
        with own_hits.reading(run.pk, adapter, node) as own:
            own.hits += 7
            if error:
                raise error

    with pytest.raises(TimeoutError):
        read(TimeoutError())
    read(None)

    failed, whole = own_hits.within(before, timezone.now())[node]
    assert failed.hits is None
    assert None not in (failed.first, failed.last)
    assert whole.hits == 7 + 2


@pytest.mark.parametrize("filled", ["redis"], indirect=True)
def test_reads_have_ended_when_what_takes_their_entries_fails(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_node: str, entries: Iterable[Entry], *_rest: object) -> None:
        next(iter(entries))
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(key_table, "record", fail)
    with pytest.raises(DatabaseError) as raised:
        track_keys()

    # What is raised holds the frames, and with them the scan, as the log of a worker does
    assert raised.tb is not None
    (own,) = NodeListing.objects.get().own_reads
    assert (own["ended"] is None, own["last"] is None, own["hits"]) == (False, False, None)


def test_closing_what_was_left_loses_no_reads_that_begin_meanwhile() -> None:
    now = timezone.now()
    left, late = row(1, now, began=-2, ended=None), row(2, now, began=-1, ended=None)
    listing = NodeListing.objects.create(run=TrackRun.objects.create(started_at=now), node="a", own_reads=[left])
    statements: list[str] = []

    def begin(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "api_service_nodelisting" in sql:
            statements.append(sql)
            if len(statements) == 2:
                NodeListing.objects.update(own_reads=[left, late])
        return execute(sql, *rest)

    with connection.execute_wrapper(begin):
        own_hits.close_left(now)

    listing.refresh_from_db()
    assert [(own["first"], own["ended"]) for own in listing.own_reads] == [(1, now.isoformat()), (2, now.isoformat())]


def test_reads_that_are_counted_are_found_though_the_clocks_of_two_hosts_are_apart() -> None:
    now = timezone.now()
    run = TrackRun.objects.create(started_at=now + timedelta(seconds=20))

    def reads(first: int | None, last: int | None, began: int, ended: int | None) -> own_hits.OwnReadsJSON:
        at, over = (None if part is None else (now + timedelta(seconds=part)).isoformat() for part in (began, ended))
        assert at is not None
        return {"began": at, "ended": over, "first": first, "last": last, "hits": None}

    ended = [reads(1, 9, -50, -20), reads(2, None, -50, -20), reads(3, 9, -50, -40)]
    begun = [reads(4, None, 20, None), reads(None, None, 20, None), reads(5, None, 40, None)]
    NodeListing.objects.create(run=run, node="a", own_reads=[*ended, *begun])

    assert [own.first for own in own_hits.within(now, now, "a")["a"]] == [1, 4]


def test_reads_are_found_by_time_and_node_and_no_others_are_loaded(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    now = timezone.now()
    times = [(-90, -80), (-40, -30), (-20, None), (-4, -3)]
    for number, (began, ended) in enumerate(times):
        run = TrackRun.objects.create(started_at=now + timedelta(minutes=began))
        for node in ("a", "b"):
            NodeListing.objects.create(run=run, node=node, own_reads=[row(number, now, began, ended)])
    NodeListing.objects.create(run=TrackRun.objects.create(started_at=now), node="c")

    def found(at: int, until: int, node: str | None = None) -> dict[str, list[int]]:
        with django_assert_num_queries(1):
            reads = own_hits.within(now + timedelta(minutes=at), now + timedelta(minutes=until), node)
        return {name: sorted(own.first or 0 for own in of_node) for name, of_node in reads.items() if of_node}

    assert found(-35, 0, "a") == {"a": [1, 2, 3]}
    assert found(-35, -10) == {"a": [1, 2], "b": [1, 2]}
    assert found(-25, -22) == {}
    assert found(-85, -35, "b") == {"b": [0, 1]}
    own_hits.close_left(now)
    assert found(1, 2) == {}
    assert OwnReads(2, None, None) in own_hits.within(now - timedelta(minutes=5), now, "a")["a"]


def row(first: int | None, now: datetime, began: int, ended: int | None) -> own_hits.OwnReadsJSON:
    """Minutes from `now`."""
    over = None if ended is None else (now + timedelta(minutes=ended)).isoformat()
    at = (now + timedelta(minutes=began)).isoformat()
    return {"began": at, "ended": over, "first": first, "last": None, "hits": None}
