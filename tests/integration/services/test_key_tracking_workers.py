"""Several processes over the nodes of one inventory: who lists what, and what is left when one is killed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import connections
from django.utils import timezone
from redis import Redis as RedisClient

from api_service.models import NodeListing, ServiceSnapshot, TrackedKey, TrackRun
from api_service.services import key_tracking, node_claims, track_runs
from api_service.services.backends import Deadline, Entry
from api_service.services.backends.memcached import MemcachedAdapter
from api_service.services.backends.memcached_dump import DUMP_LOCK
from api_service.services.cache_service import APICacheService
from api_service.services.key_tracking import track_keys, track_node
from tests.integration.services.conftest import RunPython, output_of, url_of
from tests.servers import Memcached, Redis, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = 300
LEASE = """
from datetime import timedelta
from api_service.services import node_claims
node_claims.LEASE, node_claims.RENEW_SECONDS = timedelta(seconds={seconds}), 0.5
"""
NODE = """
import json
from api_service.services.key_tracking import track_node
print(json.dumps(track_node({run}, "{node}")))
"""
ALL = """
import json
from api_service.services.key_tracking import track_keys
print(json.dumps(track_keys()))
"""


@pytest.fixture
def filled(own_cluster_cache: APICacheService) -> APICacheService:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(KEYS)}, 600)
    return own_cluster_cache


@contextmanager
def listed_by_somebody(node: Memcached) -> Iterator[None]:
    """Whoever lists the node next waits for its turn, with the node claimed."""
    assert node.ask(f"add {DUMP_LOCK} 0 60 1\r\nx").startswith("STORED")
    yield
    if node.is_running:
        node.ask(f"delete {DUMP_LOCK}")


def listing_of(node: Memcached) -> NodeListing:
    return NodeListing.objects.filter(node=node.address).latest("pk")


def is_claimed(node: Memcached) -> bool:
    return NodeListing.objects.filter(node=node.address, state="running").exists()


def nodes_of(own_cluster: list[Memcached]) -> list[str]:
    return [node.address for node in own_cluster]


def printed(output: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(output.splitlines()[-1])
    return found


# -- who lists what


def test_two_workers_never_list_the_same_node(filled: APICacheService, own_cluster: list[Memcached]) -> None:
    run = track_runs.open_run(nodes_of(own_cluster), timezone.now()).pk
    taken: list[str] = []
    start = Barrier(6)

    def work() -> None:
        start.wait(10)
        while listing := node_claims.claim_next(run, timezone.now()):
            taken.append(listing.node)
        connections.close_all()

    threads = [Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(taken) == sorted(nodes_of(own_cluster))


def test_the_last_of_several_workers_closes_the_run_that_somebody_else_began(
    filled: APICacheService, own_cluster: list[Memcached]
) -> None:
    run = track_runs.open_run(nodes_of(own_cluster), timezone.now())
    results = [track_node(run.pk, node) for node in nodes_of(own_cluster)]
    run.refresh_from_db()

    assert [result["state"] for result in results] == ["done"] * 3
    assert sum(result["keys"] for result in results) == run.keys_seen == KEYS
    assert (run.state, {facts["ok"] for facts in run.nodes.values()}) == ("done", {True})
    assert ServiceSnapshot.objects.get(run=run).keys == KEYS
    assert track_keys()["services"]["migo"]["created"] == 0


def test_a_task_that_comes_late_finds_nothing_to_do(filled: APICacheService, own_cluster: list[Memcached]) -> None:
    done = track_keys()["run"]
    before = list(NodeListing.objects.order_by("pk").values())
    interrupted = track_runs.open_run(nodes_of(own_cluster), timezone.now()).pk
    track_keys()
    late = [track_node(run, own_cluster[0].address)["state"] for run in (done, interrupted, 12345)]

    assert late == ["nothing_to_do"] * 3
    assert list(NodeListing.objects.filter(run=done).order_by("pk").values()) == before
    assert TrackRun.objects.get(pk=interrupted).state == "failed"


def test_a_worker_with_other_settings_leaves_nodes_that_it_does_not_know(filled: APICacheService) -> None:
    run = track_runs.open_run(["cache-9:11211"], timezone.now()).pk

    assert track_node(run, "cache-9:11211")["state"] == "nothing_to_do"
    assert NodeListing.objects.get(run=run).state == "waiting"


def test_the_other_nodes_are_offered_to_other_workers(
    filled: APICacheService, own_cluster: list[Memcached], redis_server: Redis, run_python: RunPython
) -> None:
    url = f"redis://{redis_server.address}/9"
    summary = printed(output_of(run_python(ALL, CACHE_URL=url_of(*own_cluster), CELERY_BROKER_URL=url)))
    messages = RedisClient(port=redis_server.port, db=9).lrange("tracking", 0, -1)

    assert summary["keys"] == KEYS
    assert len(messages) == 2
    for message in messages:
        assert json.loads(message)["headers"]["task"] == "workers.tasks.track_node"


def test_without_a_broker_one_process_lists_them_all(
    filled: APICacheService, own_cluster: list[Memcached], run_python: RunPython
) -> None:
    broker = f"redis://:secret-of-the-broker@127.0.0.1:{free_port()}/0"
    output = output_of(run_python(ALL, CACHE_URL=url_of(*own_cluster), CELERY_BROKER_URL=broker))

    assert printed(output)["keys"] == KEYS
    assert output.count("no other worker is asked") == 1
    assert "secret-of-the-broker" not in output


# -- kill -9


def test_a_killed_workers_node_is_taken_over_when_its_lease_ends(
    filled: APICacheService, own_cluster: list[Memcached], run_python: RunPython
) -> None:
    run = track_runs.open_run(nodes_of(own_cluster), timezone.now()).pk
    node = own_cluster[1]
    with listed_by_somebody(node):
        code = LEASE.format(seconds=1) + NODE.format(run=run, node=node.address)
        worker = run_python(code, CACHE_URL=url_of(*own_cluster))
        wait_until(lambda: is_claimed(node), 60)
        worker.kill()
        worker.wait(10)
    failures = key_tracking._list_all(run, Deadline.after(30))
    track_runs.close_if_complete(run)

    assert failures == []
    assert {row.node: row.attempts for row in NodeListing.objects.filter(run=run)} == {
        node.address: 2,
        own_cluster[0].address: 1,
        own_cluster[2].address: 1,
    }
    assert TrackRun.objects.get(pk=run).state == "done"
    assert TrackedKey.objects.filter(state="active").count() == KEYS


def test_the_claim_of_a_worker_that_lives_is_renewed_however_long_it_takes(
    filled: APICacheService, own_cluster: list[Memcached], run_python: RunPython
) -> None:
    run = track_runs.open_run([own_cluster[0].address], timezone.now()).pk
    node = own_cluster[0]
    with listed_by_somebody(node):
        code = LEASE.format(seconds=5) + NODE.format(run=run, node=node.address)
        worker = run_python(code, CACHE_URL=url_of(*own_cluster))
        wait_until(lambda: is_claimed(node), 60)
        claimed = listing_of(node).listed_at
        assert claimed
        wait_until(lambda: (listing_of(node).leased_until or claimed) > claimed + timedelta(seconds=6), 30)
        assert node_claims.claim_next(run, timezone.now()) is None
    result = printed(output_of(worker))

    assert (result["state"], result["keys"]) == ("done", TrackedKey.objects.filter(state="active").count())
    assert listing_of(node).attempts == 1
    assert str(worker.pid) in listing_of(node).worker


def test_what_a_worker_found_after_it_lost_its_claim_does_not_count(
    filled: APICacheService, own_cluster: list[Memcached]
) -> None:
    run, now = track_runs.open_run([own_cluster[0].address], timezone.now()).pk, timezone.now()
    slow = node_claims.claim_next(run, now)
    quick = node_claims.claim_next(run, now + node_claims.LEASE)
    assert slow
    assert quick

    assert node_claims.claim_next(run, now) is None
    assert not node_claims.finish(slow, state="done", keys=1)
    assert node_claims.finish(quick, state="done", keys=2)
    assert not node_claims.finish(quick, state="failed", keys=3)
    assert (listing_of(own_cluster[0]).state, listing_of(own_cluster[0]).keys) == ("done", 2)


def test_an_inventory_killed_amid_its_nodes_is_closed_and_mended_by_the_next(
    filled: APICacheService, own_cluster: list[Memcached], run_python: RunPython
) -> None:
    with listed_by_somebody(own_cluster[1]):
        process = run_python(ALL, CACHE_URL=url_of(*own_cluster))
        wait_until(lambda: is_claimed(own_cluster[1]), 60)
        process.kill()
        process.wait(10)
    killed = TrackRun.objects.get()
    assert killed.state == "running"
    listed = TrackedKey.objects.count()
    summary = track_keys()
    killed.refresh_from_db()

    assert (killed.state, killed.error) == ("failed", track_runs.INTERRUPTED)
    assert {row.state for row in killed.listings.all()} == {"done", "failed"}
    assert 0 < listed < KEYS
    assert summary["keys"] == TrackedKey.objects.filter(state="active").count() == KEYS
    assert summary["services"]["migo"]["created"] == KEYS


def test_a_run_whose_last_worker_died_before_it_closed_it_is_closed_as_done(
    filled: APICacheService, own_cluster: list[Memcached]
) -> None:
    run = track_runs.open_run(nodes_of(own_cluster), timezone.now()).pk
    key_tracking._list_all(run, Deadline.after(10))
    summary = track_keys()

    assert TrackRun.objects.get(pk=run).state == "done"
    assert ServiceSnapshot.objects.get(run=run).created == KEYS
    assert summary["services"]["migo"]["created"] == 0


def test_a_node_killed_amid_the_run_is_reported_and_the_next_run_mends_the_rest(
    filled: APICacheService, own_cluster: list[Memcached], run_python: RunPython
) -> None:
    track_keys()
    node = own_cluster[1]
    with listed_by_somebody(node):
        process = run_python(ALL, CACHE_URL=url_of(*own_cluster))
        wait_until(lambda: is_claimed(node), 60)
        node.kill()
        summary = printed(output_of(process))
    states = dict(TrackedKey.objects.values_list("node", "state").distinct())

    assert {name: facts["ok"] for name, facts in summary["nodes"].items()} == {  # type: ignore[attr-defined]
        other.address: other is not node for other in own_cluster
    }
    assert states == {other.address: "unknown" if other is node else "active" for other in own_cluster}
    assert TrackRun.objects.latest("pk").state == "failed"

    node.restart()
    assert track_keys()["services"]["migo"]["removed"] == TrackedKey.objects.filter(node=node.address).count()
    assert set(TrackedKey.objects.filter(node=node.address).values_list("state", flat=True)) == {"removed"}


# -- time and errors


def test_a_node_that_another_worker_does_not_end_in_time_is_given_up(
    filled: APICacheService, own_cluster: list[Memcached], monkeypatch: pytest.MonkeyPatch
) -> None:
    track_keys()
    monkeypatch.setattr(key_tracking, "SETTLE_SECONDS", 0.1)
    run = track_runs.open_run(nodes_of(own_cluster), timezone.now()).pk
    slow = node_claims.claim(run, own_cluster[0].address, timezone.now())
    assert slow
    key_tracking._list_all(run, Deadline.after(0.2))
    track_runs.close_if_complete(run)
    closed = TrackRun.objects.get(pk=run)

    assert closed.nodes[own_cluster[0].address] == {"ok": False, "keys": 0, "error": key_tracking.NOT_IN_TIME}
    assert {row.state for row in TrackedKey.objects.filter(node=own_cluster[0].address)} == {"unknown"}
    assert not node_claims.finish(slow, state="done")


def test_an_error_that_nobody_foresaw_is_raised_when_the_other_nodes_are_done(
    filled: APICacheService, own_cluster: list[Memcached], monkeypatch: pytest.MonkeyPatch
) -> None:
    track_keys()
    poison, scan = own_cluster[0].address, MemcachedAdapter.scan
    monkeypatch.setattr(MemcachedAdapter, "scan", poisoned(scan, poison))
    with pytest.raises(ZeroDivisionError):
        track_keys()
    run = TrackRun.objects.latest("pk")

    assert {name: facts["ok"] for name, facts in run.nodes.items()} == {
        node.address: node.address != poison for node in own_cluster
    }
    assert "ZeroDivisionError" in run.error
    assert {row.state for row in TrackedKey.objects.filter(node=poison)} == {"unknown"}


def poisoned(
    scan: Callable[[MemcachedAdapter, str, str, Deadline], Iterator[Entry]], poison: str
) -> Callable[[MemcachedAdapter, str, str, Deadline], Iterator[Entry]]:
    def act(adapter: MemcachedAdapter, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        if node == poison:
            raise ZeroDivisionError
        return scan(adapter, node, prefix, deadline)

    return act
