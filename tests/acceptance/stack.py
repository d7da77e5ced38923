"""The whole system as separate processes: web, two workers, Beat and Flower on PostgreSQL, Redis and Memcached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import free_port, spawn
from tests.project_process import run_project
from tests.waiting import wait_until
from workers.tasks import ALREADY_RUNNING

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MIGO_TOKEN = "migo-token-that-nobody-may-see"
API_TOKEN = "api-token-that-nobody-may-see"
FLOWER_PASSWORD = "flower-password-that-nobody-may-see"
SECRET_KEY = "secret-key-that-nobody-may-see-0123456789abcdefghijklm"

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(url: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with _OPENER.open(request, timeout=30) as answer:
            return Reply(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, dict(error.headers), error.read())


@dataclass
class Stack:
    """Processes started with one environment; everything they print is in `folder/*.log`."""

    folder: Path
    environment: dict[str, str]
    web_port: int = field(default_factory=free_port)
    flower_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def flower(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    def manage(self, *arguments: str) -> str:
        done = run_project("manage.py", *arguments, env={**os.environ, **self.environment})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        celery = [str(BIN / "celery"), "-A", "myproject"]
        self._spawn(
            "web",
            [str(BIN / "gunicorn"), "myproject.wsgi", "--bind", f"127.0.0.1:{self.web_port}", "--threads", "4"],
        )
        for name, queues in (("worker-health", "health,default"), ("worker-bulk", "warming,tracking")):
            self._spawn(name, [*celery, "worker", "-n", f"{name}@%h", "-Q", queues, "-c", "2", "-E", "-l", "INFO"])
        self._spawn("beat", [*celery, "beat", "-l", "INFO", "--pidfile", ""])
        self._spawn("flower", [*celery, "flower", "--address=127.0.0.1", f"--port={self.flower_port}"])
        wait_until(lambda: self._answers(f"{self.web}/health/live"), 120, message=self.output("web"))
        wait_until(lambda: self._answers(f"{self.flower}/healthcheck"), 120, message=self.output("flower"))
        wait_until(lambda: "ready" in self.output("worker-health"), 120, message=self.output("worker-health"))
        wait_until(lambda: "ready" in self.output("worker-bulk"), 120, message=self.output("worker-bulk"))

    def stop(self) -> dict[str, int]:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        return {name: process.wait(timeout=60) for name, process in self.processes.items()}

    def output(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def everything_printed(self) -> str:
        return "\n".join(self.output(name) for name in self.processes)

    # --- What a person does -----------------------------------------------------------------------------

    def look_up(self, ruc: str) -> Reply:
        return call(f"{self.web}/api/v1/ruc/{ruc}", headers={"Authorization": f"Bearer {API_TOKEN}"})

    def run_task(self, name: str, **kwargs: Any) -> dict[str, Any]:
        """As `ask_for`, once more while another run is under way: Beat or a confirmation may just have begun one."""

        def done() -> dict[str, Any] | None:
            answer = self.ask_for(name, **kwargs)
            return None if answer["result"] == ALREADY_RUNNING else answer

        answer = wait_until(done, 60, interval=0.3, message=f"a run of {name} of its own")
        assert answer is not None
        return answer

    def ask_for(self, name: str, **kwargs: Any) -> dict[str, Any]:
        """Start a task through Flower's API and wait for its end: `{"state", "result", …}`."""
        reply = self._flower(f"task/async-apply/workers.tasks.{name}", {"kwargs": kwargs})
        assert reply.status == 200, reply.body
        task = reply.json()["task-id"]

        def ended() -> dict[str, Any] | None:
            info: dict[str, Any] = self._flower(f"task/result/{task}").json()
            return info if info["state"] in {"SUCCESS", "FAILURE"} else None

        result = wait_until(ended, 60, message=f"the end of {name}")
        assert result is not None
        return result

    def _flower(self, path: str, body: object = None) -> Reply:
        credentials = b64encode(f"admin:{FLOWER_PASSWORD}".encode()).decode()
        return call(f"{self.flower}/api/{path}", body, {"Authorization": f"Basic {credentials}"})

    def _spawn(self, name: str, command: list[str]) -> None:
        kept = dict(os.environ)
        os.environ.update(self.environment)
        try:
            self.processes[name] = spawn(
                command, log=self.folder / f"{name}.log", cwd=ROOT, user=None, death_signal=signal.SIGTERM
            )
        finally:
            os.environ.clear()
            os.environ.update(kept)

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return call(url).status == 200
        except OSError:
            return False
