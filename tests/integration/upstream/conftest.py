"""Servers that behave badly, for the door; a sandbox, for the client."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from api_service.services.migo_client import MigoClient, MigoConfig
from api_service.services.migo_wire import Version
from api_service.services.upstream import Door, Patience, Request, Response, accept_success
from tests.sandbox_fixture import RunningSandbox, sandbox, sandbox_server

__all__ = ["sandbox", "sandbox_server"]

TOKEN = "token-of-the-tests-0001"


class RawServer:
    """Sends each connection the given bytes one after the other, `pause` seconds apart, and counts connections."""

    def __init__(self, sent: bytes, pause: float) -> None:
        self._sent = sent
        self._pause = pause
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/slow"

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            for byte in self._sent:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return
                if self._stop.wait(self._pause):
                    return

    def close(self) -> None:
        self._stop.set()
        self._listener.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[[bytes, float], RawServer]]:
    servers: list[RawServer] = []

    def start(sent: bytes, pause: float = 0.0) -> RawServer:
        servers.append(RawServer(sent, pause))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def ask(
    door: Door,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    data: bytes | None = None,
    timeout: tuple[float, float] = (3.05, 10.0),
    deadline: float = 25.0,
    attempts: int = 3,
) -> Response:
    """The answer when its status says success; any other end is an UpstreamError."""
    asked = Request(method, url, headers or {}, json, data)
    return door.call(asked, Patience(*timeout, deadline, attempts), accept_success)


@pytest.fixture(params=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> Version:
    version: Version = request.param
    return version


ClientOf = Callable[..., MigoClient]


@pytest.fixture
def client_of(sandbox: RunningSandbox, door: Door) -> ClientOf:
    """A client of the sandbox: `client_of("v1", attempts=1, deadline=2.0)`. One call at a time, as a script has it."""

    def build(
        version: Version,
        *,
        token: str = TOKEN,
        attempts: int = 3,
        deadline: float = 60.0,
        parallel: int = 1,
        read_timeout: float = 20.0,
    ) -> MigoClient:
        config = MigoConfig(
            token,
            sandbox.url,
            version,
            read_timeout=read_timeout,
            deadline=deadline,
            attempts=attempts,
            parallel=parallel,
        )
        return MigoClient(config, door)

    return build


def patience_with(*steps: str) -> float:
    """The read time-out for that script: short where silence is a step of it, as only then it is waited for."""
    return 1.0 if "timeout" in steps else 20.0


@pytest.fixture
def client(client_of: ClientOf, version: Version) -> MigoClient:
    """One test, both versions of the wire."""
    return client_of(version)
