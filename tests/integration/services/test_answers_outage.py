"""A PostgreSQL that dies, freezes or is locked under look-ups, which go on: the store is never a condition."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from api_service.services.budget import CAP_SECONDS
from tests.integration.services.looker import Looker
from tests.processes import free_port
from tests.project_process import ProjectProcess, run_project
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Postgres
from tests.waiting import wait_until

# The server belongs to this file alone: nobody else is frozen with it
pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("answers-outage")]

LIMIT = 1.5
MIGRATED = "migrated"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # What it has confirmed outlives its own kill, as anywhere but on a throw-away server
    started = Postgres(options=["-c", "synchronous_commit=on"]).start()
    with psycopg.connect(started.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {MIGRATED}")
    environment = {**os.environ, "DATABASE_URL": started.url_of(MIGRATED)}
    run_project("manage.py", "migrate", "--verbosity", "0", env=environment).check_returncode()
    yield started
    started.close()


@pytest.fixture
def database(server: Postgres) -> Iterator[str]:
    """The URL of a migrated database that nobody else uses."""
    if not server.is_running:
        server.restart()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS store WITH (FORCE)")
        connection.execute(f"CREATE DATABASE store TEMPLATE {MIGRATED}")
    yield server.url_of("store")
    if server.is_running:
        server.thaw()


@pytest.fixture
def looker(database: str, memcached: Memcached, sandbox: RunningSandbox) -> Iterator[Looker]:
    sandbox.switch(unknown_share=0.0)
    running = Looker(
        DATABASE_URL=database,
        CACHE_URL=memcached.url,
        MIGO_BASE_URL=f"{sandbox.url}/api/v1",
        MIGO_TOKEN="token-of-the-tests-0001",
        # Until it is ready: what a busy machine delays would be taken for trouble of the database
        ANSWER_STORE_SECONDS="30",
    )
    # Its connections are open, as they are when a server freezes
    assert running("look_up", REAL[0])[1] == "upstream"
    running("set_patience", LIMIT)
    yield running
    running.close()


def rows(database: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, connect_timeout=5) as connection:
        return connection.execute(statement.encode()).fetchall()


def kept(database: str) -> set[object]:
    return {row[0] for row in rows(database, "SELECT identifier FROM api_service_storedanswer")}


def entered(database: str) -> int:
    return int(str(rows(database, "SELECT coalesce(sum(queries), 0) FROM api_service_spendhour")[0][0]))


def reads_again(looker: Looker, memcached: Memcached) -> bool:
    """A look-up that misses is what finds out, without waiting."""
    memcached.flush()
    looker("look_up", REAL[0])
    return not looker("waits")[1]


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    server.freeze()
    yield
    server.thaw()


@contextmanager
def locked(database: str) -> Iterator[None]:
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE api_service_storedanswer, api_service_spendhour IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.parametrize("trouble", ["frozen", "locked"])
def test_a_database_that_does_not_answer_costs_one_look_up_its_limit_and_the_others_nothing(
    trouble: str, server: Postgres, database: str, looker: Looker, sandbox: RunningSandbox, memcached: Memcached
) -> None:
    with frozen(server) if trouble == "frozen" else locked(database):
        first = looker("look_up", REAL[1])
        others = [looker("look_up", ruc) for ruc in REAL[2:]]
        memcached.flush()
        again = looker("look_up", REAL[1])

        assert first[1] == "upstream"
        # It reads, enters and writes, and waits for the first of them only
        assert LIMIT <= first[0] < 3 * LIMIT
        assert [source for _, source in others] == ["upstream"] * 4
        # Paid for, not written yet, and not paid for again
        assert again[1] == "store"
        assert sum(seconds for seconds, _ in [*others, again]) < 5 * LIMIT
        assert looker("waits")[1] == ["stored answers", "ledger", "answers"]

    wait_until(lambda: looker("waiting")[1] == [0, 0], timeout=30)
    assert kept(database) == set(REAL)
    assert entered(database) == sandbox.billed == 6


def test_a_hundred_look_ups_at_once_wait_side_by_side_and_not_one_after_the_other(
    server: Postgres, database: str, looker: Looker, sandbox: RunningSandbox
) -> None:
    rucs = valid_rucs(100)
    with frozen(server):
        together, sources = looker("look_up_at_once", rucs)
        assert sources == ["upstream"] * 100
        assert together < 20 * LIMIT

    wait_until(lambda: looker("waiting")[1] == [0, 0], timeout=30)
    assert kept(database) == {REAL[0], *rucs}
    assert entered(database) == sandbox.billed == 101


def test_a_database_that_was_killed_gets_all_that_was_paid_for_when_it_is_back(
    server: Postgres, database: str, looker: Looker, sandbox: RunningSandbox, memcached: Memcached
) -> None:
    rucs = valid_rucs(200)
    server.kill()
    took = [looker("look_up", ruc)[0] for ruc in REAL[1:]]
    assert looker("look_up_many", rucs)[1] == 200
    assert looker("waiting")[1][0] == 205
    assert sum(took) < len(took) * LIMIT

    server.restart()
    wait_until(lambda: looker("waiting")[1] == [0, 0], timeout=30)
    assert kept(database) == {*REAL, *rucs}
    assert entered(database) == sandbox.billed == 206

    wait_until(lambda: reads_again(looker, memcached), timeout=30)
    memcached.flush()
    assert looker("look_up", REAL[2])[1] == "store"


def test_with_a_cap_a_frozen_database_refuses_instead_of_holding_and_nothing_is_paid(
    server: Postgres, looker: Looker, sandbox: RunningSandbox
) -> None:
    looker("set_cap", 100)
    with frozen(server):
        first, second = looker("look_up", REAL[1]), looker("look_up", REAL[2])
    assert (first[1], second[1]) == ("database_unavailable", "database_unavailable")
    assert second[0] < CAP_SECONDS
    assert sandbox.billed == 1
    wait_until(lambda: looker("look_up", REAL[1])[1] in {"upstream", "cache"}, timeout=30)


def test_a_circuit_breaker_that_cannot_be_shared_goes_by_its_own_process_and_nobody_waits(
    server: Postgres, looker: Looker, sandbox: RunningSandbox
) -> None:
    rucs = valid_rucs(9)
    with frozen(server):
        looker("look_up", REAL[1])
        sandbox.switch(error_rate=1.0)
        failed = [looker("look_up", ruc) for ruc in rucs]

    # Attempts count, three a look-up: the second one meets the fifth failure
    assert [code for _, code in failed[2:]] == ["upstream_circuit_open"] * 7
    assert sum(seconds for seconds, _ in failed[3:]) < 6 * LIMIT
    assert len(sandbox.log) <= 2 + 3 + 3


def test_a_process_that_ends_while_the_database_is_frozen_ends_in_time(
    server: Postgres, database: str, looker: Looker
) -> None:
    with frozen(server):
        assert looker("look_up", REAL[1])[1] == "upstream"
        looker.end()
        assert looker.process.returncode is not None


COUNTER = """
import sys, django
django.setup()
from api_service.services import tracking
from api_service.services.outcomes import Outcome
tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
print("counted", tracking.flush_now(), flush=True)
sys.stdin.readline()
tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
"""


def test_a_process_ends_although_its_last_read_counts_are_not_taken(server: Postgres, database: str) -> None:
    with counting_process(database) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted 1\n"
        with frozen(server):
            _, errors = process.communicate("\n", timeout=60)

    assert process.returncode == 0
    assert "last read counts were not written" in errors


def test_a_process_says_that_its_last_read_counts_were_refused() -> None:
    with counting_process(f"postgres://postgres@127.0.0.1:{free_port()}/store") as process:
        _, errors = process.communicate("\n", timeout=60)

    assert process.returncode == 0
    assert "last read counts were not written" in errors


@contextmanager
def counting_process(database: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "DATABASE_URL": database, "CACHE_URL": "locmem://", "READ_FLUSH_SECONDS": "60"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ProjectProcess("-c", COUNTER, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


# -- a health run


MONITOR = """
import json, time
import myproject.celery
from workers.tasks import monitor_cache_health
print(json.dumps(monitor_cache_health()["state"]), flush=True)
input()
started = time.monotonic()
try:
    monitor_cache_health()
except Exception as error:
    print(json.dumps([type(error).__name__, round(time.monotonic() - started, 1)]), flush=True)
input()
print(json.dumps(monitor_cache_health()["state"]), flush=True)
"""


def test_a_health_run_on_a_frozen_database_fails_in_time_and_the_next_one_goes_on(
    server: Postgres, database: str, memcached: Memcached
) -> None:
    """It cannot be stored: who watches the schedules hears that it failed."""
    variables = {"DATABASE_URL": database, "CACHE_URL": memcached.url, "HEALTH_AROUND_SECONDS": "2"}
    code = f"import django; django.setup(){MONITOR}"
    process = ProjectProcess("-c", code, env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        said, heard = process.stdin, process.stdout
        assert said is not None
        assert heard is not None
        try:
            first = json.loads(heard.readline())
            server.freeze()
            said.write("\n")
            said.flush()
            failed, seconds = json.loads(heard.readline())
            server.thaw()
            said.write("\n")
            said.flush()
            last = json.loads(heard.readline())
        finally:
            process.kill()

    assert (first, failed, last) == ("done", "NoAnswerInTime", "done")
    assert seconds < 10
    assert rows(database, "SELECT count(*) FROM api_service_healthsample") == [(2,)]
