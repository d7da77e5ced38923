import time
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import DailyReads, SpendHour, StoredAnswer, WarmRun
from api_service.services import answers, warming
from api_service.services.budget import Caps, Purpose, reserve
from api_service.services.cache_service import APICacheService
from api_service.services.warming import WarmSummary, frequent, request, warm
from tests.integration.services.conftest import RunPython, url_of
from tests.rucs import REAL, WRONG_CHECK_DIGIT, record, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def read(rucs: Sequence[str], times: int = 5, days_ago: int = 0) -> None:
    """As the read counter would have written it."""
    at = timezone.now() - timedelta(days=days_ago)
    common = {"service": "migo", "kind": "ruc", "day": timezone.localdate(at), "last_read_at": at}
    DailyReads.objects.bulk_create(DailyReads(identifier=ruc, reads=times, **common) for ruc in rucs)


def run(**asked: object) -> WarmSummary:
    return warm(request(**asked))  # type: ignore[arg-type]


def asked_for(vendor: RunningSandbox) -> list[str]:
    return [ruc for entry in vendor.log for ruc in entry["rucs"]]


def spent() -> dict[str, int]:
    return {row.purpose: row.queries for row in SpendHour.objects.all() if row.queries}


# -- What is refreshed ------------------------------------------------------------------------------------------------


def test_frequent_rucs_are_loaded_before_anybody_misses_them(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run()

    assert (summary["state"], summary["due"], summary["paid"], summary["refreshed"]) == ("done", 6, 6, 6)
    for ruc in REAL:
        assert cache.get_ruc(ruc)["ruc"] == ruc
    assert vendor.billed == 6
    assert spent() == {"warm": 6}


def test_only_what_ends_soon_is_refreshed_and_lives_a_full_life_again(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    read(REAL[:3])
    cache.set_ruc(REAL[0], record(REAL[0]), 3600)
    cache.set_ruc(REAL[1], record(REAL[1]), 60)
    summary = run()

    assert sorted(asked_for(vendor)) == sorted(REAL[1:3])
    assert summary["skipped"] == {"fresh": 1}
    refreshed = cache.read_ruc(REAL[1])
    assert refreshed.expires_at is not None
    assert 3600 * 0.9 - 5 < refreshed.expires_at - time.time() <= 3600


def test_what_was_loaded_together_does_not_end_together(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(60)
    read(rucs)
    run()
    ends = [cache.read_ruc(ruc).expires_at or 0.0 for ruc in rucs]

    assert max(ends) - min(ends) > 100
    assert max(ends) - min(ends) <= 365


def test_a_second_run_pays_for_nothing_again(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    run()
    again = run()

    assert (again["paid"], again["skipped"]) == (0, {"fresh": 6})
    assert vendor.billed == 6


def test_a_life_shorter_than_the_lead_is_not_paid_for_at_every_run(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    settings.CACHE_TTL_RUC = 300
    read(REAL)
    run()

    assert run()["paid"] == 0
    assert vendor.billed == 6


def test_the_window_and_the_least_number_of_reads_decide_who_is_frequent(settings: Settings) -> None:
    settings.WARM_WINDOW_DAYS, settings.WARM_MIN_READS = 7, 3
    rucs = valid_rucs(5)
    read([rucs[0]], times=2)
    read([rucs[0]], times=2, days_ago=6)
    read([rucs[1]], times=2)
    read([rucs[2]], times=99, days_ago=7)
    read([rucs[3]], times=3)
    read([WRONG_CHECK_DIGIT[0]], times=99)

    assert [(one.ruc, one.reads) for one in frequent(10)] == [(rucs[0], 4), (rucs[3], 3)]


def test_the_most_read_come_first_up_to_the_limit(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(6)
    for place, ruc in enumerate(rucs):
        read([ruc], times=10 + place)
    summary = run(limit=2)

    assert sorted(asked_for(vendor)) == sorted(rucs[-2:])
    assert summary["candidates"] == 2


def test_named_rucs_are_loaded_instead_of_the_frequent_ones(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL[:3])
    summary = run(rucs=[REAL[4], REAL[5], REAL[4]])

    assert sorted(asked_for(vendor)) == sorted(REAL[4:6])
    assert (summary["candidates"], summary["refreshed"]) == (2, 2)


def test_rucs_known_not_to_exist_are_skipped_and_unknown_ones_are_remembered(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    read(REAL[:2])
    cache.add_invalid_ruc(REAL[0])
    vendor.switch(unknown_share=1.0)
    unknown = valid_rucs(1, start=77)
    read(unknown)
    summary = run()

    assert REAL[0] not in asked_for(vendor)
    assert summary["skipped"] == {"known_invalid": 1}
    assert cache.is_ruc_invalid(unknown[0])
    assert run()["paid"] == 0


def test_a_dry_run_says_what_it_would_do_and_pays_nothing(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run(dry_run=True)

    assert (summary["due"], summary["paid"], summary["state"]) == (6, 0, "done")
    assert vendor.log == []
    assert cache.get_ruc(REAL[0]) is None
    assert WarmRun.objects.get().dry_run


# -- Free before paid -------------------------------------------------------------------------------------------------


def test_what_the_store_still_holds_is_loaded_without_a_paid_call(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    read(REAL[:3])
    now = time.time()
    answers.save("migo", "ruc", {REAL[0]: {"ruc": REAL[0], "from": "store"}}, now - 1000)
    answers.save("migo", "ruc", {REAL[1]: {"ruc": REAL[1], "from": "store"}}, now - 3100)
    summary = run()

    assert (summary["from_store"], summary["paid"]) == (1, 2)
    assert sorted(asked_for(vendor)) == sorted(REAL[1:3])
    kept = cache.read_ruc(REAL[0])
    assert kept.value["from"] == "store"
    assert kept.born_at == pytest.approx(now - 1000, abs=1)
    assert kept.expires_at == pytest.approx(now + 2600, abs=5)


def test_answers_are_kept_in_the_store_for_the_next_time(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    run()
    cache.clear()
    summary = run()

    assert (summary["from_store"], summary["paid"]) == (6, 0)
    assert vendor.billed == 6


# -- Money ------------------------------------------------------------------------------------------------------------


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

    assert (summary["failed"], summary["skipped"]) == (100, {"stopped": 200})
    assert summary["state"] == "failed"
    assert len(vendor.log) == 1


def test_a_refused_token_stops_the_run_and_makes_nobody_invalid(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(150)
    read(rucs)
    vendor.switch(script=["401"])
    summary = run()

    assert (summary["state"], summary["failed"], summary["skipped"]) == ("failed", 100, {"stopped": 50})
    assert summary["error"].startswith("upstream_auth_refused")
    assert len(vendor.log) == 1
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


# -- Rows and arguments -----------------------------------------------------------------------------------------------


def test_a_run_leaves_a_row_that_says_what_it_did(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run(limit=5, budget=3)

    row = WarmRun.objects.get()
    assert (row.pk, row.state, row.limit, row.budget) == (summary["run"], "done", 5, 3)
    assert (row.candidates, row.paid, row.refreshed, row.skipped) == (5, 3, 3, {"over_budget": 2})
    assert row.finished_at is not None
    assert row.finished_at >= row.started_at


def test_an_error_that_nobody_foresaw_ends_in_the_row_and_is_raised(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    read(REAL)
    settings.CACHE_TTL_RUC = "an hour"

    with pytest.raises(TypeError):
        run()
    row = WarmRun.objects.get()
    assert (row.state, row.error.startswith("TypeError")) == ("failed", True)
    assert row.finished_at is not None


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"limit": -1}, "limit"),
        ({"budget": -1}, "budget"),
        ({"limit": 10**12}, "limit"),
        ({"budget": 10**12}, "budget"),
        ({"rucs": ["20123456789"]}, "rucs"),
        ({"rucs": ["line\nbreak"]}, "rucs"),
    ],
)
def test_a_request_that_cannot_be_is_one_line_that_names_the_argument(asked: dict[str, object], argument: str) -> None:
    with pytest.raises(ValueError, match=rf"^{argument}: .+$") as refused:
        request(**asked)  # type: ignore[arg-type]

    assert "\n" not in str(refused.value)
    assert not WarmRun.objects.exists()


WARM = """
from api_service.services import warming
warming.CHUNK = 10
warming.warm(warming.request(limit=100, budget=100))
"""


@pytest.mark.django_db(transaction=True)
def test_a_run_killed_between_two_chunks_is_closed_and_nobody_is_paid_for_twice(
    cache: APICacheService,
    memcached: Memcached,
    vendor: RunningSandbox,
    run_python: RunPython,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rucs = valid_rucs(40)
    read(rucs)
    vendor.switch(script=["ok", "ok", "timeout:30"])
    process = run_python(
        WARM,
        CACHE_URL=url_of(memcached),
        MIGO_BASE_URL=f"{vendor.url}/api/v1",
        MIGO_API_VERSION="v1",
        MIGO_TOKEN="token-of-the-tests-0001",
    )
    wait_until(lambda: StoredAnswer.objects.count() == 20, timeout=30)
    wait_until(lambda: sum(cache.get_ruc(ruc) is not None for ruc in rucs) == 20)
    process.kill()
    process.wait(10)
    paid_before = asked_for(vendor)[:20]
    vendor.reset()
    vendor.switch(unknown_share=0.0)
    monkeypatch.setattr(warming, "CHUNK", 10)
    summary = run()

    assert not set(paid_before) & set(asked_for(vendor))
    assert sorted({*paid_before, *asked_for(vendor)}) == sorted(rucs)
    assert summary["paid"] == 20
    killed, done = WarmRun.objects.order_by("pk")
    assert (killed.state, done.state) == ("failed", "done")
    assert killed.error.startswith("interrupted")
    assert killed.finished_at is not None
