"""Three Memcached nodes, Redis, PostgreSQL, an APIMIGO, workers and Beat, and an addressee that keeps all it is told.

The suite plays Beat, so that a period takes a second and not five minutes; where Beat breaks, the real one runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
from celery import Celery
from celery.exceptions import TimeoutError as NoResult
from kombu.exceptions import OperationalError

from api_service.sandbox.server import SandboxServer
from tests.http_catcher import HttpCatcher
from tests.processes import spawn
from tests.project_process import run_project
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PERIOD = 1.0
API_TOKEN = "scenario-token"
WEBHOOK = "/alerts"
CONFIRM_SECONDS = 1
# What the rules look back at
OF_THE_NIGHT = (
    *("findingstate", "incident", "notice", "upstreamcalls", "upstreamcircuit", "circuitchange", "staleserved"),
    *("channelstate",),
)
Event = tuple[str, str, str]  # what, code, node


@dataclass(frozen=True)
class Told:
    """One incident of one message."""

    channel: str
    event: str
    code: str
    node: str
    message: str
    after: float


@dataclass
class World:
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="scenarios-")))
    nodes: list[Memcached] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        # One megabyte of values: the last one is filled until it evicts
        self.nodes = [Memcached().start(), Memcached().start(), Memcached(memory=8).start()]
        self.redis, self.postgres = Redis().start(), Postgres().start()
        self.catcher = HttpCatcher().__enter__()
        self.sandbox_server = SandboxServer().start()
        self.sandbox = RunningSandbox(self.sandbox_server.url)
        self.environment = self._environment(self.postgres.new_database())
        self.broker = f"redis://{self.redis.address}/5"
        self.app = Celery(broker=self.broker, backend=self.broker, set_as_current=False)
        self.app.conf.broker_transport_options = {"socket_connect_timeout": 1, "max_retries": 1}
        self.flag = self.folder / "armed"
        self.manage("migrate", "--verbosity", "0")
        self.start_worker()
        return self

    def __exit__(self, *_details: object) -> None:
        for name in list(self.processes):
            self.end(name, signal.SIGKILL)
        for server in (*self.nodes, self.redis, self.postgres):
            with suppress(Exception):
                server.thaw()
            server.close()
        self.sandbox_server.stop()
        self.catcher.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, database: str) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.folder / "data"),
            "SECRET_KEY": "scenario-key-0123456789abcdefghijklmnopqrstuvwxyz",
            "API_TOKEN": API_TOKEN,
            "DATABASE_URL": database,
            "CACHE_URL": f"memcached://{','.join(node.address for node in self.nodes)}",
            "CACHE_RETRY_INTERVAL": "0.5",
            "CELERY_BROKER_URL": f"redis://{self.redis.address}/5",
            "MIGO_TOKEN": "scenario-migo-token",
            "MIGO_BASE_URL": f"{self.sandbox.url}/api/v1",
            "MIGO_CIRCUIT_SECONDS": "2",
            "MIGO_READ_TIMEOUT": "0.5",
            "MIGO_ATTEMPTS": "1",
            "SLACK_WEBHOOK_URL": self.catcher.slack_webhook_url,
            "ALERT_WEBHOOK_URL": f"{self.catcher.url}{WEBHOOK}",
            "ALERT_WEBHOOK_SECRET": "scenario-webhook-secret-0123456789",
            "HEALTH_CONFIRM_SECONDS": str(CONFIRM_SECONDS),
            # The machine that runs the suite is busy with it
            "HEALTH_LATENCY_WARNING_MS": "1000",
            "READ_FLUSH_SECONDS": "1",
            "SCHEDULES": "fast",
        }

    # --- processes --------------------------------------------------------------------------------------

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_project("manage.py", *arguments, env={**os.environ, **self.environment})

    def start_worker(self, **environment: str) -> None:
        celery = [str(BIN / "celery"), "-A", "tests.scenarios.worker", "worker", "-n", "scenario@%h"]
        self._spawn("worker", [*celery, "-Q", "health,default,warming,tracking", "-c", "2", "-l", "INFO"], environment)
        worker = self.processes["worker"]
        wait_until(lambda: "ready." in self.printed("worker") or worker.poll() is not None, 60, message="a worker")
        assert worker.poll() is None, self.printed("worker")[-2000:]

    def start_beat(self) -> None:
        self._spawn("beat", [str(BIN / "celery"), "-A", "myproject", "beat", "-l", "INFO", "--pidfile", ""], {})

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            # Pool processes too: they are of the worker's own session
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
        process.wait(timeout=60)

    def _spawn(self, name: str, command: list[str], more: dict[str, str]) -> None:
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        kept = dict(os.environ)
        os.environ.update({**self.environment, **more})
        try:
            self.processes[name] = spawn(command, log=log, cwd=ROOT, user=None, death_signal=signal.SIGTERM)
        finally:
            os.environ.clear()
            os.environ.update(kept)

    def printed(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    # --- Beat's part ------------------------------------------------------------------------------------

    def run(self, task: str, timeout: float = 20.0, **arguments: Any) -> dict[str, Any] | None:
        """One run of a task; None when nobody took it, or its worker died."""
        try:
            sent = self.app.send_task(f"workers.tasks.{task}", kwargs=arguments, queue="health", expires=30)
            result: dict[str, Any] = sent.get(timeout=timeout, disable_sync_subtasks=False)
        except (NoResult, OperationalError, OSError):
            return None
        return result

    def period(self) -> dict[str, Any] | None:
        """What Beat does in a period: a health run, and the alerts that are due."""
        began = time.monotonic()
        result = self.run("monitor_cache_health")
        self.run("deliver_alerts")
        time.sleep(max(0.0, PERIOD - (time.monotonic() - began)))
        return result

    # --- users ------------------------------------------------------------------------------------------

    def look_up(self, *rucs: str) -> None:
        """Look-ups of a process of its own, as an application makes them."""
        code = (
            "import sys, json, django; django.setup()\n"
            "from api_service.services.migo_service import MigoAPIService\n"
            "for ruc in json.loads(sys.argv[1]): MigoAPIService().consultar_ruc(ruc, True)\n"
        )
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "myproject.settings", **self.environment}
        command = [sys.executable, "-c", code, json.dumps(rucs)]
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)

    # --- what was told ----------------------------------------------------------------------------------

    def begin_a_night(self) -> None:
        """Nothing of earlier scenarios: a node that was down five times within the hour would be flapping."""
        for node in self.nodes:
            node.flush()
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as database:
            tables = ", ".join(f"api_service_{name}" for name in OF_THE_NIGHT)
            database.execute(f"TRUNCATE {tables} CASCADE".encode())
        self.catcher.clear()
        self.started = time.monotonic()

    def told(self) -> list[Told]:
        """Every incident of every message to the webhook, as its receiver has it."""
        found = []
        for request in self.catcher.received(WEBHOOK):
            data = request.json()["data"]
            for problem in data["problems"]:
                found += [
                    Told("webhook", problem["event"], problem["code"], one["node"], data["id"], 0.0)
                    for one in problem["incidents"]
                ]
        return found

    def messages(self) -> tuple[int, int]:
        """To the webhook (a repeated one counts once, as its id says), and to Slack."""
        ids = {request.headers["webhook-id"] for request in self.catcher.received(WEBHOOK)}
        return len(ids), len(self.catcher.slack_messages())

    def events(self) -> set[Event]:
        return {(one.event, one.code, self.name_of(one.node)) for one in self.told()}

    def name_of(self, node: str) -> str:
        """`A`, `B`, `C` for the three nodes."""
        for letter, server in zip("ABC", self.nodes, strict=True):
            if node == server.address:
                return letter
        return node

    def until(self, reached: Callable[[], bool], periods: int) -> tuple[int, float]:
        """Periods that it took, and seconds; AssertionError when they were not enough."""
        began = time.monotonic()
        for number in range(1, periods + 1):
            self.period()
            if reached():
                return number, time.monotonic() - began
        raise AssertionError(f"not within {periods} periods; told: {sorted(self.events())}")

    def quiet(self, periods: int) -> None:
        for _ in range(periods):
            self.period()


def difference(expected: Iterable[Event], seen: Iterable[Event]) -> tuple[set[Event], set[Event]]:
    """What is missing, and what is too much."""
    wanted, found = set(expected), set(seen)
    return wanted - found, found - wanted
