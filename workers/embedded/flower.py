"""Flower as a part. It has no public way to be embedded: this follows `flower.command` of the pinned version."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from celery import Celery

from workers.embedded.part import Part

# Of 100,000 by default: a single process is looked at, not archived
TASKS_KEPT = 2000


class Flower(Part):
    name = "flower"
    patience = 5.0

    def __init__(self, app: Celery, listener: socket.socket, basic_auth: str) -> None:
        super().__init__()
        self._app = app
        self._listener = listener
        self._basic_auth = basic_auth
        self._loop: Any = None
        self._flower: Any = None

    def serve(self) -> None:
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop

        asyncio.set_event_loop(asyncio.new_event_loop())
        self._loop = IOLoop.current()
        self._flower = self._make()
        server = HTTPServer(self._flower)
        self._listener.settimeout(0)
        server.add_sockets([self._listener])
        self._loop.add_callback(self.ready)
        self._flower.start()
        server.stop()
        self._end_inspections(self._loop.asyncio_loop)
        self._loop.close(all_fds=True)

    def stop(self) -> None:
        if self._flower is not None and self.is_alive:
            self._loop.add_callback(self._flower.stop)

    def _end_inspections(self, loop: asyncio.AbstractEventLoop) -> None:
        """Questions to the worker that nobody waits for any more."""
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    def _make(self) -> Any:
        from flower.app import Flower as FlowerApplication
        from flower.options import default_options
        from flower.urls import settings

        default_options.basic_auth = self._basic_auth.split(",")
        default_options.max_tasks = TASKS_KEPT
        own = {**settings, "debug": False, "cookie_secret": default_options.cookie_secret}
        return FlowerApplication(capp=self._app, options=default_options, io_loop=self._loop, **own)
