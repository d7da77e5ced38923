"""`manage.py run_all` as a person starts it: a process of its own, an empty data folder, free ports."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import requests

from tests.environment import ROOT
from tests.processes import HOST, free_port, spawn
from tests.waiting import wait_until

START_TIMEOUT = 120.0
# What tests/environment.py sets for the tests themselves
NOT_INHERITED = ("DATABASE_URL", "SECRET_KEY", "DATA_DIR", "DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE")


class SingleProcess:
    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.web, self.flower, self.sandbox = free_port(), free_port(), free_port()
        self.variables = {
            "DATA_DIR": str(self.data),
            "WEB_PORT": str(self.web),
            "FLOWER_PORT": str(self.flower),
            "SANDBOX_PORT": str(self.sandbox),
            **variables,
        }
        self.runs = 0
        self.started = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    # Acting.

    def start(self) -> Self:
        self.runs += 1
        self.started = time.monotonic()
        without = [part for name in NOT_INHERITED for part in ("-u", name)]
        having = [f"{name}={value}" for name, value in self.variables.items()]
        command = ["env", *without, *having, sys.executable, "manage.py", "run_all"]
        self.process = spawn(command, log=self._log_path, cwd=ROOT, user=None)
        return self

    def wait_ready(self) -> float:
        """Seconds from the start of the interpreter to the banner."""
        wait_until(
            lambda: "Ready in" in self.log or not self.is_running, timeout=START_TIMEOUT, message="the single process"
        )
        assert "Ready in" in self.log, self.log
        return time.monotonic() - self.started

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def wait_exit(self, timeout: float = 60.0) -> int:
        return self._running.wait(timeout)

    def close(self) -> None:
        if self.is_running:
            self._running.kill()
            self._running.wait(10)

    # Reading.

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    @property
    def _log_path(self) -> Path:
        return self.folder / f"log-{self.runs}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What this run has said, on both streams."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def password(self) -> str | None:
        found = re.search(r"password (\S+)  \(shown this once\)", self.log)
        return found.group(1) if found else None

    def megabytes(self) -> int:
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) // 1024

    def cpu_seconds(self) -> float:
        """Used so far, by all threads."""
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def secret(self, name: str) -> str:
        return (self.data / name).read_text().strip()

    # Talking to it.

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"http://{HOST}:{self.web}{path}", timeout=60, **options)

    def look_up(self, ruc: str) -> requests.Response:
        return self.get(f"/api/v1/ruc/{ruc}", headers={"Authorization": f"Bearer {self.secret('api_token')}"})

    def flower_api(self, method: str, path: str, **options: Any) -> requests.Response:
        auth = ("admin", self.secret("flower_password"))
        return requests.request(method, f"http://{HOST}:{self.flower}{path}", auth=auth, timeout=60, **options)

    def trigger(self, task: str, **arguments: Any) -> str:
        answer = self.flower_api("POST", f"/api/task/async-apply/{task}", json={"kwargs": arguments})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task-id"])

    def task_state(self, identifier: str) -> str:
        answer = self.flower_api("GET", f"/api/task/info/{identifier}")
        return str(answer.json()["state"]) if answer.status_code == 200 else ""
