"""The promises of the door over TLS, where the socket is another class."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_service.services.errors import UpstreamTimeout, UpstreamUnreachable
from api_service.services.upstream import Door
from tests.integration.upstream.conftest import RawServer, ask
from tests.processes import require

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: "


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of 127.0.0.1 in one file, signed by itself."""
    openssl = require("openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    options += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", "-x509", *options], check=True, capture_output=True, timeout=60)
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


class TlsServer(RawServer):
    def __init__(self, sent: bytes, pause: float, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        super().__init__(sent, pause)

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")

    def _drip(self, connection: socket.socket) -> None:
        try:
            secured = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        super()._drip(secured)


@pytest.fixture
def dripping(certificate: Path) -> Iterator[TlsServer]:
    server = TlsServer(HEAD + b"400\r\n\r\n" + b"x" * 400, 0.05, certificate)
    yield server
    server.close()


def test_an_answer_arrives_over_tls(certificate: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = TlsServer(HEAD + b"5\r\n\r\nhello", 0.0, certificate)
    try:
        assert ask(door, "GET", server.url).body == b"hello"
    finally:
        server.close()


def test_a_server_that_drips_over_tls_is_left_at_the_deadline(
    certificate: Path, dripping: TlsServer, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        ask(door, "GET", dripping.url, deadline=0.6)
    # All that it has to say would take 20 s
    assert 0.4 < time.monotonic() - started < 10


def test_a_certificate_that_nobody_vouches_for_is_no_connection(dripping: TlsServer, door: Door) -> None:
    with pytest.raises(UpstreamUnreachable, match="SSLError") as caught:
        ask(door, "GET", dripping.url, attempts=1)
    assert "certificate" in str(caught.value.__cause__)
