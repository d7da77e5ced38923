"""One answer fetched once, however many processes want it; and nothing late is written over what came or went."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.services.looker import Looker
from tests.project_process import run_project
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("flights")]

# Of a holder that is killed or frozen; who lives would lose it on a machine that stalls
LOCK_SECONDS = 2
SHORT_LOCK = {"FLIGHT_LOCK_SECONDS": str(LOCK_SECONDS)}
RUC = REAL[0]
Start = Callable[..., Looker]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('flights') / 'db.sqlite3'}"
    environment = {**os.environ, "DATABASE_URL": url}
    run_project("manage.py", "migrate", "--verbosity", "0", env=environment).check_returncode()
    return url


@pytest.fixture(params=["memcached", "redis"])
def server(request: pytest.FixtureRequest) -> Memcached | Redis:
    name = "memcached" if request.param == "memcached" else "redis_server"
    server: Memcached | Redis = request.getfixturevalue(name)
    return server


@pytest.fixture
def start(database: str, server: Memcached | Redis, sandbox: RunningSandbox) -> Iterator[Start]:
    """Starts a process that looks up in that cache; without an answer store, which would hide who had to pay."""
    from django.db import connections

    with ExitStack() as stack:

        def begin(**variables: str) -> Looker:
            usual = {
                "DATABASE_URL": database,
                "CACHE_URL": server.url,
                "MIGO_BASE_URL": f"{sandbox.url}/api/v1",
                "MIGO_TOKEN": "token-of-the-tests-0001",
                "MIGO_ATTEMPTS": "1",
                "MIGO_READ_TIMEOUT": "30",
                "MIGO_DEADLINE": "60",
                "FLIGHT_LOCK_SECONDS": "30",
            }
            looker = Looker(**{**usual, **variables})
            stack.callback(looker.close)
            looker("waits")
            return looker

        yield begin
        connections.close_all()


@pytest.fixture
def cache(server: Memcached | Redis, use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(server.url)
    return APICacheService()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def forget_stored(database: str) -> None:
    import sqlite3

    with sqlite3.connect(Path(database.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM api_service_storedanswer")


@pytest.fixture(autouse=True)
def _empty_store(database: str) -> None:
    forget_stored(database)


def all_of(lookers: list[Looker], aside: ThreadPoolExecutor, act: str, *arguments: object) -> list[Any]:
    return [result for _seconds, result in aside.map(lambda looker: looker(act, *arguments), lookers)]


def test_two_hundred_look_ups_of_one_cold_ruc_from_four_processes_make_one_call(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    sandbox.switch(latency=0.5)
    sources = all_of(lookers, aside, "look_up_at_once", [RUC] * 50)
    assert len(sandbox.log) == sandbox.billed == 1
    assert (
        Counter(source for each in sources for source in each)["upstream"]
        + sum(source in {"cache", "store"} for each in sources for source in each)
        == 200
    )


def test_an_unknown_one_is_asked_for_once_as_well(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    sandbox.switch(latency=0.5, unknown_share=1.0)
    unknown = valid_rucs(1, start=77_000)[0]
    codes = all_of(lookers, aside, "look_up_at_once", [unknown] * 20)
    assert {code for each in codes for code in each} == {"not_found"}
    assert len(sandbox.log) == 1


def test_a_failure_is_told_to_all_who_waited_and_the_next_one_asks_anew(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    # Each has loaded all that it needs: one that comes when it is over asks anew, rightly
    all_of(lookers, aside, "force", REAL[1])
    before = len(sandbox.log)
    sandbox.switch(latency=2.0, error_rate=1.0)
    codes = all_of(lookers, aside, "look_up", RUC)
    assert codes == ["upstream_server_error"] * 4
    assert len(sandbox.log) == before + 1
    sandbox.switch(latency=0.0, error_rate=0.0)
    assert lookers[1]("look_up", RUC)[1] == "upstream"


def test_many_at_once_from_four_processes_pay_for_each_ruc_once(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    sandbox.switch(latency=0.2, unknown_share=0.0)
    rucs = valid_rucs(250, start=10_000)
    found = all_of(lookers, aside, "look_up_many", rucs)
    assert found == [250] * 4
    asked = Counter(ruc for entry in sandbox.log for ruc in entry["rucs"])
    assert set(asked.values()) == {1}
    assert sandbox.billed == 250


def test_a_forced_look_up_of_four_processes_at_once_is_one_call(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    # Each has loaded all that it needs: one that comes after the answer has landed pays for a newer one, rightly
    all_of(lookers, aside, "force", REAL[1])
    lookers[0]("look_up", RUC)
    before = sandbox.billed
    sandbox.switch(latency=2.0)
    assert all_of(lookers, aside, "force", RUC) == ["upstream"] * 4
    assert sandbox.billed == before + 1


def test_a_forced_look_up_that_fails_is_told_to_all_who_waited_and_asked_once(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    all_of(lookers, aside, "force", REAL[1])
    lookers[0]("look_up", RUC)
    before = len(sandbox.log)
    sandbox.switch(latency=2.0, error_rate=1.0)
    assert all_of(lookers, aside, "force", RUC) == ["upstream_server_error"] * 4
    assert len(sandbox.log) == before + 1
    assert lookers[1]("look_up", RUC)[1] == "cache"


def test_a_forced_look_up_of_an_unknown_one_is_one_call_as_well(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lookers = [start() for _ in range(4)]
    all_of(lookers, aside, "force", REAL[1])
    before, unknown = sandbox.billed, valid_rucs(1, start=79_000)[0]
    sandbox.switch(latency=2.0, unknown_share=1.0)
    assert all_of(lookers, aside, "force", unknown) == ["not_found"] * 4
    assert sandbox.billed == before + 1


def in_flight(sandbox: RunningSandbox, calls: int = 1) -> None:
    wait_until(lambda: len(sandbox.log) == calls, message="the call to APIMIGO")


def test_a_holder_that_is_killed_delays_the_others_by_the_lock_at_most(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    holder, other = start(**SHORT_LOCK), start(**SHORT_LOCK)
    sandbox.switch(script=["timeout:60"])
    aside.submit(holder, "look_up", RUC)
    in_flight(sandbox)
    holder.process.kill()
    seconds, source = other("look_up", RUC)
    assert source == "upstream"
    # The lock's own seconds are whole ones of the server's clock; the answer would take a minute
    assert seconds < LOCK_SECONDS + 20
    assert len(sandbox.log) == 2


def test_a_slow_holder_keeps_its_lock_as_long_as_it_lives(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    lock_seconds = 5
    holder, other = (start(FLIGHT_LOCK_SECONDS=str(lock_seconds)) for _ in range(2))
    sandbox.switch(script=[f"timeout:{lock_seconds + 3}"])
    first = aside.submit(holder, "look_up", RUC)
    in_flight(sandbox)
    seconds, source = other("look_up", RUC)
    assert (source, first.result()[1]) == ("upstream", "upstream")
    assert seconds > lock_seconds
    assert sandbox.billed == 1


def frozen_in_flight(holder: Looker, sandbox: RunningSandbox, aside: ThreadPoolExecutor) -> Future[Any]:
    sandbox.switch(script=["timeout:60"])
    asked = aside.submit(holder, "look_up", RUC)
    in_flight(sandbox)
    holder.process.send_signal(signal.SIGSTOP)
    return asked


def test_the_late_answer_of_a_frozen_holder_is_not_written_over_a_newer_one(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor, cache: APICacheService
) -> None:
    holder, other = start(**SHORT_LOCK), start(**SHORT_LOCK)
    asked = frozen_in_flight(holder, sandbox, aside)
    assert other("look_up", RUC)[1] == "upstream"
    newer = cache.read_ruc(RUC)
    sandbox.reset()
    holder.process.send_signal(signal.SIGCONT)
    assert asked.result(30)[1] == "upstream"
    assert cache.read_ruc(RUC) == newer
    assert other("stored_births", [RUC])[1] == [pytest.approx(newer.born_at, abs=0.01)]


@pytest.mark.parametrize("way", ["delete", "clear_service", "flush", "set"])
def test_what_was_cleared_or_set_meanwhile_stays_so(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor, cache: APICacheService, way: str
) -> None:
    holder = start()
    sandbox.switch(script=["timeout:60"])
    asked = aside.submit(holder, "look_up", RUC)
    in_flight(sandbox)
    match way:
        case "delete":
            assert cache.delete_ruc(RUC)
        case "clear_service":
            assert cache.clear_service_cache("migo")["removed"] >= 1
        case "flush":
            assert cache.clear()
        case _:
            assert cache.set_ruc(RUC, {"ruc": RUC, "nombre_o_razon_social": "A MANO"})
    sandbox.reset()
    assert asked.result(30)[1] == "upstream"
    expected = {"ruc": RUC, "nombre_o_razon_social": "A MANO"} if way == "set" else None
    assert cache.get_ruc(RUC) == expected


def test_the_late_answer_of_an_unknown_ruc_is_not_written_over_a_newer_one(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor, cache: APICacheService
) -> None:
    holder = start()
    unknown = valid_rucs(1, start=78_000)[0]
    sandbox.switch(unknown_share=1.0, script=["timeout:60"])
    asked = aside.submit(holder, "look_up", unknown)
    in_flight(sandbox)
    cache.set_ruc(unknown, {"ruc": unknown})
    sandbox.reset()
    assert asked.result(30)[1] == "not_found"
    assert cache.get_ruc(unknown) == {"ruc": unknown}
    assert not cache.is_ruc_invalid(unknown)


def test_an_answer_that_was_asked_for_before_the_store_was_cleared_does_not_come_back(
    start: Start, sandbox: RunningSandbox, aside: ThreadPoolExecutor
) -> None:
    holder, other = start(), start()
    sandbox.switch(script=["timeout:60"])
    asked = aside.submit(holder, "look_up", RUC)
    in_flight(sandbox)
    assert other("clear_with_answers")[1] == "done"
    sandbox.reset()
    assert asked.result(30)[1] == "upstream"
    assert other("stored_births", [RUC])[1] == []
    assert other("look_up", RUC)[1] == "upstream"
