"""What a warm run takes, what it leaves on record, and what is left of one that was killed."""

import signal
from datetime import timedelta
from threading import Event, Thread

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import RunLock, StoredAnswer, WarmRun
from api_service.services import warming
from api_service.services.cache_service import APICacheService
from api_service.services.warming import request
from tests.integration.services.conftest import RunPython, url_of
from tests.integration.services.warm_runs import asked_for, read, run
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


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
    wait_until(lambda: StoredAnswer.objects.count() == 20, timeout=60)
    wait_until(lambda: sum(cache.get_ruc(ruc) is not None for ruc in rucs) == 20)
    process.kill()
    process.wait(10)
    held_until = RunLock.objects.get(name=warming.LOCK).expires_at
    assert held_until is not None
    warming.close_abandoned(held_until - timedelta(seconds=0.1))
    assert WarmRun.objects.get().state == "running"
    warming.close_abandoned(held_until + timedelta(minutes=5))
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
    assert (killed.error, killed.finished_at) == (warming.INTERRUPTED, held_until)


FROZEN = """
import os, signal
from api_service.services import warming
warming.LEASE_SECONDS = 2.0
open_row = warming.WarmRun.objects.create
def opened(**fields):
    row = open_row(**fields)
    os.kill(os.getpid(), signal.SIGSTOP)
    return row
warming.WarmRun.objects.create = opened
print(warming.run(warming.request(limit=1, budget=0))["state"])
"""


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_frozen_for_longer_than_its_lease_and_goes_on_is_told_by_its_own_end(
    memcached: Memcached, run_python: RunPython
) -> None:
    process = run_python(FROZEN, CACHE_URL=url_of(memcached))
    wait_until(WarmRun.objects.exists, timeout=60)
    wait_until(lambda: RunLock.objects.filter(name=warming.LOCK, expires_at__lt=timezone.now()).exists(), timeout=30)
    warming.close_abandoned(timezone.now())
    frozen = WarmRun.objects.get()
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=30)[0].split()[-1] == "done"

    assert (frozen.state, frozen.error) == ("failed", warming.INTERRUPTED)
    done = WarmRun.objects.get()
    assert (done.state, done.error) == ("done", "")


@pytest.mark.django_db(transaction=True)
def test_a_run_whose_upstream_is_slower_than_its_lease_is_at_work_for_who_looks(
    cache: APICacheService, vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "LEASE_SECONDS", 5.0)
    read(REAL[:1])
    vendor.switch(script=["timeout:8"])
    seen, ended = list[str](), Event()

    def look() -> None:
        while not ended.wait(0.5):
            warming.close_abandoned(timezone.now())
            seen.extend(WarmRun.objects.values_list("state", flat=True))
        connections.close_all()

    beside = Thread(target=look)
    beside.start()
    warming.run(request(limit=1, budget=1))
    ended.set()
    beside.join(30)

    # Longer than the lease, without a step of the run that could renew it
    assert seen.count("running") > 5.0 / 0.5
    assert "failed" not in seen
