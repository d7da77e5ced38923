"""What a health run does about a node that came back empty: on record with the sample, then sent."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import create_autospec

import pytest
from celery import current_app
from django.utils import timezone

from api_service.models import HealthSample, NodeSample, RefillRun, RunLock
from api_service.services import monitoring, refill, refill_watch, task_sending
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.servers import Memcached, Redis

pytestmark = pytest.mark.django_db

Sent = Callable[[], list[dict[str, object]]]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """Keyword arguments of the refills in their queue, taken out of it."""

    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.queue_declare("warming", durable=True)
        # Other tests have asked for warm runs that nobody took
        channel.queue_purge("warming")

        def take() -> list[dict[str, object]]:
            taken = []
            while message := channel.basic_get("warming", no_ack=True):
                assert message.headers["task"] == "workers.tasks.refill_node"
                taken.append(message.decode()[1])
            return taken

        yield take


@pytest.fixture
def node(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> Memcached:
    use_cache_url(url_of(own_memcached))
    return own_memcached


def ask(cache: APICacheService, found: int, missing: int) -> None:
    """So many hits and misses of the node's counters."""
    cache.set("migo:x_there", 1)
    for number in range(found):
        assert cache.get("migo:x_there") == 1, number
    for number in range(missing):
        assert cache.get(f"migo:x_{number}") is None


def run_of(node: Memcached) -> RefillRun:
    return RefillRun.objects.get(node=node.address)


def test_a_restart_is_a_refill_that_waits_and_its_message(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    assert sent() == []
    node.restart()
    sample = monitoring.run_health_check()

    row, seen = run_of(node), sample.nodes.get()
    assert (row.state, row.reason) == ("waiting", "restarted")
    assert (row.booted_at, row.pid) == (seen.booted_at, seen.pid) == (seen.booted_at, node.pid)
    assert sent() == [{"node": node.address, "run": row.pk}]


def test_a_refill_that_was_done_is_not_asked_for_again(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    node.restart()
    monitoring.run_health_check()
    (message,) = sent()
    assert refill.refill(**message)["state"] == "done"  # type: ignore[arg-type]
    monitoring.run_health_check()

    assert sent() == []
    assert RefillRun.objects.count() == 1


def test_what_waits_is_sent_by_every_health_run_until_it_is_taken(
    node: Memcached, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitoring.run_health_check()
    node.restart()
    down = create_autospec(task_sending.send, side_effect=task_sending.BrokerDown("connection refused"))
    with monkeypatch.context() as patch:
        patch.setattr(task_sending, "send", down)
        monitoring.run_health_check()
    assert (run_of(node).state, sent()) == ("waiting", [])
    monitoring.run_health_check()

    assert sent() == [{"node": node.address, "run": run_of(node).pk}]


def test_a_run_left_by_a_killed_worker_is_sent_once_its_lock_has_ended(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    node.restart()
    monitoring.run_health_check()
    row = run_of(node)
    RefillRun.objects.filter(pk=row.pk).update(state=RefillRun.State.RUNNING)
    lock = RunLock.objects.create(
        name=refill.lock_of(node.address), token="dead", expires_at=timezone.now() + timedelta(seconds=300)
    )
    sent()
    monitoring.run_health_check()
    assert sent() == []
    RunLock.objects.filter(pk=lock.pk).update(expires_at=timezone.now())
    monitoring.run_health_check()

    assert sent() == [{"node": node.address, "run": row.pk}]
    assert refill.refill(node.address, row.pk)["state"] == "done"


def test_of_a_node_that_flaps_only_the_last_boot_is_refilled(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    for _ in range(3):
        node.restart()
        monitoring.run_health_check()
    rows = list(RefillRun.objects.order_by("pk"))

    assert [row.state for row in rows] == ["failed", "failed", "waiting"]
    assert all("booted again" in row.error and row.finished_at for row in rows[:2])
    assert [row.pid for row in rows][2] == node.pid
    assert sent()[-1] == {"node": node.address, "run": rows[2].pk}
    assert refill.refill(node.address, rows[0].pk)["state"] == "failed", "its message came late"


def test_two_health_runs_that_see_the_same_boot_ask_once(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    node.restart()
    sample = monitoring.run_health_check()
    refill_watch.note(sample, list(sample.nodes.all()), {node.address})

    assert run_of(node).state == "waiting"


def test_a_node_that_nobody_knew_is_filled_when_others_are_known(
    own_cluster: list[Memcached], use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    first, second, third = own_cluster
    with use_cache_url(url_of(first, second)):
        monitoring.run_health_check()
        assert not RefillRun.objects.exists(), "the first run knows nobody"
    use_cache_url(url_of(first, second, third))
    monitoring.run_health_check()

    row = RefillRun.objects.get()
    assert (row.node, row.reason, row.state) == (third.address, "new", "waiting")
    assert sent() == [{"node": third.address, "run": row.pk}]
    monitoring.run_health_check()
    assert RefillRun.objects.count() == 1


def test_a_node_at_another_address_in_place_of_the_only_one_is_new(
    own_cluster: list[Memcached], use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    with use_cache_url(url_of(own_cluster[0])):
        monitoring.run_health_check()
    use_cache_url(url_of(own_cluster[1]))
    monitoring.run_health_check()

    assert run_of(own_cluster[1]).reason == "new"


def test_a_node_that_does_not_answer_yet_is_new_when_it_does(
    own_cluster: list[Memcached], use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    own_cluster[1].kill()
    use_cache_url(url_of(*own_cluster[:2]))
    monitoring.run_health_check()
    assert not RefillRun.objects.exists()
    own_cluster[1].restart()
    monitoring.run_health_check()

    assert run_of(own_cluster[1]).reason == "new"


def test_redis_that_starts_empty_is_refilled_and_local_memory_never(
    own_redis: Redis, use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    with use_cache_url(own_redis.url):
        (name,) = APICacheService().adapter.nodes()
        monitoring.run_health_check()
        own_redis.restart()
        monitoring.run_health_check()
        row = RefillRun.objects.get()
        assert (row.node, row.reason) == (name, "restarted")
        assert refill.refill(**sent()[0])["state"] == "done"  # type: ignore[arg-type]
    use_cache_url("locmem://refill")
    monitoring.run_health_check()
    NodeSample.objects.filter(node="locmem").update(pid=1)
    monitoring.run_health_check()

    assert NodeSample.objects.order_by("-pk")[0].restarted
    assert RefillRun.objects.count() == 1


def test_the_request_is_part_of_the_sample(node: Memcached, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monitoring.run_health_check()
    node.restart()

    def full(*_args: object, **_options: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RefillRun.objects, "bulk_create", full)
        with pytest.raises(OSError, match="full"):
            monitoring.run_health_check()
    assert HealthSample.objects.count() == 1, "a sample without its refill would hide the boot"
    monitoring.run_health_check()
    assert run_of(node).state == "waiting"


# --- Hit ratios -----------------------------------------------------------------------------------------------------


def test_the_hit_ratio_before_during_and_after_is_on_the_run(node: Memcached, sent: Sent) -> None:
    cache = APICacheService()
    ask(cache, 40, 360)
    monitoring.run_health_check()
    ask(cache, 360, 40)
    monitoring.run_health_check()
    node.restart()
    cache.cache.retry_now()
    ask(cache, 100, 300)
    monitoring.run_health_check()
    row = run_of(node)
    assert row.hit_ratio_before == pytest.approx(0.9, abs=0.03)

    refill.refill(node.address, row.pk)
    row.refresh_from_db()
    assert row.hit_ratio_during == pytest.approx(0.25, abs=0.03)
    ask(cache, 320, 80)
    monitoring.run_health_check()
    row.refresh_from_db()
    assert row.hit_ratio_after is None, "too early to tell"

    RefillRun.objects.update(finished_at=timezone.now() - timedelta(minutes=6))
    monitoring.run_health_check()
    row.refresh_from_db()
    assert row.hit_ratio_after == pytest.approx(0.8, abs=0.05)
    ask(cache, 0, 400)
    monitoring.run_health_check()
    row.refresh_from_db()
    assert row.hit_ratio_after == pytest.approx(0.8, abs=0.05), "measured once"


def test_where_nobody_asked_there_is_no_ratio(node: Memcached, sent: Sent) -> None:
    for _ in range(3):
        monitoring.run_health_check()
    node.restart()
    monitoring.run_health_check()
    row = run_of(node)
    refill.refill(node.address, row.pk)
    RefillRun.objects.update(finished_at=timezone.now() - timedelta(minutes=6))
    monitoring.run_health_check()

    row.refresh_from_db()
    assert (row.hit_ratio_before, row.hit_ratio_during, row.hit_ratio_after) == (None, None, None)


def test_another_boot_since_leaves_no_ratio_after(node: Memcached, sent: Sent) -> None:
    monitoring.run_health_check()
    node.restart()
    monitoring.run_health_check()
    row = run_of(node)
    refill.refill(node.address, row.pk)
    RefillRun.objects.update(finished_at=timezone.now() - timedelta(minutes=6))
    node.restart()
    cache = APICacheService()
    cache.cache.retry_now()
    ask(cache, 80, 20)
    monitoring.run_health_check()

    row.refresh_from_db()
    assert row.hit_ratio_after is None
    assert row.booted_at is not None
    assert row.booted_at <= datetime.now(UTC)
    assert RefillRun.objects.filter(state="waiting").count() == 1
