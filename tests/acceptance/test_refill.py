"""A node dies and comes back empty: real memcached, database and worker, and nobody who does anything about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import Celery

from tests.acceptance.stack import BIN, ROOT, Stack
from tests.rucs import record, valid_rucs
from tests.sandbox_fixture import RunningSandbox, sandbox_server  # noqa: F401 - a fixture
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("refill")]

RUCS = valid_rucs(40)
# So many that a refill can be interrupted
MANY = 60_000
BROKER_DATABASE = 6

LOOK_UP = """
import json, sys
import django; django.setup()
from api_service.services.migo_service import MigoAPIService
found = MigoAPIService().consultar_ruc_masivo(sys.argv[1:])
one = MigoAPIService().consultar_ruc(sys.argv[1])
print(json.dumps({"one": one, "many": found}))
"""
ASK_IN_VAIN = """
import sys
import django; django.setup()
from api_service.services.cache_service import APICacheService
for number in range(int(sys.argv[1])):
    APICacheService().get(f"migo:x_{number}")
"""

# A refill is over within a second: whoever reads the data of answers waits at one of them while the lock is held
GATE, AT = 1, MANY // 2
GATED = f"""
ALTER TABLE api_service_storedanswer RENAME TO kept;
CREATE FUNCTION through_the_gate(data text) RETURNS text STABLE LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN data; END';
CREATE VIEW api_service_storedanswer AS
    SELECT id, service, kind, identifier, CASE id WHEN {AT} THEN through_the_gate(data) ELSE data END AS data, born_at
    FROM kept;
"""


class System:
    """The worker and what it works with."""

    def __init__(self, stack: Stack, node: Memcached, database_url: str) -> None:
        self.stack = stack
        self.node = node
        self.database_url = database_url
        self.broker = Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False)
        self.workers = 0

    def start_worker(self) -> None:
        """One process without children: killing it is killing what it does."""
        self.workers += 1
        name = f"worker{self.workers}"
        queues = "health,warming,tracking,default"
        command = [str(BIN / "celery"), "-A", "myproject", "worker", "-n", f"{name}@%h", "-Q", queues, "-P", "solo"]
        self.stack._spawn(name, [*command, "-l", "INFO"])
        wait_until(lambda: "ready" in self.stack.output(name), 120, message=self.stack.output(name))

    def kill_worker(self) -> None:
        process = self.stack.processes.pop(f"worker{self.workers}")
        process.kill()
        process.wait(30)

    def python(self, code: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.stack.environment},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), arguments)
            return cursor.fetchall() if cursor.description else []

    def monitor(self) -> None:
        """What Beat does every five minutes."""
        before = self.rows("SELECT count(*) FROM api_service_healthsample")
        self.broker.send_task("workers.tasks.monitor_cache_health", queue="health", ignore_result=True)
        wait_until(lambda: self.rows("SELECT count(*) FROM api_service_healthsample") > before, 60, message="a sample")

    def refills(self) -> list[dict[str, Any]]:
        names = ("id", "state", "reason", "candidates", "written", "already_there", "refused", "error")
        ratios = ("hit_ratio_before", "hit_ratio_during", "hit_ratio_after")
        rows = self.rows(f"SELECT {', '.join(names + ratios)} FROM api_service_refillrun ORDER BY id")
        return [dict(zip(names + ratios, row, strict=True)) for row in rows]

    def wait_for_refill(self, state: str, seconds: float = 60) -> dict[str, Any]:
        wait_until(lambda: self.refills() and self.refills()[-1]["state"] == state, seconds, 0.05, f"a refill {state}")
        return self.refills()[-1]

    @contextmanager
    def held_in_the_middle(self) -> Iterator[None]:
        """The next refill gets no further than that until the end of this."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(GATED.encode())
            connection.execute("SELECT pg_advisory_lock(%s)", [GATE])
            yield

    def wait_for_the_middle(self) -> None:
        """The newest refill has begun to write."""
        wait_until(self._writes, 60, 0.05, "a refill that writes")

    def _writes(self) -> bool:
        newest = self.refills()[-1:]
        return bool(newest and newest[0]["state"] == "running" and self.items() > 0)

    def items(self) -> int:
        """Answers on the node, without the lock of whoever lists it."""
        return self.node.ask("lru_crawler metadump hash").count("key=%3A1%3Amigo%3A")

    def keep(self, number: int) -> None:
        """Answers in the store as if they had been paid for in the last minutes, the first ones last."""
        now = datetime.now(UTC)
        with psycopg.connect(self.database_url) as connection:
            columns = "service, kind, identifier, data, born_at"
            with connection.cursor().copy(f"COPY api_service_storedanswer ({columns}) FROM STDIN".encode()) as copy:
                for place, ruc in enumerate(valid_rucs(number, start=1000)):
                    born = now - timedelta(seconds=60, milliseconds=place)
                    copy.write_row(("migo", "ruc", ruc, json.dumps(record(ruc)), born))


@pytest.fixture(scope="module")
def sandbox(sandbox_server: Any) -> RunningSandbox:  # noqa: F811
    sandbox = RunningSandbox(sandbox_server.url)
    sandbox.reset()
    sandbox.switch(unknown_share=0.0)
    return sandbox


@pytest.fixture
def system(
    tmp_path: Path, _shared_redis: Redis, _shared_postgres: Postgres, own_memcached: Memcached, sandbox: RunningSandbox
) -> Iterator[System]:
    database_url = _shared_postgres.new_database()
    environment = {
        "DATA_DIR": str(tmp_path / "data"),
        "SECRET_KEY": "only-for-this-test-0123456789abcdefghijklmnopqrstuv",
        "DATABASE_URL": database_url,
        "CACHE_URL": f"memcached://{own_memcached.address}",
        "CACHE_RETRY_INTERVAL": "0.2",
        "CELERY_BROKER_URL": f"redis://{_shared_redis.address}/{BROKER_DATABASE}",
        "MIGO_TOKEN": "token-of-the-tests-0001",
        "MIGO_BASE_URL": f"{sandbox.url}/api/v1",
        "READ_FLUSH_SECONDS": "1",
        "ANSWER_STORE_SECONDS": "10",
    }
    _shared_redis.flush()
    running = System(Stack(tmp_path, environment), own_memcached, database_url)
    running.stack.manage("migrate", "--verbosity", "0")
    running.start_worker()
    yield running
    codes = running.stack.stop()
    assert set(codes.values()) == {0}, running.stack.everything_printed()[-3000:]


def all_from_cache(answers: Sequence[dict[str, Any]]) -> bool:
    return all(answer["success"] and answer["cache"]["source"] == "cache" for answer in answers)


def test_a_killed_node_is_filled_again_by_itself_and_nothing_is_paid_twice(
    system: System, sandbox: RunningSandbox
) -> None:
    system.python(LOOK_UP, *RUCS)
    system.monitor()
    system.python(LOOK_UP, *RUCS)
    system.monitor()
    paid = len(sandbox.log)
    assert paid > 0

    system.node.kill()
    system.node.restart()
    assert system.items() == 0
    system.python(ASK_IN_VAIN, "30")
    system.monitor()
    run = system.wait_for_refill("done")

    assert (run["reason"], run["error"], run["candidates"]) == ("restarted", "", len(RUCS))
    assert (run["written"], run["already_there"], run["refused"]) == (len(RUCS), 0, 0)
    looked_up = system.python(LOOK_UP, *RUCS)
    assert (looked_up["one"]["cache"]["outcome"], looked_up["one"]["cache"]["source"]) == ("hit", "cache")
    assert all_from_cache(looked_up["many"]["results"])
    assert len(sandbox.log) == paid, "what was paid for is not paid for again"

    assert run["hit_ratio_before"] > 0.9
    assert run["hit_ratio_during"] < 0.2
    system.rows("UPDATE api_service_refillrun SET finished_at = finished_at - interval '6 minutes'")
    system.monitor()
    assert system.refills()[-1]["hit_ratio_after"] > 0.9
    assert len(system.refills()) == 1


def test_a_node_killed_while_it_is_filled_fails_that_run_and_its_next_boot_mends(system: System) -> None:
    system.keep(MANY)
    system.monitor()
    system.node.restart()
    with system.held_in_the_middle():
        system.monitor()
        system.wait_for_the_middle()
        system.node.kill()
    failed = system.wait_for_refill("failed")

    assert system.node.address in failed["error"]
    assert (failed["candidates"], failed["hit_ratio_during"]) == (MANY, None)
    system.node.restart()
    system.monitor()
    run = system.wait_for_refill("done")
    assert (run["id"] > failed["id"], run["written"], system.items()) == (True, MANY, MANY)


def test_a_worker_killed_while_it_fills_a_node_is_followed_by_another(system: System) -> None:
    system.keep(MANY)
    system.monitor()
    system.node.restart()
    with system.held_in_the_middle():
        system.monitor()
        system.wait_for_the_middle()
        system.kill_worker()
    (left,) = system.refills()
    assert left["state"] == "running"

    system.start_worker()
    system.monitor()
    # Its lock ends by itself; here sooner
    system.rows("UPDATE api_service_runlock SET expires_at = now() WHERE name LIKE 'refill:%%'")
    system.monitor()
    run = system.wait_for_refill("done")
    assert run["id"] == left["id"]
    assert (run["written"] + run["already_there"], system.items()) == (MANY, MANY)
    total = int(system.node.stats()["total_items"])
    assert MANY <= total < MANY + 100, f"{total} writes: something was written twice"
