"""What a warm run refreshes, from where, and for how long."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import LookupHour, WarmRun
from api_service.services import answers, warm_policy, warm_refresh, warm_statistics
from api_service.services.cache_service import APICacheService
from tests.integration.services.warm_runs import asked_for, read, run, spent
from tests.rucs import REAL, WRONG_CHECK_DIGIT, record, valid_rucs
from tests.sandbox_fixture import RunningSandbox

pytestmark = pytest.mark.django_db


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
    settings.CACHE_TTL_RUC, settings.WARM_BREAK_EVEN = 300, 0.0
    read(REAL)
    run()

    assert run()["paid"] == 0
    assert vendor.billed == 6


def test_nobody_is_paid_for_of_whom_too_few_reads_are_expected(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(4)
    read([rucs[0]], times=5)
    read([rucs[1]], times=1)
    read([rucs[2]], times=5, days_ago=30)
    read([WRONG_CHECK_DIGIT[0]], times=9)
    summary = run()

    assert asked_for(vendor) == [rucs[0]]
    assert summary["skipped"] == {"below_break_even": 2}
    assert summary["break_even"] == 0.25


def test_who_always_comes_at_this_hour_is_loaded_and_who_comes_at_another_is_not(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    """Both were here as often, and not lately."""
    early, late = valid_rucs(2)
    # The middle of the next half hour, which an answer of now still covers
    soon = time.time() // warm_policy.SLOT * warm_policy.SLOT + 1.5 * warm_policy.SLOT
    for day in reversed(range(1, 40)):
        if is_weekend(at := soon - day * 86_400) == is_weekend(soon):
            warm_statistics.observe({("migo", "ruc", early): at})
            warm_statistics.observe({("migo", "ruc", late): at - 12 * 3600})
    watched_for(weeks=6)
    run()

    assert asked_for(vendor) == [early]


def is_weekend(at: float) -> bool:
    slot = warm_policy.slot_of(warm_statistics.wall(at))
    return warm_policy.bin_of(slot) >= warm_policy.SLOTS_A_DAY


def watched_for(weeks: int) -> None:
    """Look-ups were counted around the clock, every hour alike."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    LookupHour.objects.bulk_create(
        LookupHour(hour=hour - timedelta(hours=back), service="migo", kind="ruc", outcome="hit", count=50)
        for back in range(weeks * 7 * 24)
    )


def test_the_most_read_come_first_up_to_the_limit(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(6)
    for place, ruc in enumerate(rucs):
        read([ruc], times=10 + place)
    summary = run(limit=2)

    assert sorted(asked_for(vendor)) == sorted(rucs[-2:])
    assert summary["skipped"] == {"over_limit": 4}


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


def test_a_ruc_whose_answer_is_about_to_end_is_not_paid_for_where_it_is_listed_as_invalid(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    read(REAL[:2])
    for ruc in REAL[:2]:
        cache.set_ruc(ruc, {"ruc": ruc}, ttl=30)
    cache.add_invalid_ruc(REAL[0])

    assert run()["skipped"] == {"known_invalid": 1}
    assert asked_for(vendor) == [REAL[1]]


def test_a_dry_run_says_what_it_would_do_and_pays_nothing(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run(dry_run=True)

    assert (summary["due"], summary["paid"], summary["state"]) == (6, 0, "done")
    assert vendor.log == []
    assert cache.get_ruc(REAL[0]) is None
    assert WarmRun.objects.get().dry_run


def test_unknown_rucs_are_asked_for_again_in_their_share_of_the_run(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    settings.WARM_RECHECK_SHARE = 0.2
    rucs = valid_rucs(10)
    read(rucs)
    for ruc in rucs:
        cache.add_invalid_ruc(ruc, ttl_hours=0.01)
    summary = run(limit=10)

    assert (summary["due"], summary["refreshed"]) == (2, 2)
    assert summary["skipped"] == {"over_recheck": 8}
    found = asked_for(vendor)
    assert all(cache.get_ruc(ruc) and not cache.is_ruc_invalid(ruc) for ruc in found)


def test_version_two_without_collections_is_warmed_as_well(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_API_VERSION, settings.MIGO_BASE_URL = "v2", f"{vendor.url}/api/v2"
    rucs = valid_rucs(20)
    cache.cache.claim_many([f"migo:ruc_{rucs[0]}"], {"v": 0, "by": "a look-up"}, 60)
    vendor.switch(script=["refused:Plan"])
    summary = run(rucs=rucs)

    assert (summary["paid"], summary["refreshed"], summary["failed"]) == (19, 18, 1)
    assert summary["skipped"] == {"in_flight": 1}
    assert sum(cache.get_ruc(ruc) is not None for ruc in rucs) == 18


# -- Free before paid --------------------------------------------------------------------------------------------------


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
    assert kept.expires_at == pytest.approx(now - 1000 + warm_refresh.life_of(REAL[0]), abs=5)


def test_answers_are_kept_in_the_store_for_the_next_time(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    run()
    cache.clear()
    summary = run()

    assert (summary["from_store"], summary["paid"]) == (6, 0)
    assert vendor.billed == 6
