"""Programs of this machine, free ports, and child processes that do not outlive the tests."""

import contextlib
import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import NoReturn

import pytest

NOT_TESTED = "NOT TESTED: "
HOST = "127.0.0.1"
# Below the kernel's range for outgoing connections: a client that polls a dead port in there can connect to itself.
PORTS = range(15_000, 32_000)
# More than a process of the tests needs within minutes: what it remembers of a dead server's address is over by then
PORTS_OF_A_PROCESS = 500
PACKAGES = {
    "memcached": "memcached",
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "chromium": "chromium",
    "promtool": "prometheus",
}
PR_SET_PDEATHSIG = 1
# pytest-randomly gives every worker process the same seed: the shared generator would propose the same ports to all.
_random = random.SystemRandom()
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


# -- what the machine has ---------------------------------------------------------------------------------------------


def find_binary(name: str) -> str | None:
    """Debian keeps the PostgreSQL programs off the PATH, one folder per version: the newest is taken."""
    if found := shutil.which(name):
        return found
    places = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest_last = sorted(places, key=lambda path: float(path.parts[4]))
    return str(newest_last[-1]) if newest_last else None


def missing_message(name: str) -> str:
    return f"{NOT_TESTED}{name} is missing: apt-get install {PACKAGES.get(name, name)}"


def servers_required() -> bool:
    return os.environ.get("REQUIRE_SERVERS", "") not in {"", "0"}


def require(name: str) -> str:
    """The path of a program; without it the calling test is skipped, or fails where servers are required."""
    if path := find_binary(name):
        return path
    return give_up(missing_message(name))


def give_up(message: str) -> NoReturn:
    if servers_required():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


# -- ports and processes ----------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port nobody listens on, and no other process of the tests is given: also while its server is down."""
    _held, ports = _own_ports()
    for port in ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("a cycle does not end")


@cache
def _own_ports() -> tuple[socket.socket, Iterator[int]]:
    """Round and round; the first of them is bound for as long as this process lives, which keeps the others off."""
    blocks = [PORTS[start : start + PORTS_OF_A_PROCESS] for start in range(0, len(PORTS), PORTS_OF_A_PROCESS)]
    _random.shuffle(blocks)
    for block in blocks:
        held = socket.socket()
        try:
            held.bind((HOST, block[0]))
        except OSError:
            held.close()
        else:
            return held, cycle(block[1:])
    raise RuntimeError(f"each {PORTS_OF_A_PROCESS} ports of {PORTS} are of another process of the tests")


def unprivileged_user(*preferred: str) -> str | None:
    """Whom a server runs as: memcached and PostgreSQL refuse root. None when the tests do not run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*preferred, "nobody") if name in known)


def _die_with_parent(death_signal: int) -> Callable[[], None]:
    def before_exec() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, death_signal)

    return before_exec


def spawn(
    command: Sequence[str], *, log: Path, cwd: Path, user: str | None, death_signal: int = signal.SIGKILL
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that Ctrl-C reaches pytest only; the kernel ends it when pytest dies."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,
            # Runs after the change of user, which would clear the death signal. It takes no lock: safe beside threads.
            preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509
        )
