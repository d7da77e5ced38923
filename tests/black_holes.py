"""Addresses behind which nobody answers, and one that loses what it is sent first."""

import contextlib
import socket
from collections.abc import Iterator
from threading import Thread

from tests.processes import HOST


class BlackHole:
    """Takes no connection and refuses none: its queue is full, and what comes beyond is dropped without a word."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind((HOST, 0))
        self._listener.listen(0)
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._waiting = list(self._fill())

    def _fill(self) -> Iterator[socket.socket]:
        full = False
        while not full:
            waiting = socket.socket()
            waiting.settimeout(0.2)
            try:
                waiting.connect(self._listener.getsockname())
            except TimeoutError:
                full = True
            yield waiting

    def close(self) -> None:
        for one in (*self._waiting, self._listener):
            one.close()


class LossyProxy:
    """In front of a server: the first `lost` connections are cut at their first word, the others go through."""

    def __init__(self, port: int, lost: int) -> None:
        self._port = port
        self._lost = lost
        self.connections = 0
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _peer = self._listener.accept()
                self.connections += 1
                act = self._cut if self.connections <= self._lost else self._pass_on
                Thread(target=act, args=(connection,), daemon=True).start()

    @staticmethod
    def _cut(connection: socket.socket) -> None:
        with connection:
            connection.recv(65_536)

    def _pass_on(self, connection: socket.socket) -> None:
        server = socket.create_connection((HOST, self._port))
        Thread(target=_copy, args=(server, connection), daemon=True).start()
        _copy(connection, server)

    def close(self) -> None:
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
