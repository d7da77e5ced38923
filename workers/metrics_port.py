"""A worker's own /metrics on WORKER_METRICS_PORT: what it and its child processes have counted.

Served by the main process. Children count in files of PROMETHEUS_MULTIPROC_DIR, a folder for each worker.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from celery.signals import celeryd_init, worker_process_init, worker_ready, worker_shutdown
from django.conf import settings

from api_service.services import metrics, metrics_page

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

SECONDS: Final = 10.0
TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    status, headers, body = _answer(environ)
    start_response(status, [*headers, ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
    return [body]


def _answer(environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
    if environ["PATH_INFO"] != metrics_page.PATH:
        return "404 Not Found", [TEXT], b"Only /metrics is here.\n"
    if environ["REQUEST_METHOD"] != "GET":
        return "405 Method Not Allowed", [TEXT, ("Allow", "GET")], b"Use GET.\n"
    if metrics_page.is_closed():
        return "403 Forbidden", [TEXT], b"Metrics are closed: set METRICS_TOKEN.\n"
    if not metrics_page.may_read(environ.get("HTTP_AUTHORIZATION", "")):
        challenge = ("WWW-Authenticate", 'Bearer realm="metrics"')
        return "401 Unauthorized", [TEXT, challenge], b"Send Authorization: Bearer with METRICS_TOKEN.\n"
    body, content_type = metrics_page.page(environ.get("HTTP_ACCEPT", ""), with_database=False)
    return "200 OK", [("Content-Type", content_type)], body


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: who connects and says nothing keeps nobody waiting."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """A scrape every few seconds is no news."""


class Port:
    """One a process."""

    def __init__(self) -> None:
        self._server: WSGIServer | None = None

    def open(self, host: str, port: int) -> int:
        """The number of the port. Raises OSError where it cannot be had."""
        _Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = make_server(host, port, application, _Server, _Handler)
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return int(self._server.server_port)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def forget_in_child(self) -> None:
        """A child that outlives the main process must not keep its port."""
        if self._server is not None:
            self._server.socket.close()
            self._server = None


_port = Port()


@celeryd_init.connect
def _before_children(**_facts: object) -> None:
    metrics.forget_the_dead()


@worker_ready.connect
def _open(sender: Any, **_facts: object) -> None:
    """A port that is taken is said loudly and stops nothing: alerts matter more than their figures."""
    port = settings.WORKER_METRICS_PORT
    if not port:
        return
    if not metrics.FOLDER and _has_children(sender):
        logger.error("no metrics on port %d: without PROMETHEUS_MULTIPROC_DIR those of child processes are lost", port)
        return
    try:
        _port.open(settings.WORKER_METRICS_HOST, port)
    except OSError as error:
        logger.warning(
            "no metrics on port %d (%s): each worker of a machine needs its own WORKER_METRICS_PORT", port, error
        )


def _has_children(consumer: Any) -> bool:
    return "prefork" in type(consumer.pool).__module__


@worker_process_init.connect
def _in_child(**_facts: object) -> None:
    _port.forget_in_child()


@worker_shutdown.connect
def _close(**_facts: object) -> None:
    _port.close()
