"""Processes of the project as `subprocess.Popen` starts them, forked from one that has imported the libraries."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A start costs a third of the CPU; where the kernel cannot give us a grandchild, a process is started as usual
FORKED = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36


class ProjectProcess(subprocess.Popen[str]):
    """`Popen([sys.executable, "-c" | "-m" | FILE, …])` in text: a process of its own in all but how it is loaded."""

    def __init__(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__([sys.executable, *argv], env=env, cwd=ROOT, text=True, **options)

    def _execute_child(self, *given: Any) -> None:
        """Instead of fork and exec."""
        if not FORKED:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        argv, environment, pipes = given[0][1:], given[6] or os.environ, given[10:16]
        own = (pipes[0], pipes[3], pipes[5])
        self.pid = zygote().fork(
            argv, environment, [standard if end == -1 else end for standard, end in enumerate(own)]
        )
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run_project(
    *argv: str, env: Mapping[str, str] | None = None, timeout: float = 110
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`; what it wrote is kept."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ProjectProcess(*argv, env=env, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


class Zygote:
    """The other end of `tests.zygote`."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._turn = threading.Lock()

    def fork(self, argv: Sequence[str], environment: Mapping[str, str], streams: list[int]) -> int:
        """The process id of a new child of this process."""
        asked = json.dumps({"argv": list(argv), "environment": dict(environment), "folder": str(ROOT)}).encode()
        with self._turn, _grandchildren_are_ours():
            socket.send_fds(self._channel, [asked], streams)
            born = self._channel.recv(32)
            self._channel.recv(1)
        assert born, f"the zygote has ended: {self._process.wait()}"
        return int(born)


@functools.cache
def zygote() -> Zygote:
    return Zygote()


@contextlib.contextmanager
def _grandchildren_are_ours() -> Iterator[None]:
    """Only for this moment: other tests look at what becomes of orphans."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
