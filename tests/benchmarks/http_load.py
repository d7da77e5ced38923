"""Requests over connections that stay open: as many as go, or at a rate. A thread for each connection."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from time import perf_counter, sleep

WRONG = "answered with {status}"


@dataclass(frozen=True)
class Target:
    port: int
    path: str
    headers: str = ""

    @property
    def request(self) -> bytes:
        return f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n{self.headers}\r\n".encode()


class Connection:
    """Sends one prepared request again and again; raises for any answer that is not a 200."""

    def __init__(self, target: Target) -> None:
        self._request = target.request
        self._socket = socket.create_connection(("127.0.0.1", target.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        self._socket.sendall(self._request)
        data = self._socket.recv(65_536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(WRONG.format(status=data[:200]))
        left = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]) - (len(data) - end - 4)
        while left > 0:
            left -= len(self._more())

    def _more(self) -> bytes:
        if not (data := self._socket.recv(65_536)):
            raise RuntimeError("the server has hung up")
        return data

    def close(self) -> None:
        self._socket.close()


def flat_out(target: Target, connections: int, seconds: float) -> float:
    """Answers a second, each connection asking as soon as it has its answer."""
    counts = [0] * connections

    def run(number: int) -> None:
        connection, ends_at = Connection(target), perf_counter() + seconds
        while perf_counter() < ends_at:
            connection.ask()
            counts[number] += 1
        connection.close()

    started = perf_counter()
    _together(run, connections)
    return sum(counts) / (perf_counter() - started)


def at_a_rate(target: Target, connections: int, seconds: float, rate: float) -> list[float]:
    """Milliseconds of each answer, from the moment at which it was due: who queues waits, and that counts."""
    times: list[list[float]] = [[] for _ in range(connections)]
    every = connections / rate

    def run(number: int) -> None:
        connection = Connection(target)
        connection.ask()
        due = perf_counter() + every * (1 + number / connections)
        ends_at = due + seconds
        while due < ends_at:
            sleep(max(0.0, due - perf_counter()))
            connection.ask()
            times[number].append((perf_counter() - due) * 1000)
            due += every
        connection.close()

    _together(run, connections)
    return sorted(time for one in times for time in one)


def percentile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]


def _together(run: Callable[[int], None], connections: int) -> None:
    errors: list[BaseException] = []

    def caught(number: int) -> None:
        try:
            run(number)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            errors.append(error)

    threads = [Thread(target=caught, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
