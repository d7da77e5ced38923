"""What a warm run may pay, and when it stops."""

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import WarmRun
from api_service.services.budget import Caps, Purpose, reserve
from api_service.services.cache_service import APICacheService
from tests.integration.services.warm_runs import asked_for, read, run, spent
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached

pytestmark = pytest.mark.django_db


def test_the_budget_of_a_run_is_never_exceeded(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(250)
    read(rucs)
    summary = run(budget=130)

    assert (summary["paid"], vendor.billed) == (130, 130)
    assert summary["skipped"] == {"over_budget": 120}
    assert sum(cache.get_ruc(ruc) is not None for ruc in rucs) == 130


def test_retries_use_up_the_budget_too(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(valid_rucs(100))
    vendor.switch(script=["500", "500", "500"])
    summary = run(budget=100)

    assert (summary["paid"], summary["failed"], summary["state"]) == (100, 100, "failed")
    assert len(vendor.log) == 1
    assert spent() == {"warm": 100}
    assert "budget" in summary["error"] or "100 paid queries a run" in summary["error"]


def test_warming_takes_what_its_share_of_the_caps_leaves_and_no_more(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    """A cap below one chunk must not keep all from being warmed."""
    settings.MIGO_MAX_PER_DAY, settings.WARM_SHARE = 100, 0.5
    reserve("migo", Purpose.USER, 20, Caps(0, 0, 0.5), timezone.now())
    read(valid_rucs(70))
    summary = run()

    assert (summary["paid"], vendor.billed) == (30, 30)
    assert summary["skipped"] == {"over_cap": 40}
    assert spent() == {"user": 20, "warm": 30}
    assert run()["paid"] == 0


def test_an_upstream_that_fails_is_not_asked_for_one_chunk_after_the_other(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_ATTEMPTS = 1
    read(valid_rucs(300))
    vendor.switch(error_rate=1.0)
    summary = run(budget=1000)

    assert (summary["failed"], summary["state"]) == (300, "failed")
    # Those that were under way together; nobody else was asked for
    assert len(vendor.log) <= settings.MIGO_PARALLEL


def test_a_refused_token_stops_the_run_and_makes_nobody_invalid(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(150)
    read(rucs)
    vendor.switch(script=["401", "401"])
    summary = run()

    assert summary["state"] == "failed"
    assert summary["error"].startswith("upstream_auth_refused")
    assert len(vendor.log) <= 2
    assert cache.get_all_invalid_rucs() == {}
    assert "token-of-the-tests" not in str(WarmRun.objects.values())


def test_a_cache_that_is_down_costs_nothing(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], vendor: RunningSandbox
) -> None:
    read(REAL)
    for node in own_cluster:
        node.kill()
    summary = run()

    assert (summary["paid"], summary["due"], summary["skipped"]) == (0, 0, {"cache_down": 6})
    assert vendor.log == []


def test_with_a_node_down_nothing_is_paid_that_could_not_be_kept_or_may_be_known_as_invalid(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], vendor: RunningSandbox
) -> None:
    rucs = valid_rucs(60)
    for ruc in rucs:
        own_cluster_cache.add_invalid_ruc(ruc)
    read(rucs)
    own_cluster[0].kill()
    summary = run()

    assert vendor.log == []
    assert set(summary["skipped"]) == {"cache_down", "known_invalid"}
    assert sum(summary["skipped"].values()) == 60


def test_ten_thousand_in_one_run_are_paid_for_once_each(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(2500)
    summary = run(rucs=rucs, limit=10_000, budget=10_000)
    assert (summary["paid"], summary["refreshed"], summary["failed"]) == (2500, 2500, 0)
    asked = asked_for(vendor)
    assert (len(asked), len(set(asked))) == (2500, 2500)
