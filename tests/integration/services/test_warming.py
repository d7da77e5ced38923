import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import LookupHour, RunLock, SpendHour, StoredAnswer, WarmedAnswer, WarmRun
from api_service.services import (
    answers,
    filling,
    flights,
    lookup,
    side_by_side,
    tracking,
    warm_calls,
    warm_policy,
    warm_refresh,
    warm_results,
    warm_statistics,
    warming,
)
from api_service.services.budget import Caps, Purpose, reserve
from api_service.services.cache_service import APICacheService
from api_service.services.leases import LeaseLost
from api_service.services.outcomes import Lookup, Outcome, Source
from api_service.services.warming import WarmSummary, request, warm
from tests.integration.services.conftest import RunPython, url_of
from tests.rucs import REAL, WRONG_CHECK_DIGIT, record, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def read(rucs: Sequence[str], times: int = 5, days_ago: float = 0) -> None:
    """One visit an hour, the last one just now, as the read counter would have written it."""
    now = time.time() - days_ago * 86_400
    for hours in reversed(range(times)):
        warm_statistics.observe({("migo", "ruc", ruc): now - 1 - hours * 3600 for ruc in rucs})


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
    assert kept.expires_at == pytest.approx(now - 1000 + warm_refresh.life_of(REAL[0]), abs=5)


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


# -- Rows and arguments -----------------------------------------------------------------------------------------------


def test_a_run_leaves_a_row_that_says_what_it_did(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run(limit=5, budget=3)

    row = WarmRun.objects.get()
    assert (row.pk, row.state, row.limit, row.budget) == (summary["run"], "done", 5, 3)
    assert (row.candidates, row.paid, row.refreshed) == (6, 3, 3)
    assert row.skipped == {"over_limit": 1, "over_budget": 2}
    assert row.finished_at is not None
    assert row.finished_at >= row.started_at


def test_an_error_that_nobody_foresaw_ends_in_the_row_and_is_raised(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings
) -> None:
    read(REAL)
    settings.CACHE_TTL_RUC = "an hour"

    with pytest.raises(ValueError, match="an hour"):
        run()
    row = WarmRun.objects.get()
    assert (row.state, row.error.startswith("ValueError")) == ("failed", True)
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
from api_service.services import migo_wire, warming
migo_wire.LARGEST_COLLECTION = 10
warming.run(warming.request(limit=100, budget=100))
"""


@pytest.mark.django_db(transaction=True)
def test_a_run_killed_between_two_chunks_is_closed_and_nobody_is_paid_for_twice(
    cache: APICacheService,
    memcached: Memcached,
    vendor: RunningSandbox,
    run_python: RunPython,
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
        MIGO_PARALLEL="1",
        FLIGHT_LOCK_SECONDS="2",
    )
    wait_until(lambda: StoredAnswer.objects.count() == 20, timeout=30)
    wait_until(lambda: sum(cache.get_ruc(ruc) is not None for ruc in rucs) == 20)
    process.kill()
    process.wait(10)
    paid_before = asked_for(vendor)[:20]
    vendor.reset()
    vendor.switch(unknown_share=0.0)
    # The killed one's claims end by themselves
    claimed = [f"migo:ruc_{ruc}" for ruc in rucs]
    wait_until(lambda: len(cache.cache.fetch_many(claimed)[0]) == 20)
    summary = run()

    assert not set(paid_before) & set(asked_for(vendor))
    assert sorted({*paid_before, *asked_for(vendor)}) == sorted(rucs)
    assert summary["paid"] == 20
    killed, done = WarmRun.objects.order_by("pk")
    assert (killed.state, done.state) == ("failed", "done")
    assert killed.error.startswith("interrupted")
    assert killed.finished_at is not None


# -- One at a time ----------------------------------------------------------------------------------------------------


def test_of_two_runs_at_once_the_second_does_nothing(cache: APICacheService, vendor: RunningSandbox) -> None:
    RunLock.objects.create(name=warming.LOCK, token="another", expires_at=timezone.now() + timedelta(seconds=60))
    assert warming.run(request(rucs=list(REAL))) is None
    RunLock.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    done = warming.run(request(rucs=list(REAL)))
    assert done is not None
    assert (done["state"], done["refreshed"]) == ("done", 6)
    assert WarmRun.objects.count() == 1


def test_what_somebody_is_asking_for_already_is_not_asked_for_twice(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    cache.cache.claim_many([f"migo:ruc_{REAL[0]}"], {"v": 0, "by": "a look-up"}, 60)
    summary = run(rucs=list(REAL))

    assert summary["skipped"] == {"in_flight": 1}
    assert sorted(asked_for(vendor)) == sorted(REAL[1:])


def test_the_calls_of_a_scheduled_run_are_spread_over_its_period(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(side_by_side, "sleep", waits.append)
    for module in (side_by_side, warm_calls):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + sum(waits))
    read(valid_rucs(300))
    summary = warm(request(budget=300, spread=90.0))

    assert (summary["paid"], len(vendor.log)) == (300, 3)
    assert sum(waits) == pytest.approx(60, abs=1)


def during_the_first_call(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """`act` happens after the plan was made and before anything is claimed."""
    depart, done = flights.depart, list[object]()

    def departing(*args: Any, **kwargs: Any) -> flights.Departure:
        if not done:
            done.append(act())
        return depart(*args, **kwargs)

    monkeypatch.setattr(flights, "depart", departing)


def test_what_a_user_has_paid_for_since_the_plan_is_not_paid_for_again(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_the_first_call(monkeypatch, lambda: cache.set_ruc(REAL[0], record(REAL[0])))
    summary = run(rucs=list(REAL))

    assert summary["skipped"] == {"in_flight": 1}
    assert sorted(asked_for(vendor)) == sorted(REAL[1:])


def test_what_turned_out_not_to_exist_since_the_plan_is_not_asked_for(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_the_first_call(monkeypatch, lambda: cache.add_invalid_ruc(REAL[0]))
    summary = run(rucs=list(REAL))

    assert summary["skipped"] == {"in_flight": 1}
    assert REAL[0] not in asked_for(vendor)
    assert cache.is_ruc_invalid(REAL[0])


def test_a_look_up_in_the_middle_of_a_run_waits_for_none_of_its_later_calls(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIGO_PARALLEL = 1
    rucs, seen, keep = valid_rucs(300), list[Lookup](), filling.keep

    def keeping(*args: Any, **kwargs: Any) -> None:
        keep(*args, **kwargs)
        if not seen:
            seen.append(lookup.get("migo", "ruc", rucs[0]))
            seen.append(lookup.get("migo", "ruc", rucs[-1]))

    monkeypatch.setattr(warm_refresh, "keep", keeping)
    summary = run(rucs=rucs, budget=300)

    assert [found.source for found in seen] == [Source.CACHE, Source.UPSTREAM]
    assert (summary["paid"], summary["skipped"]) == (299, {"in_flight": 1})
    assert sorted(asked_for(vendor)) == sorted(rucs)


def test_what_a_run_was_refused_is_free_for_others_before_it_ends(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is there already is kept, and its lock is free."""
    settings.MIGO_PARALLEL = settings.MIGO_ATTEMPTS = 1
    rucs, free, keep = valid_rucs(200), list[flights.Departure](), filling.keep
    names = [f"migo:ruc_{ruc}" for ruc in rucs[:100]]
    for ruc in rucs[:50]:
        cache.set_ruc(ruc, record(ruc), ttl=60)
    vendor.switch(script=["500"])

    def keeping(*args: Any, **kwargs: Any) -> None:
        keep(*args, **kwargs)
        free.append(flights.depart(cache, names, 60, time.time(), refresh=True))

    monkeypatch.setattr(warm_refresh, "keep", keeping)
    summary = run(rucs=rucs, budget=200)

    assert (summary["failed"], summary["refreshed"]) == (100, 100)
    assert free[0].mine == set(names)
    assert sum(cache.get_ruc(ruc) is not None for ruc in rucs[:50]) == 50


def test_a_reload_writes_nothing_over_a_newer_answer(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.save("migo", "ruc", {REAL[0]: {"ruc": REAL[0], "from": "store"}}, time.time() - 1000)
    during_the_first_call(monkeypatch, lambda: cache.set_ruc(REAL[0], {"ruc": REAL[0], "from": "a user"}))
    assert run(rucs=[REAL[0]])["from_store"] == 0
    assert cache.get_ruc(REAL[0])["from"] == "a user"


def test_nothing_is_claimed_while_the_minute_is_full(
    cache: APICacheService, vendor: RunningSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever misses a claimed key would wait for all that time."""
    settings.MIGO_MAX_PER_MINUTE, settings.WARM_SHARE = 8, 0.5
    claimed: list[int] = []
    depart = flights.depart

    def departing(service: APICacheService, names: Sequence[str], *args: Any, **kwargs: Any) -> flights.Departure:
        claimed.append(len(names))
        return depart(service, names, *args, **kwargs)

    monkeypatch.setattr(flights, "depart", departing)
    summary = warm(replace(request(rucs=list(REAL)), seconds=3.0))

    assert claimed == [4]
    assert (summary["paid"], summary["skipped"]) == (4, {"out_of_time": 2})


def test_what_was_paid_for_is_kept_although_the_lease_is_lost(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_calls, "RENEWED_EVERY", 0.0)
    rucs, renewals = valid_rucs(250), list[int]()

    def renew() -> None:
        renewals.append(1)
        if vendor.log:
            raise LeaseLost("another process took over")

    with pytest.raises(LeaseLost):
        warm(request(rucs=rucs), renew)
    assert answers.flush(10)
    paid = set(asked_for(vendor))
    assert len(paid) >= 100
    assert {ruc for ruc in rucs if cache.get_ruc(ruc)} == paid
    assert StoredAnswer.objects.count() == len(paid)
    assert WarmRun.objects.get().paid == len(paid)


def test_a_database_that_hiccups_at_a_renewal_stops_nothing(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_calls, "RENEWED_EVERY", 0.0)

    def renew() -> None:
        raise OperationalError("the connection is lost")

    assert warm(request(rucs=list(REAL)), renew)["refreshed"] == 6


def test_an_answer_of_the_store_ends_when_it_would_have_ended(cache: APICacheService, vendor: RunningSandbox) -> None:
    """Loaded again for the whole life, all would end together after the first reload."""
    rucs = valid_rucs(60)
    run(rucs=rucs)
    ends = {ruc: cache.read_ruc(ruc).expires_at or 0.0 for ruc in rucs}
    cache.clear()
    assert run(rucs=rucs)["from_store"] == 60
    assert {ruc: cache.read_ruc(ruc).expires_at for ruc in rucs} == {
        ruc: pytest.approx(ends[ruc], abs=2) for ruc in rucs
    }


# -- What became of them ----------------------------------------------------------------------------------------------


def test_a_run_learns_how_many_of_its_answers_were_read_in_time(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run()
    for ruc in REAL[:4]:
        tracking.count("migo", "ruc", ruc, Outcome.HIT)
    tracking.flush_now()
    row = WarmRun.objects.get(pk=summary["run"])
    assert (row.useful, row.wasted) == (None, None)
    WarmedAnswer.objects.update(ends_at=timezone.now() - timedelta(minutes=3))
    assert warm_results.settle(timezone.now()) == 1
    row.refresh_from_db()
    assert (row.useful, row.wasted) == (4, 2)
    assert warm_results.settle(timezone.now()) == 0
    seen = warm_results.experience(timezone.now())
    assert (seen.warms, seen.useful) == (6, 4)
    assert 1 < seen.foreseen < 6


def test_a_read_before_or_after_it_is_none_of_it(cache: APICacheService, vendor: RunningSandbox) -> None:
    run(rucs=list(REAL))
    now = time.time()
    WarmedAnswer.objects.update(warmed_at=timezone.now(), ends_at=timezone.now() + timedelta(seconds=60))
    warm_results.note_reads({("migo", "ruc", REAL[0]): now - 60, ("migo", "ruc", REAL[1]): now + 120})
    warm_results.note_reads({("migo", "dni", REAL[2]): now + 30, ("migo", "ruc", REAL[3]): now + 30})
    assert list(WarmedAnswer.objects.filter(read_at__isnull=False).values_list("identifier", flat=True)) == [REAL[3]]


def test_what_is_loaded_again_before_anybody_read_it_was_for_nobody(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    run(rucs=[REAL[0]])
    cache.delete_ruc(REAL[0])
    StoredAnswer.objects.all().delete()
    run(rucs=[REAL[0]])
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
    tracking.flush_now()
    first, second = WarmedAnswer.objects.order_by("pk")
    assert (first.read_at, first.ends_at) == (None, second.warmed_at)
    assert second.read_at is not None


def test_the_next_runs_ask_for_more_where_too_much_was_loaded_for_nobody(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    old = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1, state="done")
    ended = timezone.now() - timedelta(hours=1)
    WarmedAnswer.objects.bulk_create(
        WarmedAnswer(run=old, service="migo", kind="ruc", identifier=str(n), chance=0.5, warmed_at=ended, ends_at=ended)
        for n in range(400)
    )
    read(REAL)
    summary = run()
    assert summary["break_even"] == 0.75
    assert summary["skipped"]["below_break_even"] > 0


def test_ten_thousand_in_one_run_are_paid_for_once_each(cache: APICacheService, vendor: RunningSandbox) -> None:
    rucs = valid_rucs(2500)
    summary = run(rucs=rucs, limit=10_000, budget=10_000)
    assert (summary["paid"], summary["refreshed"], summary["failed"]) == (2500, 2500, 0)
    asked = asked_for(vendor)
    assert (len(asked), len(set(asked))) == (2500, 2500)


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
