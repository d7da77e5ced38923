"""An HTTP transport that gives up at a deadline, however slowly the bytes come.

A read time-out restarts with every byte: a server that drips holds its caller for ever, in the headers as well as in
the body. Here every single read of the socket waits at most until the deadline of the thread's current call. So do the
name look-up and the attempts to connect: nothing interrupts the system's resolver, so it is left behind in a thread
that ends when it gives up. What is not bounded: the TLS handshake beyond a time-out per step.
"""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any, cast

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from api_service.sentences import sentence
from api_service.services.beside import beside


class _Limits(threading.local):
    ends_at = float("inf")
    read = 30.0


_limits = _Limits()


@contextlib.contextmanager
def read_until(ends_at: float, read: float) -> Iterator[None]:
    """Reads of this thread end at that monotonic time, and none waits longer than `read` seconds for a byte."""
    _limits.ends_at, _limits.read = ends_at, read
    try:
        yield
    finally:
        del _limits.ends_at, _limits.read


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _limits.ends_at - time.monotonic()
        if left <= 0:
            msg = sentence("the deadline of the call has passed")
            raise TimeoutError(msg)
        self._sock.settimeout(min(left, _limits.read))
        return cast("int | None", cast("Any", self._raw).readinto(buffer))

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """The socket, except that what http.client reads from it is timed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, *_args: object, **_kwargs: object) -> io.BufferedReader:
        raw = cast("io.RawIOBase", self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(_TimedReader(raw, self._sock))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def _connected(connection: HTTPConnection, connect: Callable[[], socket.socket]) -> socket.socket:
    """What `connect` brings, if it does by the deadline of this thread's call."""
    future = beside("connect", connect)
    left = max(0.0, _limits.ends_at - time.monotonic())
    if wait([future], min(left, threading.TIMEOUT_MAX)).done:
        return future.result()
    future.add_done_callback(_close_late)
    msg = sentence("no connection by the deadline of the call")
    raise urllib3.exceptions.ConnectTimeoutError(connection, msg)


def _close_late(future: Future[socket.socket]) -> None:
    if future.exception() is None:
        future.result().close()


class _TimedHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)

    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _TimedSocket(self.sock))


class _TimedHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)

    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _TimedSocket(self.sock))


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


_POOLS = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """requests' own adapter over timed connections, through a proxy or not."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager = cast("urllib3.ProxyManager", super().proxy_manager_for(proxy, **kwargs))
        manager.pool_classes_by_scheme = _POOLS
        return manager
