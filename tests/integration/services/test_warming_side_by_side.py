"""A warm run beside users, other runs and newer answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import RunLock, StoredAnswer, WarmRun
from api_service.services import (
    answers,
    filling,
    flights,
    lookup,
    side_by_side,
    warm_calls,
    warm_refresh,
    warming,
)
from api_service.services.cache_service import APICacheService
from api_service.services.leases import LeaseLost
from api_service.services.outcomes import Lookup, Source
from api_service.services.warming import request, warm
from tests.integration.services.warm_runs import asked_for, read, run
from tests.rucs import REAL, record, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from workers import tasks

pytestmark = pytest.mark.django_db


def test_of_two_runs_at_once_the_second_does_nothing(cache: APICacheService, vendor: RunningSandbox) -> None:
    RunLock.objects.create(name=warming.LOCK, token="another", expires_at=timezone.now() + timedelta(seconds=60))
    assert warming.run(request(rucs=list(REAL))) is None
    RunLock.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    done = warming.run(request(rucs=list(REAL)))
    assert done is not None
    assert (done["state"], done["refreshed"]) == ("done", 6)
    assert WarmRun.objects.count() == 1


def test_a_run_that_somebody_asked_for_tells_in_its_row_what_was_in_its_way(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    RunLock.objects.create(name=warming.LOCK, token="another", expires_at=timezone.now() + timedelta(seconds=60))
    other = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1)
    for requested_by in ("", "billing"):
        summary = tasks.warm_frequent_rucs(rucs=list(REAL), requested_by=requested_by)
        assert summary["state"] == "already_running"
    assert WarmRun.objects.count() == 2
    row = WarmRun.objects.get(requested_by="billing")
    assert (row.state, row.error) == (
        "failed",
        f"another warm run was under way (run {other.pk}): start it again",
    )
    assert row.finished_at is not None
    assert asked_for(vendor) == []


@pytest.mark.parametrize(("asked_by", "rows"), [("billing", 1), ("somebody else", 2)])
def test_a_message_that_is_delivered_again_while_its_own_run_is_under_way_is_no_other_run(
    asked_by: str, rows: int, cache: APICacheService
) -> None:
    RunLock.objects.create(name=warming.LOCK, token="another", expires_at=timezone.now() + timedelta(seconds=60))
    WarmRun.objects.create(started_at=timezone.now(), limit=7, budget=1, requested_by=asked_by)
    task = tasks.warm_frequent_rucs
    task.push_request({"delivery_info": {"redelivered": True}})  # type: ignore[arg-type]  # the stubs know no fields
    try:
        summary = task.run(limit=7, budget=1, requested_by="billing")
    finally:
        task.pop_request()
    assert (summary["state"], WarmRun.objects.count()) == ("already_running", rows)


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
    began = time.monotonic()
    for module in (side_by_side, warm_calls):
        monkeypatch.setattr(module, "monotonic", lambda: began + sum(waits))
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
    summary = warm(replace(request(rucs=list(REAL)), seconds=30.0))

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
