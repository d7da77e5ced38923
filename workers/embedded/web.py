"""Serves a WSGI application with waitress: the site itself, and the sandbox."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workers.embedded.part import Part

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 8
# Requests under way when the stop comes may take this long
DRAIN = 8.0


class Web(Part):
    """`load` gives the application: it is called in the thread, so that slow imports do not wait for each other."""

    def __init__(self, name: str, load: Callable[[], WSGIApplication], listener: socket.socket) -> None:
        self.name = name
        super().__init__()
        self._load = load
        self._listener = listener
        self._stopping = threading.Event()
        self._server: Any = None

    def serve(self) -> None:
        from waitress import wasyncore
        from waitress.server import create_server

        sockets: dict[int, Any] = {}
        self._server = create_server(self._load(), map=sockets, sockets=[self._listener], threads=THREADS, ident=None)
        self.ready()
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1, map=sockets, count=1, use_poll=True)
        self._drain(wasyncore, sockets)

    def stop(self) -> None:
        self._stopping.set()
        if self._server is not None and self.is_alive:
            self._server.pull_trigger()

    def _drain(self, wasyncore: Any, sockets: dict[int, Any]) -> None:
        """No new connections, answers for the requests that are here, then all connections closed."""
        wasyncore.dispatcher.close(self._server)
        deadline = time.monotonic() + DRAIN
        while self._is_answering() and time.monotonic() < deadline:
            wasyncore.loop(timeout=0.05, map=sockets, count=1, use_poll=True)
        self._server.task_dispatcher.shutdown(timeout=1)
        self._server.trigger.close()
        wasyncore.close_all(sockets)

    def _is_answering(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
