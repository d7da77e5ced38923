"""What a warm run takes, what it leaves on record, and what is left of one that was killed."""

import pytest
from pytest_django.fixtures import Settings

from api_service.models import StoredAnswer, WarmRun
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
