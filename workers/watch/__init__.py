"""What is done about each run that Beat sends: written down, told to Sentry, told to an outside service.

`signals.py` follows the runs; one file an observer, one row in TABLE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from django.utils.module_loading import import_string

TABLE: dict[str, str] = {
    "rows": "workers.watch.rows.Rows",
    "sentry": "workers.watch.checkins.CheckIns",
    "ping": "workers.watch.pings.Pings",
}


@dataclass(frozen=True)
class Run:
    """One run of a schedule. `id` is the task's; `seconds` is how long it took, None while it runs or if unknown."""

    schedule: str
    task: str
    id: str
    seconds: float | None = None


class Observer(Protocol):
    """Told in the process that runs the task, before and after it: quick, and best without waiting for anybody."""

    def wanted(self) -> bool:
        """Whether the settings ask for it; the others are not called."""

    def started(self, run: Run) -> None: ...

    def succeeded(self, run: Run) -> None: ...

    def failed(self, run: Run, error: str) -> None: ...

    def close(self) -> None:
        """The process ends: what still waits to be sent goes now, or never."""


def observers() -> list[Observer]:
    made = [import_string(path)() for path in TABLE.values()]
    return [observer for observer in made if observer.wanted()]
