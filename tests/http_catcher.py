"""A local HTTP server that plays the addressees of our requests and keeps every byte it received."""

import gzip
import json
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.waiting import wait_until


@dataclass(frozen=True)
class ReceivedRequest:
    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def content(self) -> bytes:
        """The body as the sender wrote it, before compression."""
        encoding = self.headers.get("content-encoding", "identity")
        if encoding not in {"identity", "gzip"}:
            raise ValueError(f"unexpected content encoding {encoding!r}")
        return gzip.decompress(self.body) if encoding == "gzip" else self.body

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    """The answer leaves when this is set: a slow or silent server without a sleep."""
    longest_hold: float = 60.0
    """Seconds; then it leaves in any case."""


@dataclass(frozen=True)
class EnvelopeItem:
    """One item of a Sentry envelope: an event, a check-in, a transaction, …"""

    type: str
    headers: Mapping[str, Any]
    payload: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.payload)


class HttpCatcher:
    """Answers 200 `ok` unless told otherwise with `answer`; usable as a context manager."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self._queues: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._standing: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._server = _CatcherServer(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._release_held()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    # Addresses.

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sentry_dsn(self) -> str:
        return f"http://0123456789abcdef0123456789abcdef@127.0.0.1:{self.port}/42"

    @property
    def slack_webhook_url(self) -> str:
        return f"{self.url}/services/T000/B000/slack-secret-0001"

    # The script.

    def answer(
        self,
        path: str = "*",
        *,
        status: int = 200,
        body: bytes | str = b"ok",
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        hold: threading.Event | None = None,
        longest_hold: float = 60.0,
    ) -> None:
        """How `path` (or `*`, every path without an answer of its own) is answered: `times` times, or from now on."""
        answer = Answer(status, body.encode() if isinstance(body, str) else body, headers or {}, hold, longest_hold)
        with self._lock:
            if times is None:
                self._standing[path] = answer
            else:
                self._queues[path].extend([answer] * times)

    def _take(self, path: str) -> Answer:
        for name in (path, "*"):
            if self._queues[name]:
                return self._queues[name].popleft()
            if name in self._standing:
                return self._standing[name]
        return Answer()

    def receive(self, request: ReceivedRequest) -> Answer:
        with self._lock:
            self.requests.append(request)
            return self._take(request.path)

    def _release_held(self) -> None:
        with self._lock:
            queued = [answer for queue in self._queues.values() for answer in queue]
            for answer in [*queued, *self._standing.values()]:
                if answer.hold is not None:
                    answer.hold.set()

    # What came in.

    def clear(self) -> None:
        with self._lock:
            self.requests.clear()

    def received(self, prefix: str = "/") -> list[ReceivedRequest]:
        with self._lock:
            return [request for request in self.requests if request.path.startswith(prefix)]

    def wait_for(self, count: int, prefix: str = "/", timeout: float = 30.0) -> list[ReceivedRequest]:
        wait_until(lambda: len(self.received(prefix)) >= count, timeout, message=f"{count} requests to {prefix}")
        return self.received(prefix)

    def all_bytes(self) -> bytes:
        """Everything that came over the wire, also decompressed: for looking for secrets."""
        parts: list[bytes] = []
        for request in self.received():
            head = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
            parts += [f"{request.method} {request.target}\n{head}".encode(), request.body, request.content]
        return b"\n".join(parts)

    def slack_messages(self) -> list[Any]:
        return [request.json() for request in self.received("/services/")]

    def sentry_envelopes(self) -> list[list[EnvelopeItem]]:
        return [parse_envelope(request.content) for request in self.received("/api/")]

    def sentry_items(self, kind: str) -> list[EnvelopeItem]:
        """All items of a type: `event`, `check_in`, `transaction`, `log`, …"""
        return [item for envelope in self.sentry_envelopes() for item in envelope if item.type == kind]


def parse_envelope(content: bytes) -> list[EnvelopeItem]:
    """Envelope header line, then for every item a header line and a payload, of the given length or one line."""
    _envelope_header, _, rest = content.partition(b"\n")
    items: list[EnvelopeItem] = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        headers = json.loads(line)
        length = headers.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
        items.append(EnvelopeItem(headers["type"], headers, rest[:length]))
        rest = rest[length:].removeprefix(b"\n")
    return items


class _CatcherServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, catcher: HttpCatcher) -> None:
        self.catcher = catcher
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _CatcherServer
    protocol_version = "HTTP/1.1"
    # A client that keeps its connection open must not keep the server's thread.
    timeout = 60

    def handle_any(self) -> None:
        answer = self.server.catcher.receive(self._read())
        if answer.hold is not None:
            answer.hold.wait(answer.longest_hold)
        self._reply(answer)

    # The names are those that http.server looks for.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def _read(self) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return ReceivedRequest(self.command, self.path, headers, self._read_body(headers))

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self.rfile.read(int(headers.get("content-length", 0)))

    def _read_chunk(self) -> bytes:
        piece = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return piece

    def _reply(self, answer: Answer) -> None:
        try:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except ConnectionError:
            # The client gave up waiting, which is what a test with `hold` is about.
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Nothing on the test's stderr."""
