"""Two hundred threads that want the same cold answer at once pay for it once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from api_service.services import tracking
from api_service.services.migo_service import MigoAPIService
from api_service.services.outcomes import Outcome
from api_service.services.results import Result
from tests.migo_fixtures import RUC, unknown_rucs
from tests.sandbox_fixture import RunningSandbox

THREADS = 200


def all_at_once(ask: Callable[[], Result]) -> list[Result]:
    barrier = Barrier(THREADS)

    def one(_number: int) -> Result:
        barrier.wait(30)
        try:
            return ask()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def without_cache(result: Result) -> Result:
    return {name: value for name, value in result.items() if name != "cache"}


@pytest.mark.parametrize("latency", [0.0, 0.4])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_one_cold_ruc_is_asked_for_once(
    migo: MigoAPIService, sandbox: RunningSandbox, latency: float, known: bool
) -> None:
    ruc = RUC if known else unknown_rucs(1)[0]
    sandbox.switch(latency=latency)
    results = all_at_once(lambda: migo.consultar_ruc(ruc))
    assert len(sandbox.log) == 1
    assert len({str(sorted(without_cache(result).items())) for result in results}) == 1
    assert {result["success"] for result in results} == {known}


def test_an_outage_is_told_to_all_who_waited_and_the_next_one_asks_again(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    sandbox.switch(latency=0.5, error_rate=1.0)
    results = all_at_once(lambda: migo.consultar_ruc(RUC))
    assert {result["code"] for result in results} == {"upstream_server_error"}
    assert len(sandbox.log) < 10
    sandbox.switch(latency=0.0, error_rate=0.0)
    assert migo.consultar_ruc(RUC)["success"] is True


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_whoever_missed_just_before_another_brought_the_answer_does_not_pay_again(
    migo: MigoAPIService, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    ruc = RUC if known else unknown_rucs(1)[0]
    count, meanwhile = tracking.count, []

    def another_is_faster(service: str, kind: str, identifier: str, outcome: Outcome) -> None:
        """The cache was read, the flight not yet joined: here another caller goes all the way."""
        count(service, kind, identifier, outcome)
        monkeypatch.setattr(tracking, "count", count)
        meanwhile.append(migo.consultar_ruc(ruc))

    monkeypatch.setattr(tracking, "count", another_is_faster)
    late = migo.consultar_ruc(ruc)
    assert len(sandbox.log) == 1
    assert without_cache(late) == without_cache(meanwhile[0])
