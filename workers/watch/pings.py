"""Pings to an outside service in the manner of Healthchecks: start, success, failure.

Whoever is pinged notices when the pings stay away: a machine that is gone tells nobody. One thread a process sends
them in their order, so that no task waits for another host; one that fails is logged and not sent again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Lock, Thread
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.conf import settings

from api_service.services.bounded import OneAProcess
from api_service.services.errors import UpstreamError
from api_service.services.redaction import redact
from api_service.services.upstream import Patience, Request, accept_success, door
from workers.watch import Run

logger = logging.getLogger(__name__)

PATIENCE = Patience(connect=2.0, read=3.0, deadline=5.0, attempts=1)
# More than a minute's pings: behind a service that hangs the newest are dropped
MOST_WAITING = 20
LONGEST_BODY = 500
# A process that ends waits for its last ping for so long
CLOSE_SECONDS = 3.0


@dataclass(frozen=True)
class Ping:
    schedule: str
    url: str = field(repr=False)
    body: str = ""


class Sender(OneAProcess):
    """A queue and its thread, which starts with the first ping."""

    def begin(self) -> None:
        self._lock = Lock()
        self._waiting: Queue[Ping | None] = Queue(MOST_WAITING)
        self._thread: Thread | None = None

    def put(self, ping: Ping) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._work, name="pings", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(ping)
        except Full:
            logger.warning("%s: ping dropped, %d are waiting already", ping.schedule, MOST_WAITING)

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most. The next ping starts anew."""
        with self._lock:
            thread, waiting = self._thread, self._waiting
            self._thread, self._waiting = None, Queue(MOST_WAITING)
        if thread is None:
            return
        try:
            waiting.put(None, timeout=seconds)
        except Full:
            logger.warning("pings of this process are lost, the service does not answer")
        thread.join(seconds)

    def _work(self) -> None:
        waiting = self._waiting
        while (ping := waiting.get()) is not None:
            send(ping)


sender = Sender()


class Pings:
    def wanted(self) -> bool:
        return bool(settings.PING_URLS)

    def started(self, run: Run) -> None:
        _put(run, "start", "")

    def succeeded(self, run: Run) -> None:
        _put(run, "", f"{run.task} took {run.seconds or 0:.1f} s")

    def failed(self, run: Run, error: str) -> None:
        _put(run, "fail", redact(error)[:LONGEST_BODY])

    def close(self) -> None:
        sender.close(CLOSE_SECONDS)


def _put(run: Run, event: str, body: str) -> None:
    if url := settings.PING_URLS.get(run.schedule):
        sender.put(Ping(run.schedule, address(url, event, run.id), body))


def address(url: str, event: str, run_id: str) -> str:
    """`URL/start?rid=…`: the id lets the service measure each run, also where two overlap."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + (f"/{event}" if event else "")
    query = "&".join(part for part in (parts.query, urlencode({"rid": run_id})) if part)
    return urlunsplit(parts._replace(path=path, query=query))


def send(ping: Ping) -> None:
    """One attempt: the next run pings again, and a service that misses one is patient for its grace time."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        door().call(Request("POST", ping.url, headers, data=ping.body.encode()), PATIENCE, accept_success)
    except UpstreamError as error:
        logger.warning("%s: ping not delivered: %s", ping.schedule, error.message)
