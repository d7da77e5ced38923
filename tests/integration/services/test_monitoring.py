import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import HealthSample, NodeSample, RefillRun
from api_service.services import around, health, monitoring, node_checks, node_samples
from api_service.services.cache_service import APICacheService
from api_service.services.key_tracking import track_keys
from tests.brokers import celery_broker
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.servers import Memcached, Redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("counts_at_once")]


def run_health_check() -> HealthSample:
    """A run of the task: its sample is judged, so the next run is compared with it."""
    sample = monitoring.run_health_check()
    HealthSample.objects.filter(pk=sample.pk).update(judged_at=timezone.now())
    return sample


def codes(sample: HealthSample) -> list[tuple[str, str]]:
    return [(finding["code"], finding["node"]) for finding in sample.findings]


def test_a_run_stores_a_sample_with_a_row_for_each_node(cluster_cache: APICacheService) -> None:
    cluster_cache.add_invalid_ruc("20999999999")
    cluster_cache.add_invalid_ruc("20111111111")
    sample = run_health_check()

    assert (sample.status, sample.backend, sample.judged_at) == ("healthy", "memcached", None)
    assert sample.checks == {"connection": "✅ OK", "basic_operations": "✅ OK", "invalid_rucs": "✅ 2 RUCs"}
    assert (sample.findings, HealthSample.objects.count()) == ([], 1)
    rows = {row.node: row for row in sample.nodes.all()}
    assert set(rows) == set(cluster_cache.adapter.nodes())
    assert all(row.reachable and not row.restarted and row.pid and row.booted_at for row in rows.values())


def test_what_is_stored_is_what_the_probe_said(cache: APICacheService) -> None:
    report = health.check(cache)
    sample = monitoring.store(report, around.read(report.at))

    (row,) = NodeSample.objects.filter(sample=sample)
    assert node_samples.facts_of(row) == report.nodes[0]


def test_a_dead_node_makes_the_cache_unhealthy_and_the_others_are_still_told_of(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    assert run_health_check().status == "healthy"
    dead = own_cluster[1].address
    own_cluster[1].kill()
    sample = run_health_check()

    assert sample.status == "unhealthy"
    assert codes(sample)[0] == ("node_down", dead)
    assert dead in sample.checks["connection"]
    assert "not listed" in sample.checks["invalid_rucs"]
    rows = {row.node: row for row in sample.nodes.all()}
    assert [node for node, row in rows.items() if not row.reachable] == [dead]
    assert rows[dead].error
    assert rows[dead].items is None


def test_a_restart_between_two_runs_is_a_warning_once(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(own_memcached))
    run_health_check()
    own_memcached.restart()
    found, later = run_health_check(), run_health_check()

    assert ("node_restarted", own_memcached.address) in codes(found)
    assert found.status == "warning"
    assert found.nodes.get().restarted
    assert codes(later) == []
    assert not later.nodes.get().restarted


def test_a_node_seen_down_is_marked_restarted_when_it_comes_back_empty(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    run_health_check()
    own_memcached.kill()
    assert run_health_check().status == "unhealthy"
    own_memcached.restart()
    wait_for_the_retry(own_memcached)
    sample = run_health_check()

    assert sample.nodes.get().restarted
    assert "node_restarted" not in dict(codes(sample))


def test_a_restart_that_a_run_met_in_the_middle_is_told_although_the_failure_did_not_count(
    own_memcached: Memcached, use_cache_url: UseCacheUrl, settings: Settings
) -> None:
    settings.HEALTH_RULES = "node_down=2/3/2"
    use_cache_url(url_of(own_memcached))
    run_health_check()
    own_memcached.kill()
    assert run_health_check().status == "healthy"
    own_memcached.restart()
    wait_for_the_retry(own_memcached)

    assert "node_restarted" in dict(codes(run_health_check()))


def wait_for_the_retry(node: Memcached) -> None:
    """The application's own path leaves a dead node alone for a while; the probe does not."""
    assert node_checks.probe_nodes(APICacheService().adapter)[0].reachable, node.address


def test_the_first_run_has_nobody_to_compare_with(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(url_of(own_memcached))

    assert monitoring.since_of(None, timezone.now(), timezone.now()) == {}
    assert codes(run_health_check()) == []


def test_evictions_are_counted_since_the_previous_run(settings: Settings, use_cache_url: UseCacheUrl) -> None:
    server = Memcached(memory=2, max_item_size="512k").start()
    try:
        use_cache_url(url_of(server))
        cache = APICacheService()
        run_health_check()
        HealthSample.objects.update(taken_at=timezone.now() - timedelta(seconds=60))
        for number in range(300):
            cache.set(f"migo:x_{number}", "x" * 50_000)
        sample = run_health_check()
    finally:
        server.close()

    evictions = sample.nodes.get().evictions or 0
    assert evictions > 60
    (finding,) = (found for found in sample.findings if found["code"] == "evictions_high")
    assert finding["value"] == pytest.approx(evictions, rel=0.1)
    assert finding["limit"] == settings.HEALTH_EVICTIONS_PER_MINUTE


def test_redis_and_local_memory_are_watched_alike(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    for url in (redis_server.url, "locmem://watched"):
        use_cache_url(url)
        sample = run_health_check()
        assert sample.status == "healthy", sample.findings
        assert sample.nodes.get().reachable
    assert list(HealthSample.objects.values_list("backend", flat=True)) == ["redis", "local_memory"]


@pytest.mark.parametrize("frozen", [1, 3])
def test_frozen_nodes_do_not_hold_the_check_up(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], frozen: int
) -> None:
    own_cluster_cache.set_many({f"migo:invalid_{number:011d}": 1 for number in range(100)})
    for node in own_cluster[:frozen]:
        node.freeze()
    started = time.monotonic()
    report = health.check(own_cluster_cache)

    # Less than five on a machine that does nothing else
    assert time.monotonic() - started < 10
    assert report.status == "unhealthy"
    assert [node.reachable for node in report.nodes] == [False] * frozen + [True] * (3 - frozen)


@pytest.fixture
def frozen_broker(own_redis: Redis) -> Iterator[Redis]:
    """Celery's broker until the test ends; it takes connections and answers nothing."""
    with celery_broker(own_redis.url):
        own_redis.freeze()
        yield own_redis


def test_a_run_ends_within_five_seconds_with_nodes_and_the_broker_frozen(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], frozen_broker: Redis
) -> None:
    due = {"reason": "restarted", "state": "waiting", "started_at": timezone.now()}
    RefillRun.objects.create(node=own_cluster[1].address, **due)
    for node in own_cluster[:2]:
        node.freeze()
    started = time.monotonic()
    sample = run_health_check()

    # Less than five on a machine that does nothing else
    assert time.monotonic() - started < 10
    assert sorted(code for code, _node in codes(sample)) == ["broker_down", "node_down", "node_down"]
    assert RefillRun.objects.get().state == "waiting"


def test_rates_since_the_run_before_are_stored(own_cluster_cache: APICacheService) -> None:
    run_health_check()
    HealthSample.objects.update(taken_at=timezone.now() - timedelta(seconds=60))
    for number in range(100):
        own_cluster_cache.get(f"migo:absent_{number}")
    rows = run_health_check().nodes.all()

    assert [row.hit_ratio is not None and row.hit_ratio < 0.1 for row in rows] == [True] * 3
    assert [row.evictions_per_minute for row in rows] == [0.0] * 3
    assert [row.expired_unfetched_per_minute is not None for row in rows] == [True] * 3
    assert {row.rejected_connections for row in rows} == {0}


@pytest.mark.parametrize("kind", ["memcached", "redis"])
def test_what_an_inventory_reads_is_no_hit_of_anybody(
    kind: str, memcached: Memcached, redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    """Every look-up of these five minutes was a miss. The inventory of their middle read 300 reasons."""
    use_cache_url(memcached.url if kind == "memcached" else redis_server.url)
    cache = APICacheService()
    for number in range(300):
        cache.add_invalid_ruc(f"20999999{number:03}")
    run_health_check()
    HealthSample.objects.update(taken_at=timezone.now() - timedelta(minutes=5))
    for number in range(250):
        if number == 125:
            assert track_keys()["state"] == "done"
        cache.get(f"migo:absent_{number}")
    sample = run_health_check()

    row = sample.nodes.get()
    assert (row.hits or 0) > 300
    assert row.hit_ratio is not None
    assert row.hit_ratio < 0.02
    assert codes(sample) == [("hit_ratio_low", row.node)]
    # Of these five minutes, not of the next
    HealthSample.objects.filter(pk=sample.pk).update(taken_at=timezone.now() - timedelta(minutes=5))
    assert run_health_check().nodes.get().hit_ratio is None


def test_a_cache_that_nobody_asks_has_no_hit_ratio_however_often_it_is_checked(cluster_cache: APICacheService) -> None:
    run_health_check()
    for _ in range(3):
        sample = run_health_check()
        assert [row.hit_ratio for row in sample.nodes.all()] == [None] * 3


def test_the_details_of_redis_are_stored(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    report = health.check(APICacheService())
    row = monitoring.store(report, around.read(report.at)).nodes.get()

    assert (row.details["maxmemory_policy"], row.details["role"]) == ("noeviction", "master")
    assert node_samples.facts_of(row) == report.nodes[0]


def test_statistics_come_from_the_live_inventory(cluster_cache: APICacheService) -> None:
    cluster_cache.set_many({f"migo:ruc_{number}": "x" * 100 for number in range(20)})
    cluster_cache.set("nubefact:x_1", 1)
    cluster_cache.add_invalid_ruc("20999999999")
    cluster_cache.add_invalid_ruc("20111111111", "FORMATO_INVALIDO")
    stats = health.stats(cluster_cache)

    assert stats["invalid_rucs"]["breakdown_by_reason"] == {"NO_EXISTE_SUNAT": 1, "FORMATO_INVALIDO": 1}
    assert {name: row["keys"] for name, row in stats["services"].items()} == {"migo": 22, "nubefact": 1}
    assert stats["timeouts"] == {"default": "15min", "ruc_valid": "1h", "ruc_invalid": "24h", "rate_limit": "1min"}
    assert (stats["status"], stats["nodes_failed"]) == ("healthy", {})
