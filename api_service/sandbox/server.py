"""The sandbox over HTTP: in a thread of another process, or as one of its own."""

import threading
from typing import Any, Self

from waitress import wasyncore
from waitress.server import create_server

from api_service.sandbox.app import Sandbox
from api_service.sandbox.faults import Switches

# 32 callers at once, and as many more that a fault keeps waiting.
THREADS = 64
# Callers keep their connections: waitress' own limit of 100 lets nobody else in while they do.
CONNECTIONS = 1000


class SandboxServer:
    """Listens from the moment it is built; port 0 takes a free one. Serves between `start` and `stop`."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        switches: Switches | None = None,
        token: str = "",
        threads: int = THREADS,
    ) -> None:
        self.sandbox = Sandbox(switches, token=token)
        self.host = host
        self._sockets: dict[int, Any] = {}
        self._server: Any = create_server(
            self.sandbox,
            map=self._sockets,
            host=host,
            port=port,
            threads=threads,
            connection_limit=CONNECTIONS,
            ident="apimigo-sandbox",
        )
        self.port = int(self._server.effective_port)
        self._stopping = threading.Event()
        self._serving = False
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self.serve_forever, name="apimigo-sandbox", daemon=True)
        self._thread.start()
        return self

    def serve_forever(self) -> None:
        """Until `stop`. Waitress' own loop would go on as long as one client keeps its connection open."""
        self._serving = True
        try:
            while not self._stopping.is_set():
                wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)
        finally:
            self.sandbox.state.release.set()
            self._server.task_dispatcher.shutdown()
            wasyncore.close_all(self._sockets)

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the waiting of those that a fault holds, then the server. Safe in a signal handler."""
        self.sandbox.state.release.set()
        if self._thread is None and not self._serving:
            self._stopping.set()
            self._server.task_dispatcher.shutdown()
            wasyncore.close_all(self._sockets)
            return
        if not self._stopping.is_set():
            # First, as the end of the loop closes what wakes it up
            self._server.pull_trigger()
            self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
