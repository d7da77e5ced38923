"""A cache that is down never raises into the caller, and never passes for an empty one."""

import logging
from collections.abc import Callable

import pytest

from api_service.services.cache_service import APICacheService
from api_service.services.outcomes import Outcome
from tests.conftest import UseCacheUrl
from tests.rucs import REAL, record, valid_rucs
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

RUC = REAL[0]
MISS, DOWN = object(), object()

CALLS: dict[str, tuple[Callable[[APICacheService], object], object]] = {
    "get": (lambda c: c.get("k", "default"), "default"),
    "set": (lambda c: c.set("k", 1), False),
    "delete": (lambda c: c.delete("k"), False),
    "clear": (lambda c: c.clear(), False),
    "get_many": (lambda c: c.get_many(["a", "b"]), {}),
    "set_many": (lambda c: sorted(c.set_many({"a": 1, "b": 2})), ["a", "b"]),
    "get_ruc": (lambda c: c.get_ruc(RUC), None),
    "set_ruc": (lambda c: c.set_ruc(RUC, record(RUC)), False),
    "delete_ruc": (lambda c: c.delete_ruc(RUC), False),
    "add_invalid_ruc": (lambda c: c.add_invalid_ruc(RUC), False),
    "is_ruc_invalid": (lambda c: c.is_ruc_invalid(RUC), False),
    "get_invalid_ruc_info": (lambda c: c.get_invalid_ruc_info(RUC), None),
    "get_all_invalid_rucs": (lambda c: c.get_all_invalid_rucs(), {}),
    "remove_invalid_ruc": (lambda c: c.remove_invalid_ruc(RUC), False),
    "clear_invalid_rucs": (lambda c: c.clear_invalid_rucs()["nodes_failed"], 1),
    "clear_service_cache": (lambda c: c.clear_service_cache("migo")["nodes_failed"], 1),
    "get_tipo_cambio": (lambda c: c.get_tipo_cambio(), None),
    "set_tipo_cambio": (lambda c: c.set_tipo_cambio({"precio_venta": "3.7"}), False),
    "cleanup_expired": (lambda c: c.cleanup_expired()["nodes_failed"], 1),
    "get_health": (lambda c: c.get_health()["status"], "unhealthy"),
    "get_cache_stats": (lambda c: c.get_cache_stats()["status"], "unhealthy"),
}


@pytest.fixture(params=["memcached", "redis"])
def dead(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> APICacheService:
    server: Memcached | Redis = request.getfixturevalue(f"own_{request.param}")
    suffix = "/0" if request.param == "redis" else ""
    use_cache_url(f"{request.param}://{server.address}{suffix}")
    service = APICacheService()
    service.set("k", 1)
    server.kill()
    return service


@pytest.mark.django_db
@pytest.mark.parametrize("name", CALLS)
def test_nothing_raises_while_the_cache_is_down(dead: APICacheService, name: str) -> None:
    call, expected = CALLS[name]

    assert call(dead) == expected


def test_a_caller_who_asks_learns_of_the_outage(dead: APICacheService) -> None:
    assert dead.get("k", MISS, on_outage=DOWN) is DOWN
    assert dead.read("k").outcome is Outcome.OUTAGE
    assert {read.outcome for read in dead.read_many(["a", "b"]).values()} == {Outcome.OUTAGE}


def test_an_outage_is_not_a_miss_where_the_node_answers(memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(f"memcached://{memcached.address}")

    assert APICacheService().get("absent", MISS, on_outage=DOWN) is MISS


def test_health_names_the_broken_node(dead: APICacheService) -> None:
    health = dead.get_health()

    assert health["checks"]["connection"].startswith("❌")
    assert health["checks"]["basic_operations"].startswith("❌")
    assert [(f["code"], f["severity"], f["node"]) for f in health["findings"]] == [
        ("node_down", "unhealthy", dead.adapter.nodes()[0])
    ]


def test_half_a_cluster_is_not_healthy(own_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> None:
    use_cache_url(f"memcached://{','.join(node.address for node in own_cluster)}")
    service = APICacheService()
    rucs = valid_rucs(90)
    assert all(service.set_ruc(ruc, record(ruc)) for ruc in rucs)
    own_cluster[1].kill()

    health = service.get_health()
    reads = [service.read_ruc(ruc).outcome for ruc in rucs]

    assert health["status"] == "unhealthy"
    assert [node["node"] for node in health["nodes"] if not node["reachable"]] == [own_cluster[1].address]
    assert set(reads) == {Outcome.HIT, Outcome.OUTAGE}
    assert reads.count(Outcome.OUTAGE) < 60


def test_the_cache_is_used_again_when_it_is_back(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(f"memcached://{own_memcached.address}")
    service = APICacheService()
    own_memcached.kill()
    assert service.set("k", 1) is False

    own_memcached.restart()

    wait_until(lambda: service.set("k", 2), timeout=15)
    assert service.get("k") == 2


def test_a_node_that_came_back_is_healthy_at_once(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(f"memcached://{own_memcached.address}")
    service = APICacheService()
    own_memcached.kill()
    assert service.read("k").outcome is Outcome.OUTAGE
    assert service.get_health()["status"] == "unhealthy"

    own_memcached.restart()

    assert service.get_health()["status"] == "healthy"
    assert service.read("k").outcome is Outcome.MISS


def test_a_dead_cache_is_logged_with_what_it_means(
    dead: APICacheService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api_service.services.cache_service._verified", False)

    with caplog.at_level(logging.WARNING):
        assert dead._verify_cache_connection() is False

    assert "does not answer" in caplog.text
    assert dead.adapter.nodes()[0] in caplog.text
