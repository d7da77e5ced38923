"""The inventory against the truth, under real traffic; and shared by real workers."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import psycopg
import pytest

from api_service.services.backends.base import LOCK_PREFIX
from tests.acceptance.stack import BIN, Stack
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

OURS = (":1:migo:", ":1:nubefact:")
RUNS_UNDER_LOAD = 2


class Key(NamedTuple):
    """Of one node; `ends` in Unix seconds, -1 for never."""

    node: str
    key: str
    size: int
    ends: int


@pytest.fixture
def cluster() -> Iterator[list[Memcached]]:
    """The second has so little memory that it evicts."""
    nodes = [Memcached(), Memcached(memory=2), Memcached()]
    yield [node.start() for node in nodes]
    for node in nodes:
        node.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db.sqlite3'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.new_database()


@pytest.fixture
def stack(cluster: list[Memcached], database_url: str, tmp_path: Path) -> Iterator[Stack]:
    url = "memcached://" + ",".join(node.address for node in cluster)
    stack = Stack(tmp_path, {"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url, "CACHE_URL": url})
    stack.manage("migrate", "--verbosity", "0")
    yield stack
    stack.stop()


def rows(url: str, sql: str) -> list[Any]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return database.execute(sql).fetchall()
    with psycopg.connect(url) as database:
        return database.execute(sql.encode()).fetchall()


def table(url: str) -> dict[str, list[Key]]:
    """State → keys as the key table has them."""
    epoch = "strftime('%s', expires_at)" if url.startswith("sqlite") else "extract(epoch FROM expires_at)"
    found = rows(url, f"SELECT state, node, key, size, {epoch} FROM api_service_trackedkey")
    states: dict[str, list[Key]] = {}
    for state, node, key, size, ends in found:
        states.setdefault(state, []).append(Key(node, key, size, -1 if ends is None else int(ends)))
    return states


def dump(nodes: Sequence[Memcached]) -> tuple[list[Key], int]:
    """What the nodes themselves say: our keys, without the wire prefix, and the number of the others."""
    ours, others = [], 0
    for node in nodes:
        for key, ends, size in re.findall(
            r"^key=(\S+) exp=(-?\d+) .*?size=(\d+)", node.ask("lru_crawler metadump hash", 30), re.MULTILINE
        ):
            name = unquote(key)
            if name.startswith(OURS):
                ours.append(Key(node.address, name.removeprefix(":1:"), int(size), int(ends)))
            elif not name.startswith(LOCK_PREFIX):
                others += 1
    return ours, others


def nothing_ends_soon(nodes: Sequence[Memcached]) -> bool:
    return all(key.ends < 0 or key.ends > time.time() + 60 for key in dump(nodes)[0])


def test_the_table_equals_what_the_nodes_hold_after_a_run_under_load(
    cluster: list[Memcached], database_url: str, stack: Stack
) -> None:
    stack._spawn("load", [sys.executable, "-m", "tests.acceptance.cache_load"])
    wait_until(lambda: "ready" in stack.output("load"), 60, message=stack.output("load"))
    runs = [json.loads(stack.manage("track_keys", "--json")) for _ in range(RUNS_UNDER_LOAD)]
    assert stack.processes["load"].poll() is None, stack.output("load")
    assert stack.stop() == {"load": 0}, stack.output("load")
    wait_until(lambda: nothing_ends_soon(cluster), 15)
    last = json.loads(stack.manage("track_keys", "--json"))
    truth, others = dump(cluster)
    states = table(database_url)
    known = [(key.node, key.key) for keys in states.values() for key in keys]

    assert sorted(states["active"]) == sorted(truth)
    assert len(known) == len(set(known))
    assert set(states) == {"active", "expired", "removed"}
    assert all(0 < key.ends <= time.time() for key in states["expired"])
    assert int(cluster[1].stats()["evictions"]) > 0
    assert sum(last["foreign"].values()) == others > 0
    assert last["keys"] == len(truth) > 1000
    assert flows_make_the_stock(database_url, [*runs, last])


def flows_make_the_stock(url: str, runs: Sequence[dict[str, Any]]) -> bool:
    """What was created and is not gone is there, service by service."""
    assert all(facts["ok"] for run in runs for facts in run["nodes"].values())
    sql = "SELECT service, sum(created - removed - expired) FROM api_service_servicesnapshot GROUP BY service"
    made = rows(url, sql)
    stock = {name: row["keys"] for name, row in runs[-1]["services"].items()}
    assert {name: int(number) for name, number in made} == stock
    return True


# -- workers

COLLECT = """
import json
from myproject.celery import app
print(json.dumps(app.send_task("workers.tasks.track_keys").get(timeout=40)))
"""


@pytest.fixture
def workers(own_cluster: list[Memcached], postgres: Postgres, redis_server: Redis, tmp_path: Path) -> Iterator[Stack]:
    """Two Celery workers of one process each."""
    stack = Stack(
        tmp_path,
        {
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": postgres.new_database(),
            "CACHE_URL": "memcached://" + ",".join(node.address for node in own_cluster),
            "CELERY_BROKER_URL": f"redis://{redis_server.address}/6",
        },
    )
    stack.manage("migrate", "--verbosity", "0")
    for name in ("worker-a", "worker-b"):
        command = [str(BIN / "celery"), "-A", "myproject", "worker", "-n", f"{name}@%h", "-Q", "tracking", "-P", "solo"]
        stack._spawn(name, [*command, "-l", "INFO"])
    for name in ("worker-a", "worker-b"):
        wait_until(lambda name=name: "ready" in stack.output(name), 60, message=stack.output(name))  # type: ignore[misc]
    yield stack
    assert set(stack.stop().values()) == {0}, stack.everything_printed()[-3000:]


def test_two_workers_share_the_nodes_of_one_run(workers: Stack, own_cluster: list[Memcached]) -> None:
    first, url = own_cluster[0], workers.environment["DATABASE_URL"]
    for node in own_cluster:
        for number in range(50):
            node.ask(f"set :1:migo:ruc_{number} 0 600 1\r\n1")
    # The first node keeps the worker that began the run busy, until the other one has listed the rest
    assert first.ask(f"add {LOCK_PREFIX}dump 0 60 1\r\nx").startswith("STORED")
    workers._spawn("caller", [sys.executable, "-c", COLLECT])
    done = "SELECT count(*) FROM api_service_nodelisting WHERE state = 'done'"
    wait_until(lambda: rows(url, done) == [(2,)], 30, message=workers.everything_printed()[-3000:])
    first.ask(f"delete {LOCK_PREFIX}dump")
    wait_until(lambda: workers.processes["caller"].poll() == 0, 40, message=workers.output("caller"))
    summary = json.loads(workers.output("caller").splitlines()[-1])
    by = dict(rows(url, "SELECT node, worker FROM api_service_nodelisting"))

    assert (summary["state"], summary["keys"], summary["services"]["migo"]["created"]) == ("done", 150, 150)
    assert by[own_cluster[1].address] == by[own_cluster[2].address] != by[first.address]
    assert {worker.rpartition(":")[2] for worker in by.values()} == {
        str(workers.processes[name].pid) for name in ("worker-a", "worker-b")
    }
