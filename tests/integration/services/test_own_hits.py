"""Gets that an operation of ours makes on a node are nobody's: left out of its hit ratio, or there is none."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from redis import Redis as RedisClient

from api_service.models import HealthSample, OperationReads
from api_service.services import copying, counted, key_table, monitoring, own_hits, refill, retention
from api_service.services.backends import Entry
from api_service.services.backends.base import server_of
from api_service.services.backends.memcached import MemcachedAdapter
from api_service.services.backends.redis import RedisAdapter
from api_service.services.beside import beside
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import Job
from api_service.services.key_tracking import track_keys
from api_service.services.own_hits import Operation
from tests.conftest import UseCacheUrl
from tests.integration.services.warm_runs import read, run
from tests.rucs import valid_rucs
from tests.sandbox_fixture import RunningSandbox
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

    # The probe of `counts_of`, and the two around the reads
    assert counts_of(node) == (hits + 1 + 2 + 40, misses)


@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_a_refill_lists_keys_without_a_hit_of_each(filled: str) -> None:
    (node,) = APICacheService().adapter.nodes()
    first, _misses = counts_of(node)
    assert refill.refill(node)["state"] == "done"
    refilled, _misses = counts_of(node)

    # The probes' gets, and those of the lock around Memcached's list
    assert refilled - first < 10


def warmed(number: int) -> None:
    """A run that looks at RUCs of which half are fresh, and half are gone."""
    rucs = valid_rucs(number)
    for ruc in rucs[::2]:
        assert APICacheService().set_ruc(ruc, {"ruc": ruc})
    read(rucs)
    assert run(limit=number, budget=0)["skipped"]["fresh"] == number / 2


def copied(target: Memcached) -> None:
    config = {"LOCATION": [target.address], "BACKEND": "", "OPTIONS": {}}
    source = APICacheService().adapter
    job = Job(source, MemcachedAdapter("target", config), APICacheService().wire_prefix)
    assert copying.copy(job)["state"] == "done"


OPERATIONS: dict[str, Callable[[Memcached], object]] = {
    "warm_run": lambda _other: warmed(400),
    "clean_up": lambda _other: APICacheService().cleanup_expired(),
    "copy": copied,
    "statistics": lambda _other: APICacheService().get_cache_stats(),
    "inventory": lambda _other: track_keys(),
}


@pytest.mark.parametrize("operation", ["warm_run", "clean_up", "copy", "statistics"])
@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_the_ratio_is_that_of_the_look_ups_whatever_of_ours_reads_meanwhile(
    filled: str, operation: str, own_memcached: Memcached
) -> None:
    checked()
    look_up(hits=0, misses=200)
    OPERATIONS[operation](own_memcached)
    look_up(hits=0, misses=200)
    sample = checked()

    assert ratio_of(sample) == pytest.approx(0.0, abs=0.03)
    look_up(hits=150, misses=150)
    assert ratio_of(checked()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_as_many_gets_are_on_record_as_the_node_has_counted_of_an_operation(
    filled: str, own_memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_hits, "RENEW_SECONDS", 0.0)
    (node,) = APICacheService().adapter.nodes()
    for name, act in OPERATIONS.items():
        OperationReads.objects.all().delete()
        hits, misses = counts_of(node)
        act(own_memcached)
        after = counts_of(node)
        OperationReads.objects.exclude(node=node).delete()
        more = after[0] - hits - 1 - told()[0], after[1] - misses - told()[1]
        # A check and the lock of Memcached's list ask a few times more
        assert (name, more[0] in range(8), more[1] in range(3)) == (name, True, True)


def told() -> tuple[int, int]:
    """Hits and misses on record."""
    rows = OperationReads.objects.values_list("hits", "misses")
    return sum(hits or 0 for hits, _misses in rows), sum(misses or 0 for _hits, misses in rows)


@pytest.mark.parametrize("filled", ["memcached", "redis"], indirect=True)
def test_what_a_warm_run_asks_for_while_it_pays_and_reloads_is_on_record(filled: str, vendor: RunningSandbox) -> None:
    cache, rucs = APICacheService(), valid_rucs(60)
    (node,) = cache.adapter.nodes()
    read(rucs)
    for paid, due in ((60, rucs[:40]), (0, rucs)):
        for ruc in due:
            assert cache.set_ruc(ruc, {"ruc": ruc}, 60)
        OperationReads.objects.all().delete()
        hits, misses = counts_of(node)
        summary = run(limit=60, budget=60)
        assert (summary["paid"], summary["from_store"]) == (paid, 60 - paid)
        after = counts_of(node)
        assert (after[0] - hits - 1, after[1] - misses) == told()


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
def test_reads_of_an_operation_that_was_killed_cost_a_ratio_until_their_lease_is_over(filled: str) -> None:
    node = APICacheService().adapter.nodes()[0]
    checked()
    left = row(counts_of(node)[0], timezone.now(), began=0, over=1, node=node)
    look_up(hits=150, misses=50)
    assert ratio_of(checked()) is None
    OperationReads.objects.filter(pk=left.pk).update(over_by=timezone.now())
    assert ratio_of(checked()) is None
    look_up(hits=150, misses=50)

    assert ratio_of(checked()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("filled", ["redis"], indirect=True)
def test_reads_that_failed_amid_are_of_unknown_number(filled: str) -> None:
    adapter, node = APICacheService().adapter, APICacheService().adapter.nodes()[0]

    def read(error: Exception | None) -> None:
        with own_hits.reading(Operation.COPY, adapter, [node]) as own:
            own.add(node, 7, 3)
            if error:
                raise error

    with pytest.raises(TimeoutError):
        read(TimeoutError())
    read(None)

    failed, whole = own_hits.within(timezone.now() - timedelta(minutes=1), timezone.now())[server_of(node)]
    assert failed.hits is None
    assert None not in (failed.first, failed.last)
    assert (whole.hits, whole.misses) == (7 + 2, 3)


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
    own = OperationReads.objects.get()
    assert own.over_by <= timezone.now()
    assert (own.hits_after is None, own.hits) == (False, None)


@pytest.mark.parametrize("filled", ["memcached"], indirect=True)
def test_reads_that_go_on_are_renewed_by_their_own_thread(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_hits, "RENEW_SECONDS", 0.0)
    adapter, (node,) = APICacheService().adapter, APICacheService().adapter.nodes()

    def renewed() -> bool:
        return OperationReads.objects.filter(over_by__gt=timezone.now()).exists()

    with own_hits.reading(Operation.COPY, adapter, [node]) as own:
        OperationReads.objects.update(over_by=timezone.now())
        beside("count", own.go_on).result(5)
        assert not renewed()
        own.go_on()
        assert renewed()
    assert not renewed()


def test_a_node_that_is_away_is_asked_by_the_first_step_only_and_what_is_read_on_it_later_is_of_unknown_number(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    own_cluster[0].freeze()
    steps = counted.Steps(Operation.WARM_RUN, own_cluster_cache)
    with steps.one():
        pass
    own_cluster[0].thaw()
    with steps.one():
        pass

    away, there = own_cluster[0].address, [node.address for node in own_cluster[1:]]
    rows = [(row.node, row.hits) for row in OperationReads.objects.order_by("pk")]
    assert rows == [(away, None), *((node, 2) for node in there)] * 2


@pytest.mark.parametrize("filled", ["memcached"], indirect=True)
def test_a_database_that_fails_stops_no_operation(filled: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "api_service_operationreads" in sql:
            raise DatabaseError("the disk is full")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        assert APICacheService().get_cache_stats()["invalid_rucs"]["total_count"] == RUCS
    assert "the disk is full" in caplog.text


def test_a_cache_that_tells_no_counts_leaves_no_rows() -> None:
    assert APICacheService().backend == "local_memory"
    assert APICacheService().get_cache_stats()["status"] == "healthy"
    assert not OperationReads.objects.exists()


def test_reads_that_are_counted_are_found_though_the_clocks_of_two_hosts_are_apart() -> None:
    now = timezone.now()

    def reads(first: int | None, last: int | None, began: int, over: int) -> None:
        row(first, now, began / 60, over / 60, last)

    reads(1, 9, -50, -20)
    reads(2, None, -50, -20)
    reads(3, 9, -50, -40)
    reads(4, None, 20, 90)
    reads(None, None, 20, 90)
    reads(5, None, 40, 90)

    assert sorted(own.first or 0 for own in own_hits.within(now, now, "a")["a"]) == [1, 4]


def test_reads_are_found_by_time_and_node_with_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    now = timezone.now()
    for number, (began, over) in enumerate([(-90, -80), (-40, -30), (-20, 1), (-4, -3)]):
        for node in ("a", "b"):
            row(number, now, began, over, node=node)

    def found(at: int, until: int, node: str | None = None) -> dict[str, list[int]]:
        with django_assert_num_queries(1):
            reads = own_hits.within(now + timedelta(minutes=at), now + timedelta(minutes=until), node)
        return {name: sorted(own.first or 0 for own in of_node) for name, of_node in reads.items()}

    assert found(-35, 0, "a") == {"a": [1, 2, 3]}
    assert found(-35, -10) == {"a": [1, 2], "b": [1, 2]}
    assert found(-25, -22) == {}
    assert found(-85, -35, "b") == {"b": [0, 1]}
    assert found(2, 3) == {}


def test_what_nobody_compares_any_more_is_dropped() -> None:
    now = timezone.now()
    kept = row(1, now, began=-7 * 24 * 60, over=-7 * 24 * 60 + 1)
    row(1, now, began=-7 * 24 * 60 - 2, over=-7 * 24 * 60 - 1)
    retention.prune(now)

    assert OperationReads.objects.get() == kept


def row(
    first: int | None, now: datetime, began: float, over: float, last: int | None = None, node: str = "a"
) -> OperationReads:
    """Minutes from `now`."""
    at, over_by = now + timedelta(minutes=began), now + timedelta(minutes=over)
    counts = {"hits_before": first, "hits_after": last}
    return OperationReads.objects.create(node=node, operation=Operation.COPY, began_at=at, over_by=over_by, **counts)
