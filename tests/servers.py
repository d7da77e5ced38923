"""Real servers as child processes, each on a free port of 127.0.0.1 and in a directory of its own.

A test that needs one asks a fixture of `tests/conftest.py`. A missing binary skips loudly, or fails with
REQUIRE_SERVERS=1.
"""

import atexit
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self
from uuid import uuid4

import psycopg

from tests.processes import HOST, find_binary, free_port, require, spawn, unprivileged_user
from tests.waiting import wait_until

__all__ = [
    "HOST",
    "Memcached",
    "Postgres",
    "Redis",
    "Server",
    "ServerDidNotStart",
    "find_binary",
    "free_port",
    "require",
]

START_TIMEOUT = 20.0
# For one answer: of a server that is there, on a machine that is busy
PATIENCE = 20.0
_running: set["Server"] = set()


class ServerDidNotStart(Exception):
    """Carries the end of the server's log."""


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.close()


class Server:
    """One server process: start, stop, kill, freeze, and restart on the same port."""

    binary: ClassVar[str]
    scheme: ClassVar[str]
    user_names: ClassVar[tuple[str, ...]] = ()
    stop_signal: ClassVar[int] = signal.SIGTERM
    death_signal: ClassVar[int] = signal.SIGKILL

    def __init__(self) -> None:
        self.program = require(self.binary)
        self.port = free_port()
        self.user = unprivileged_user(*self.user_names)
        self.directory = self._make_directory()
        self.process: subprocess.Popen[bytes] | None = None

    def _make_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix=f"cache-worker-{self.binary}-"))
        if self.user:
            shutil.chown(directory, self.user)
        return directory

    # What a kind of server adds.

    def command(self) -> list[str]:
        raise NotImplementedError

    def ping(self) -> int | str | None:
        """Who answers on the port: this server's own identity, or None while nobody does."""
        raise NotImplementedError

    def identity(self) -> int | str:
        """What `ping` must answer; anything else means that another server won the race for the port."""
        return self.pid

    # Reading.

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.binary} is not running")
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # Acting.

    def start(self) -> Self:
        """Runs and answers when this returns. A port taken meanwhile is replaced, but only before the first start."""
        for _attempt in range(5):
            self._spawn()
            if self._became_ready():
                _running.add(self)
                return self
            self.kill()
            self.port = free_port()
        raise ServerDidNotStart(f"{' '.join(self.command())}\n{self.log[-2000:]}")

    def restart(self) -> Self:
        """A new process on the same port: clients keep the address they have."""
        self.stop()
        wait_until(self._came_back, timeout=START_TIMEOUT, message=f"{self.binary} back on {self.address}")
        return self

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """The process keeps its connections and accepts new ones, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        _running.discard(self)

    def _spawn(self) -> None:
        self.process = spawn(
            self.command(),
            log=self.directory / "log",
            cwd=self.directory,
            user=self.user,
            death_signal=self.death_signal,
        )

    def _became_ready(self) -> bool:
        wait_until(
            lambda: not self.is_running or self.ping() is not None,
            timeout=START_TIMEOUT,
            message=f"{self.binary} on {self.address}: {self.log[-2000:]}",
        )
        return self.is_running and self.ping() == self.identity()

    def _came_back(self) -> bool:
        if not self.is_running:
            self._spawn()
        return self._became_ready()

    def _end(self, signal_number: int) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
            # A frozen process takes its SIGTERM only once it runs again.
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(timeout=START_TIMEOUT)
        self.process = None


# -- the kinds --------------------------------------------------------------------------------------------------------


def _ask(port: int, command: str, goodbye: str, timeout: float) -> str:
    """One command over a connection of its own, read until the server hangs up; empty while nobody listens.

    A dump of memcached's crawler takes the connection over and forgets the goodbye: its last line ends it.
    """
    reply = b""
    with contextlib.suppress(ConnectionError), socket.create_connection((HOST, port), timeout=timeout) as connection:
        connection.sendall(f"{command}\r\n{goodbye}\r\n".encode())
        while not reply.endswith(b"END\r\n") and (piece := connection.recv(65_536)):
            reply += piece
    return reply.decode()


class Memcached(Server):
    """`memory` in MB (`-m`), `max_item_size` as memcached takes it (`-I`: 1m, 64k, …), `options`: more arguments."""

    binary = "memcached"
    scheme = "memcached"
    # It has nothing to save, and takes a second over a polite SIGTERM.
    stop_signal = signal.SIGKILL

    def __init__(
        self, *, memory: int = 64, max_item_size: str = "1m", threads: int = 4, options: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.memory = memory
        self.max_item_size = max_item_size
        self.threads = threads
        self.options = list(options)

    def command(self) -> list[str]:
        listen = ["-l", HOST, "-p", str(self.port), "-U", "0"]
        limits = ["-m", str(self.memory), "-I", self.max_item_size, "-t", str(self.threads)]
        return [self.program, *listen, *limits, *self.options]

    def ping(self) -> int | None:
        pid = self.stats().get("pid")
        return int(pid) if pid else None

    def ask(self, line: str, timeout: float = PATIENCE) -> str:
        """The raw reply to one command line, over a connection of its own."""
        return _ask(self.port, line, "quit", timeout)

    def stats(self, kind: str = "", timeout: float = PATIENCE) -> dict[str, str]:
        """`stats`, or `stats items` and the like; empty while the server is down."""
        reply = self.ask(f"stats {kind}".strip(), timeout)
        return dict(re.findall(r"^STAT (\S+) (.*?)\r$", reply, re.MULTILINE))

    def flush(self) -> None:
        """Every item is gone for readers; `curr_items` falls only as memcached reclaims the memory."""
        reply = self.ask("flush_all")
        assert reply == "OK\r\n", reply


class Redis(Server):
    """Keeps nothing on disk."""

    binary = "redis-server"
    scheme = "redis"

    def __init__(self, *, options: Sequence[str] = ()) -> None:
        super().__init__()
        self.options = list(options)

    @property
    def url(self) -> str:
        return f"{super().url}/0"

    def command(self) -> list[str]:
        listen = ["--bind", HOST, "--port", str(self.port), "--databases", "16"]
        return [self.program, *listen, "--save", "", "--appendonly", "no", *self.options]

    def ping(self) -> int | None:
        pid = self.stats("server").get("process_id")
        return int(pid) if pid else None

    def ask(self, line: str, timeout: float = PATIENCE) -> str:
        """The raw reply to one inline command, over a connection of its own."""
        return _ask(self.port, line, "QUIT", timeout).removesuffix("+OK\r\n")

    def stats(self, section: str = "", timeout: float = PATIENCE) -> dict[str, str]:
        reply = self.ask(f"INFO {section}".strip(), timeout)
        return dict(re.findall(r"^([a-z_0-9]+):(.*?)\r$", reply, re.MULTILINE))

    def flush(self) -> None:
        reply = _ask(self.port, "FLUSHALL", "QUIT", PATIENCE)
        assert reply == "+OK\r\n+OK\r\n", reply


def _parents() -> Iterator[tuple[int, int]]:
    """Every process of the machine with its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = stat.read_text().partition(" ")
            yield int(pid), int(rest.rpartition(")")[2].split()[1])


class Postgres(Server):
    """A throw-away cluster: nothing is synced to disk, everyone local may do everything."""

    binary = "postgres"
    scheme = "postgres"
    user_names = ("postgres",)
    stop_signal = signal.SIGINT
    # The postmaster needs a signal it can pass on, or its children outlive it for a while.
    death_signal = signal.SIGQUIT

    def __init__(self, *, options: Sequence[str] = ()) -> None:
        super().__init__()
        self.options = list(options)
        self.data = self.directory / "data"
        self._initialise()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"{self.scheme}://postgres@{self.address}/{database}"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "100",
        }
        pairs = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program, "-D", str(self.data), "-p", str(self.port), *pairs, *self.options]

    def ping(self) -> str | None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=5) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            return str(row[0]) if row else None
        return None

    def identity(self) -> str:
        return str(self.data)

    def new_database(self) -> str:
        """The URL of an empty database that nobody else uses."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url_of(name)

    def freeze(self) -> None:
        """The postmaster first, so that it starts no other: each connection is served by a process of its own."""
        self._signal(self._family(), signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(self._family(), signal.SIGCONT)

    def close(self) -> None:
        self._end(signal.SIGQUIT)
        super().close()

    def _family(self) -> list[int]:
        return [self.pid, *(pid for pid, parent in _parents() if parent == self.pid)]

    @staticmethod
    def _signal(pids: Sequence[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, signal_number: int) -> None:
        """Frozen children neither take a polite signal nor notice that the postmaster was killed."""
        family = self._family() if self.is_running else []
        if signal_number != signal.SIGKILL:
            self._signal(family, signal.SIGCONT)
        super()._end(signal_number)
        if signal_number == signal.SIGKILL:
            self._signal(family[1:], signal.SIGKILL)

    def _initialise(self) -> None:
        initdb = str(Path(self.program).resolve().with_name("initdb"))
        log = self.directory / "log"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        process = spawn([initdb, "-D", str(self.data), *options], log=log, cwd=self.directory, user=self.user)
        if process.wait(timeout=60) != 0:
            raise ServerDidNotStart(self.log[-2000:])
