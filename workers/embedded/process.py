"""Starts the parts, watches them, stops them in the opposite order."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from workers.embedded.part import Part

START_PATIENCE = 30.0
WATCH_INTERVAL = 0.25
# A signal to a whole group comes twice under `make`, which passes it on: nobody asks again that fast
ECHO = 0.5

Say = Callable[[str], None]


class Process:
    """Runs until a signal or until a part dies. Parts are given in the order in which they start."""

    def __init__(self, parts: Sequence[Part], say: Say, complain: Say) -> None:
        self._parts = parts
        self._say = say
        self._complain = complain
        self._stopping = threading.Event()
        self._signalled = 0.0

    def run(self, on_ready: Callable[[], None]) -> int:
        """The exit code: 0 after a clean stop, 1 when a part died or did not stop in time."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        healthy = self._start()
        if healthy and not self._stopping.is_set():
            on_ready()
            healthy = self._watch()
        self._stopping.set()
        return 0 if self._stop() and healthy else 1

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stopping.is_set():
            if now - self._signalled < ECHO:
                return
            self._say("Stopped at once: what was running was cut off.")
            sys.stdout.flush()
            os._exit(128 + number)
        self._signalled = now
        self._stopping.set()
        self._say("\nStopping: what is running may finish (the same again stops at once).")

    def _start(self) -> bool:
        deadline = time.monotonic() + START_PATIENCE
        for part in self._parts:
            part.start()
        waiting = list(self._parts)
        while waiting and not self._stopping.wait(0.01):
            if not self._all_alive():
                return False
            waiting = [part for part in waiting if not part.is_ready]
            if waiting and time.monotonic() > deadline:
                self._complain(f"{_names(waiting)} did not start within {START_PATIENCE:.0f} s.")
                return False
        return True

    def _watch(self) -> bool:
        while not self._stopping.wait(WATCH_INTERVAL):
            if not self._all_alive():
                return False
        return True

    def _all_alive(self) -> bool:
        dead = [part for part in self._parts if not part.is_alive]
        if dead and not self._stopping.is_set():
            self._complain(f"{_names(dead)} ended unexpectedly, see the log above. Stopping everything.")
            return False
        return True

    def _stop(self) -> bool:
        """Last started, first stopped: nothing new comes in while the worker finishes its tasks."""
        late = [part for part in reversed(self._parts) if not _stopped(part)]
        if late:
            self._complain(f"{_names(late)} did not stop in time and was cut off.")
        return not late


def _stopped(part: Part) -> bool:
    part.stop()
    return part.join(part.patience)


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(part.name for part in parts)
