"""What the sandbox remembers between requests: switches, script, queries left, log and counters. Thread-safe."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from api_service.sandbox import faults
from api_service.sandbox.faults import Fault, Switches

LONGEST_LOG: Final = 100_000
_WINDOW: Final = 60.0


@dataclass(frozen=True)
class Entry:
    """One request to the API as the vendor would see it. Never with a token."""

    method: str
    path: str
    rucs: tuple[str, ...]
    billed: int
    status: int
    fault: str


@dataclass(frozen=True)
class Admission:
    """What is decided about a request before its question is looked at."""

    fault: Fault
    delay: float
    retry_after: int | None


class State:
    def __init__(self, switches: Switches) -> None:
        self._initial = switches
        self._lock = threading.Lock()
        self._reset()
        # Set when the server stops or is reset: who is kept waiting by a fault goes home.
        self.release = threading.Event()

    def _reset(self) -> None:
        self._switches = self._initial
        self._left = self._initial.consultas
        self._script: deque[Fault] = deque()
        self._log: deque[Entry] = deque(maxlen=LONGEST_LOG)
        self._counters: Counter[str] = Counter()
        self._number = 0
        self._window_started = -math.inf
        self._in_window = 0
        self._in_flight = 0
        self._most_in_flight = 0

    def reset(self) -> None:
        with self._lock:
            self._reset()
            self.release.set()
            self.release = threading.Event()

    def switch(self, wanted: Mapping[str, Any]) -> None:
        """Change switches; `script` is replaced whole. Nothing is changed when anything is wrong."""
        wanted = dict(wanted)
        script = [faults.parse(str(step)) for step in wanted.pop("script", ())]
        with self._lock:
            self._switches = self._switches.changed(wanted)
            self._left = int(wanted.get("consultas", self._left))
            if "rate_limit_per_minute" in wanted:
                self._window_started = -math.inf
            if script:
                self._script = deque(script)

    @property
    def switches(self) -> Switches:
        return self._switches

    @property
    def queries_left(self) -> int:
        return self._left

    def admit(self) -> Admission:
        with self._lock:
            self._number += 1
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            retry_after = self._over_limit(time.monotonic())
            fault = self._script.popleft() if self._script else faults.drawn(self._switches, self._number)
            return Admission(fault, faults.latency(self._switches, self._number), retry_after)

    def _over_limit(self, now: float) -> int | None:
        """Seconds until the next window when this minute's requests are used up."""
        limit = self._switches.rate_limit_per_minute
        if not limit:
            return None
        if now - self._window_started >= _WINDOW:
            self._window_started, self._in_window = now, 0
        self._in_window += 1
        left = self._window_started + _WINDOW - now
        return None if self._in_window <= limit else max(1, math.ceil(left))

    def bill(self, queries: int) -> bool:
        """Take that many queries from the plan; False, and nothing taken, when it has fewer."""
        with self._lock:
            if queries > self._left:
                return False
            self._left -= queries
            return True

    def done(self, entry: Entry) -> None:
        with self._lock:
            self._in_flight -= 1
            self._log.append(entry)
            self._counters.update({"requests": 1, "billed": entry.billed, f"status_{entry.status}": 1})
            if entry.fault != "ok":
                self._counters[f"fault_{entry.fault}"] += 1

    def log(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(entry) for entry in self._log]

    def summary(self) -> dict[str, Any]:
        with self._lock:
            return {
                "switches": asdict(self._switches),
                "script_left": _texts(self._script),
                "consultas": self._left,
                "counters": dict(self._counters),
                "in_flight": self._in_flight,
                "most_in_flight": self._most_in_flight,
            }


def _texts(script: Sequence[Fault]) -> list[str]:
    return [f"{step.kind}:{step.detail}" if step.detail else step.kind for step in script]
