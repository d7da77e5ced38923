"""An APIMIGO on a free port of this machine, for every test that needs one.

Use it by `pytest_plugins = ["tests.sandbox_fixture"]` at the top level, or by importing the fixtures into a conftest.
"""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from api_service.sandbox.server import SandboxServer

# Steers the sandbox itself; what is tested goes through the product's own door.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox reached over HTTP only, so it may as well run in another process."""

    url: str

    def switch(self, **switches: Any) -> None:
        """`latency=0.3`, `consultas=5`, `script=["500", "429:2", "ok"]`: see api_service/sandbox/faults.py."""
        self._call("switches", switches)

    def reset(self) -> None:
        self._call("reset", {})

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every request to the API: method, path, rucs, billed, status, fault."""
        log: list[dict[str, Any]] = self._call("log")
        return log

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._call("state")
        return state

    @property
    def billed(self) -> int:
        """Queries that the vendor would put on the bill."""
        return int(self.state["counters"].get("billed", 0))

    def _call(self, what: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{what}", data, {"Content-Type": "application/json"})
        with _OPENER.open(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxServer]:
    server = SandboxServer().start()
    yield server
    server.stop()


@pytest.fixture
def sandbox(sandbox_server: SandboxServer) -> Iterator[RunningSandbox]:
    """Shared by the session, as new at the start of each test."""
    running = RunningSandbox(sandbox_server.url)
    running.reset()
    yield running
    # Whoever a fault keeps waiting goes home, so the next test finds free threads.
    running.reset()
