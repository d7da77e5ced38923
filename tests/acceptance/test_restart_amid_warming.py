"""Everything is killed in the middle of a warm-up, the cache too, and started again: nothing kept is paid for twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.acceptance.stack import API_TOKEN, FLOWER_PASSWORD, MIGO_TOKEN, SECRET_KEY, Stack
from tests.rucs import valid_rucs
from tests.sandbox_fixture import RunningSandbox, sandbox_server  # noqa: F401 - a fixture
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("restart-warming")]

BROKER_DATABASE = 7
RUCS = valid_rucs(1200, start=500_000)
PARALLEL, CHUNK = 2, 100
# Chunks of which the answers come; those of the next ones are under way, and stay so
ANSWERED = 4


@pytest.fixture
def node() -> Iterator[Memcached]:
    server = Memcached()
    yield server.start()
    server.close()


@pytest.fixture
def vendor(sandbox_server: Any) -> Iterator[RunningSandbox]:  # noqa: F811
    sandbox = RunningSandbox(sandbox_server.url)
    sandbox.reset()
    sandbox.switch(unknown_share=0.0, script=["ok"] * ANSWERED + ["timeout:300"] * (len(RUCS) // CHUNK))
    yield sandbox
    # Its threads go home
    sandbox.reset()


@pytest.fixture
def database_url(_shared_postgres: Postgres) -> str:
    return _shared_postgres.new_database()


@pytest.fixture
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    _shared_redis: Redis,
    database_url: str,
    node: Memcached,
    vendor: RunningSandbox,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("restart")
    running = Stack(
        folder,
        {
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": SECRET_KEY,
            "API_TOKEN": API_TOKEN,
            "FLOWER_BASIC_AUTH": f"admin:{FLOWER_PASSWORD}",
            "DATABASE_URL": database_url,
            "CACHE_URL": f"memcached://{node.address}",
            "CACHE_RETRY_INTERVAL": "0.5",
            "CELERY_BROKER_URL": f"redis://{_shared_redis.address}/{BROKER_DATABASE}",
            "MIGO_TOKEN": MIGO_TOKEN,
            "MIGO_BASE_URL": f"{vendor.url}/api/v1",
            "MIGO_PARALLEL": str(PARALLEL),
            # Nothing is warmed but by this test
            "WARM_LIMIT": "0",
        },
    )
    running.start()
    yield running
    kill_all(running)


def kill_all(stack: Stack) -> None:
    """With their children: each process leads a session of its own."""
    for process in stack.processes.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def paid(vendor: RunningSandbox) -> Counter[str]:
    return Counter(ruc for entry in vendor.log if entry["billed"] for ruc in entry["rucs"])


def stored_in(database_url: str) -> set[str]:
    with psycopg.connect(database_url) as connection:
        return {row[0] for row in connection.execute("SELECT identifier FROM api_service_storedanswer")}


def cached(stack: Stack) -> int:
    code = (
        "from tests.acceptance.test_restart_amid_warming import RUCS; "
        "from api_service.services.cache_service import APICacheService; "
        "print(len(APICacheService().get_many([f'migo:ruc_{ruc}' for ruc in RUCS])))"
    )
    return int(stack.manage("shell", "--verbosity", "0", "-c", code).strip().splitlines()[-1])


def test_a_warm_up_goes_on_after_a_restart_of_everything(
    stack: Stack, vendor: RunningSandbox, node: Memcached, database_url: str
) -> None:
    asked = {"rucs": RUCS, "limit": len(RUCS), "budget": len(RUCS)}
    started = stack._flower("task/async-apply/workers.tasks.warm_frequent_rucs", {"kwargs": asked})
    assert started.status == 200
    wait_until(lambda: len(vendor.log) >= ANSWERED + PARALLEL, timeout=60, message="the middle of the warm-up")
    wait_until(lambda: stored_in(database_url), timeout=60, message="answers in the store")
    kill_all(stack)
    node.kill()
    before, stored = paid(vendor), stored_in(database_url)
    assert len(stored) < sum(before.values()) < len(RUCS)

    node.restart()
    vendor.switch(script=["ok"])
    stack.start()

    assert stack.ask_for("warm_frequent_rucs", **asked)["result"]["state"] == "already_running"
    # The killed run's lease ends by itself after a minute and a half; an operator who knows better releases it
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE api_service_runlock SET token = '' WHERE name = 'warm_frequent_rucs'")
    summary = stack.run_task("warm_frequent_rucs", **asked)["result"]
    assert (summary["state"], summary["failed"]) == ("done", 0)
    assert summary["from_store"] == len(stored)
    assert cached(stack) == len(RUCS)
    after = paid(vendor)
    # What was under way at the kill is the vendor's word against ours, and what waited for its turn behind it
    twice = {ruc for ruc, times in after.items() if times > 1}
    assert set(after) == set(RUCS)
    assert not twice & stored
    assert len(twice) <= (PARALLEL + 1) * CHUNK
