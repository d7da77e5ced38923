"""What can be known to fail before anything is started; each failure is one line that says what to do."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK_NAME = "run_all.lock"


class CannotStart(Exception):
    """Its text is all that the person at the terminal sees."""


@dataclass(frozen=True)
class Address:
    """Where a part listens, and the variable that moves it elsewhere."""

    host: str
    port: int
    variable: str

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - shown, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def prepare_folder(folder: Path) -> None:
    """The folder exists and takes a file."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"DATA_DIR {folder} cannot be written ({error.strerror}): choose another folder with DATA_DIR=/path."
        ) from error


def lock_folder(folder: Path) -> IO[str]:
    """The lock lasts as long as the returned file is open: two runs on one folder would each run every schedule."""
    file = (folder / LOCK_NAME).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        other = file.read().strip() or "unknown"
        file.close()
        raise CannotStart(
            f"DATA_DIR {folder} is in use by another run (process {other}): stop it, or give this one its own DATA_DIR."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_flower_password(pairs: str) -> None:
    """`user:password`, several separated by commas; an empty password would leave Flower open."""
    for pair in pairs.split(","):
        user, _, password = pair.partition(":")
        if not user.strip() or not password.strip():
            raise CannotStart("FLOWER_BASIC_AUTH is not user:password: set both, or leave it empty for a made-up one.")


def bind_all(addresses: Mapping[str, Address]) -> dict[str, socket.socket]:
    """A bound socket for each part, held from now on, so that no port is lost between the check and its use."""
    _refuse_shared_ports(addresses)
    sockets: dict[str, socket.socket] = {}
    try:
        for part, address in addresses.items():
            sockets[part] = _bind(part, address)
    except CannotStart:
        for bound in sockets.values():
            bound.close()
        raise
    return sockets


def _refuse_shared_ports(addresses: Mapping[str, Address]) -> None:
    owners: dict[int, Address] = {}
    for address in addresses.values():
        if not 1 <= address.port <= 65535:
            raise CannotStart(f"{address.variable} is {address.port}: choose a port between 1 and 65535.")
        if other := owners.get(address.port):
            raise CannotStart(f"{other.variable} and {address.variable} are both {address.port}: change one of them.")
        owners[address.port] = address


def _bind(part: str, address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotStart(
            f"WEB_HOST {address.host!r} is no address of this machine: use 127.0.0.1 or 0.0.0.0."
        ) from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(target)
        # Listening at once: with SO_REUSEADDR two sockets may be bound to a port, only one may listen
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise CannotStart(
            f"Port {address.port} for {part} cannot be used ({error.strerror}): "
            f"stop what holds it, or choose another with {address.variable}={address.port + 1}."
        ) from error
    return bound
