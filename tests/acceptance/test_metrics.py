"""/metrics of real processes: gunicorn with two workers, a Celery worker with two children, killed and frozen parts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from celery import current_app
from kombu import Connection
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.stack import API_TOKEN, BIN, MIGO_TOKEN, Reply, Stack, call
from tests.processes import free_port, require
from tests.rucs import REAL
from tests.sandbox_fixture import RunningSandbox, sandbox_server
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

__all__ = ["sandbox_server"]

# One set of processes for all: on one process of pytest-xdist
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("metrics")]

TOKEN = "metrics-token-that-nobody-may-see"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TASK = "workers.tasks.deliver_alerts"
HITS = 'cache_worker_lookups_total{kind="ruc",outcome="hit",service="migo"}'
DONE = f'cache_worker_tasks_total{{outcome="success",task="{TASK}"}}'


@dataclass
class Processes:
    web: Stack
    worker: Stack
    broker: str
    worker_port: int = field(default_factory=free_port)
    first_page: str = ""
    first_worker_page: str = ""

    @property
    def page(self) -> str:
        return self._read(f"{self.web.web}/metrics").body.decode()

    @property
    def worker_page(self) -> str:
        return self._read(f"http://127.0.0.1:{self.worker_port}/metrics").body.decode()

    @staticmethod
    def _read(url: str) -> Reply:
        reply = call(url, headers=BEARER)
        assert reply.status == 200, reply.body
        return reply

    def start(self) -> None:
        self.web.environment |= {"WEB_BIND": f"127.0.0.1:{self.web.web_port}", "TMPDIR": str(self.web.folder)}
        self.worker.environment |= {
            "WORKER_METRICS_PORT": str(self.worker_port),
            "PROMETHEUS_MULTIPROC_DIR": str(self.worker.folder / "of-the-worker"),
        }
        self.web.manage("migrate", "--verbosity", "0")
        gunicorn = [str(BIN / "gunicorn"), "--config", "deploy/gunicorn.conf.py", "myproject.wsgi"]
        self.web._spawn("web", gunicorn)
        celery = [str(BIN / "celery"), "-A", "myproject", "worker", "-n", "metrics@%h", "-Q", "health", "-c", "2"]
        self.worker._spawn("worker", [*celery, "-l", "INFO"])
        wait_until(lambda: Stack._answers(f"{self.web.web}/health/live"), 120, message=self.web.output("web"))
        wait_until(lambda: "ready" in self.worker.output("worker"), 120, message="the worker")
        self.first_page, self.first_worker_page = self.page, self.worker_page

    def stop(self) -> None:
        self.web.processes["web"].terminate()
        assert self.worker.stop() == {"worker": 0}, self.worker.output("worker")[-2000:]
        assert self.web.stop() == {"web": 0}, self.web.output("web")[-2000:]

    def send(self, number: int) -> None:
        with Connection(self.broker) as connection:
            for _ in range(number):
                current_app.send_task(TASK, queue="health", connection=connection, ignore_result=True)


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory,
    _shared_postgres: Postgres,
    _shared_redis: Redis,
    _shared_memcached: Memcached,
    sandbox_server: object,
) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("metrics")
    # The first look-up is no hit
    _shared_memcached.flush()
    sandbox = RunningSandbox(sandbox_server.url)  # type: ignore[attr-defined]
    sandbox.reset()
    environment = {
        "DATA_DIR": str(folder / "data"),
        "API_TOKEN": API_TOKEN,
        "METRICS_TOKEN": TOKEN,
        "DATABASE_URL": _shared_postgres.new_database(),
        "CACHE_URL": f"memcached://{_shared_memcached.address}",
        "CELERY_BROKER_URL": f"redis://{_shared_redis.address}/7",
        "MIGO_TOKEN": MIGO_TOKEN,
        "MIGO_BASE_URL": f"{sandbox.url}/api/v1",
        "READ_FLUSH_SECONDS": "0.2",
    }
    web, worker = (Stack(folder, dict(environment)) for _ in range(2))
    running = Processes(web, worker, environment["CELERY_BROKER_URL"])
    running.start()
    yield running
    running.stop()
    assert list(folder.glob("cache-worker-metrics-*")) == []


def value(page: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    assert found, f"{series} is not on the page"
    return float(found[1])


def hits_of(file: Path) -> float:
    families = MultiProcessCollector.merge([str(file)])
    return float(
        sum(s.value for f in families for s in f.samples if s.labels.get("outcome") == "hit" and "lookups" in s.name)
    )


def by_process(web: Stack) -> dict[int, float]:
    """Hits that each web process has counted, living or dead."""
    files = web.folder.glob("cache-worker-metrics-*/counter_*.db")
    return {int(file.stem.rpartition("_")[2]): hits_of(file) for file in files}


def look_up_until_busy(web: Stack, wanted: int) -> int:
    """Hits until so many processes have counted some; the number of hits."""
    number = 0
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(8) as threads:
        while sum(count > 0 for count in by_process(web).values()) < wanted:
            assert time.monotonic() < deadline, by_process(web)
            replies = list(threads.map(lambda _: web.look_up(REAL[0]), range(16)))
            assert {reply.json()["cache"]["outcome"] for reply in replies} == {"hit"}
            number += len(replies)
    return number


def test_series_are_at_zero_before_anything_happened(processes: Processes) -> None:
    assert value(processes.first_page, HITS) == 0
    assert value(processes.first_worker_page, DONE) == 0
    assert value(processes.first_page, 'cache_worker_incidents_open{code="node_down",severity="unhealthy"}') == 0


def test_the_hits_of_two_web_processes_add_up_also_after_one_was_killed(processes: Processes) -> None:
    web = processes.web
    assert web.look_up(REAL[0]).status == 200
    before = value(processes.page, HITS) + look_up_until_busy(web, wanted=2)
    wait_until(lambda: value(processes.page, HITS) == before, 30, message=f"{before} hits of two processes")

    killed = next(iter(by_process(web)))
    os.kill(killed, signal.SIGKILL)
    assert value(processes.page, HITS) == before
    after = look_up_until_busy(web, wanted=3)

    wait_until(
        lambda: value(processes.page, HITS) == before + after, timeout=30, message=f"{before} + {after} hits of three"
    )
    assert len(by_process(web)) == 3
    assert by_process(web)[killed] > 0


def test_tasks_of_a_workers_children_are_on_its_port_also_of_one_that_was_killed(processes: Processes) -> None:
    processes.send(6)
    wait_until(lambda: value(processes.worker_page, DONE) == 6, 30, message="six tasks")
    page = processes.worker_page
    assert value(page, f'cache_worker_task_duration_seconds_count{{task="{TASK}"}}') == 6
    assert value(page, 'cache_worker_queue_wait_seconds_count{queue="health"}') == 6
    assert 0 <= value(page, 'cache_worker_queue_wait_seconds_sum{queue="health"}') < 60

    child = _children_of(processes.worker.processes["worker"].pid)[0]
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), message="the end of the child")
    processes.send(6)
    wait_until(lambda: value(processes.worker_page, DONE) == 12, 30, message="twelve tasks")


def test_only_the_main_process_of_a_worker_holds_its_port(processes: Processes) -> None:
    """A child that is forked later and outlives it would keep the next worker from its port."""
    main = processes.worker.processes["worker"].pid
    # Another test may just have killed one
    first = wait_until(lambda: found if len(found := set(_children_of(main))) == 2 else None, message="two children")
    assert first is not None
    os.kill(min(first), signal.SIGKILL)
    wait_until(lambda: len(set(_children_of(main)) - first) == 1, message="a new child")
    [later] = set(_children_of(main)) - first

    assert _listens_on(processes.worker_port, main)
    wait_until(lambda: not _listens_on(processes.worker_port, later), message="the new child's letting go of the port")


def _children_of(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    return [int(pid) for pid in found.stdout.split()]


def _listens_on(port: int, pid: int) -> bool:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = [words[9] for words in lines if words[1].endswith(f":{port:04X}") and words[3] == "0A"]
    return f"socket:[{inode}]" in set(_open_files(pid))


def _open_files(pid: int) -> Iterator[str]:
    for each in Path(f"/proc/{pid}/fd").iterdir():
        # It is closed meanwhile
        with suppress(FileNotFoundError):
            yield str(each.readlink())


def test_gauges_of_the_database_are_on_the_page_of_the_web_only(processes: Processes) -> None:
    for word in ("database_up 1.0", "keys{", "incidents_open{"):
        assert f"\ncache_worker_{word}" in processes.first_page
    assert "cache_worker_database_up" not in processes.worker_page
    assert "cache_worker_node_up" not in processes.worker_page


def test_both_pages_are_for_the_token_and_the_port_serves_nothing_else(processes: Processes) -> None:
    port = f"http://127.0.0.1:{processes.worker_port}"
    for url in (f"{processes.web.web}/metrics", f"{port}/metrics"):
        for headers in ({}, {"Authorization": f"Bearer {API_TOKEN}"}):
            reply = call(url, headers=headers)
            assert (reply.status, b"cache_worker_" in reply.body) == (401, False)
    assert call(f"{port}/", headers=BEARER).status == 404
    assert call(f"{port}/metrics", body={}, headers=BEARER).status == 405


def test_promtool_accepts_both_pages_and_no_label_is_a_ruc(processes: Processes) -> None:
    processes.web.look_up(REAL[1])
    for page in (processes.page, processes.worker_page):
        promtool = [require("promtool"), "check", "metrics"]
        checked = subprocess.run(promtool, input=page, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        labels = {text for f in text_string_to_metric_families(page) for s in f.samples for text in s.labels.values()}
        assert labels
        assert [label for label in labels if re.search(r"\d{11}", label)] == []


def test_a_frozen_database_leaves_the_page_without_its_gauges_and_says_so(
    processes: Processes, postgres: Postgres
) -> None:
    def page_that_says(word: str) -> str:
        # Whoever waited for the database would be given up by `call`
        page = processes.page
        return page if f"cache_worker_database_up {word}" in page else ""

    postgres.freeze()
    try:
        page = wait_until(lambda: page_that_says("0.0"), 40, interval=0.5, message="a page that misses the database")
    finally:
        postgres.thaw()
    assert value(page, HITS) >= 0
    assert "cache_worker_node_up" not in page
    wait_until(lambda: page_that_says("1.0"), 40, interval=0.5, message="the database again")
