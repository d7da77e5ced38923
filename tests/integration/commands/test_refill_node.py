import orjson
import pytest
from django.utils import timezone

from api_service.models import RefillRun, StoredAnswer
from api_service.services import refill
from api_service.services.cache_service import APICacheService
from api_service.services.locks import run_lock
from tests.conftest import UseCacheUrl
from tests.integration.commands.conftest import Run
from tests.rucs import record, valid_rucs
from tests.servers import Memcached

pytestmark = pytest.mark.django_db

RUCS = valid_rucs(30)


@pytest.fixture
def nodes(own_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> list[Memcached]:
    """Three, and thirty answers in the store."""
    use_cache_url(f"memcached://{','.join(node.address for node in own_cluster)}")
    StoredAnswer.objects.bulk_create(
        StoredAnswer(
            service="migo", kind="ruc", identifier=ruc, data=orjson.dumps(record(ruc)).decode(), born_at=timezone.now()
        )
        for ruc in RUCS
    )
    return own_cluster


def test_one_node_is_filled_and_told_of(nodes: list[Memcached], run: Run) -> None:
    ended = run("refill_node", nodes[0].address, "--json")

    (summary,) = ended.json["nodes"]
    row = RefillRun.objects.get()
    assert ended.code == 0
    assert (summary["run"], summary["node"], summary["state"]) == (row.pk, nodes[0].address, "done")
    assert 0 < summary["written"] == summary["candidates"] < len(RUCS)
    assert (row.reason, row.requested_by) == ("by_hand", "manage.py")


def test_all_nodes_together_hold_every_answer(nodes: list[Memcached], run: Run) -> None:
    ended = run("refill_node", "--all")

    assert ended.code == 0
    assert all(node.address in ended.out for node in nodes)
    assert len(APICacheService().get_many(f"migo:ruc_{ruc}" for ruc in RUCS)) == len(RUCS)


def test_a_dry_run_only_counts(nodes: list[Memcached], run: Run) -> None:
    ended = run("refill_node", "--all", "--dry-run", "--json")

    assert sum(summary["candidates"] for summary in ended.json["nodes"]) == len(RUCS)
    assert {summary["state"] for summary in ended.json["nodes"]} == {"dry_run"}
    assert APICacheService().get_many(f"migo:ruc_{ruc}" for ruc in RUCS) == {}
    assert not RefillRun.objects.exists()


def test_a_node_that_does_not_exist_is_answered_with_those_that_do(nodes: list[Memcached], run: Run) -> None:
    ended = run("refill_node", "nowhere:11211")

    assert ended.code == 2
    assert "no node 'nowhere:11211'" in ended.err
    assert all(node.address in ended.err for node in nodes)


@pytest.mark.parametrize("arguments", [(), ("a:11211", "--all")])
def test_one_node_or_all_is_to_be_said(arguments: tuple[str, ...], nodes: list[Memcached], run: Run) -> None:
    ended = run("refill_node", *arguments)

    assert (ended.code, "name one node, or give --all" in ended.err) == (2, True)


def test_a_dead_node_is_named_and_the_others_are_filled(nodes: list[Memcached], run: Run) -> None:
    nodes[1].kill()
    ended = run("refill_node", "--all", "--json")

    assert ended.code == 1
    assert [summary["state"] for summary in ended.json["nodes"]] == ["done", "failed", "done"]
    assert f"{nodes[1].address} does not answer" in ended.err


def test_a_node_that_is_being_filled_is_left_to_who_does_it(nodes: list[Memcached], run: Run) -> None:
    with run_lock(refill.lock_of(nodes[0].address), 60):
        ended = run("refill_node", nodes[0].address)

    assert (ended.code, "is being filled" in ended.err) == (2, True)


def test_memory_of_another_process_cannot_be_filled(use_cache_url: UseCacheUrl, run: Run) -> None:
    use_cache_url("locmem://")
    ended = run("refill_node", "--all")

    assert (ended.code, "CACHE_URL is locmem://" in ended.err) == (2, True)
