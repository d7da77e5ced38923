"""A schedule's run while PostgreSQL is frozen: it fails in time, and whoever listens outside hears of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.http_catcher import HttpCatcher
from tests.project_process import run_project
from tests.servers import Memcached, Postgres
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("frozen-database")]

ROOT = Path(__file__).resolve().parents[3]
SCHEDULE = "monitor-cache-health"

RUNS = f"""
import django, json, time
django.setup()
import myproject.celery
from workers.tasks import monitor_cache_health
from workers.watch import signals
while True:
    started = time.monotonic()
    done = monitor_cache_health.apply(headers={{signals.HEADER: "{SCHEDULE}"}})
    print(json.dumps([done.state, round(time.monotonic() - started, 1)]), flush=True)
    input()
"""


@pytest.fixture
def server() -> Iterator[Postgres]:
    started = Postgres().start()
    environment = {**os.environ, "DATABASE_URL": started.url}
    run_project("manage.py", "migrate", "--verbosity", "0", env=environment).check_returncode()
    yield started
    started.close()


def test_a_run_on_a_frozen_database_fails_in_time_is_told_outside_and_the_next_one_is_written_down(
    server: Postgres, memcached: Memcached, http_catcher: HttpCatcher
) -> None:
    own = {
        "DATABASE_URL": server.url,
        "CACHE_URL": memcached.url,
        "HEALTH_AROUND_SECONDS": "2",
        "HEALTHCHECK_PING_URL": f"{http_catcher.url}/ping",
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUNS],
        cwd=ROOT,
        env={**os.environ, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def again() -> None:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        try:
            first, _ = json.loads(process.stdout.readline())
            server.freeze()
            again()
            frozen, seconds = json.loads(process.stdout.readline())
            wait_until(lambda: bool(http_catcher.received("/ping/fail")), timeout=10)
            server.thaw()
            again()
            last, _ = json.loads(process.stdout.readline())
        finally:
            server.thaw()
            process.kill()

    assert (first, frozen, last) == ("SUCCESS", "FAILURE", "SUCCESS")
    # The reading and both of the rows are given up, after two seconds each: long before the time limit of the task
    assert seconds < 40
    assert [one.path for one in http_catcher.received()][-4:] == ["/ping/start", "/ping/fail", "/ping/start", "/ping"]
    with psycopg.connect(server.url) as connection:
        row = connection.execute(
            "SELECT succeeded_at > failed_at, waiting_since FROM api_service_schedulerun"
        ).fetchone()
    assert row == (True, None)
