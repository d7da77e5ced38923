"""A sender of alerts as a process of its own, to be killed: `python -m tests.integration.alerts.sender MODE NUMBER…`.

It says "ready" when it is set up and begins at a line on its standard input. The numbers are minutes after the
incident: it delivers at each of them, and prints each summary.
"""

import importlib
import json
import os
import signal
import sys
import threading
from datetime import timedelta
from typing import NoReturn

import django

THREADS = 32
# The step that is not reached any more, by the name of the mode: module and function
STEPS = {
    "die-before-telling": ("telling", "tell"),
    "die-amid-telling": ("telling", "_deliveries"),
    "die-after-telling": ("dispatch", "deliver_due"),
    "die-before-claim": ("outbox", "claim_next"),
    "die-before-send": ("dispatch", "_send"),
    "die-after-send": ("outbox", "mark_sent"),
}


class NoMigrations(dict[str, None]):
    """Tables as the models say, without the history."""

    def __contains__(self, _app: object) -> bool:
        return True

    def __getitem__(self, _app: str) -> None:
        return None


def prepare(incidents: int) -> None:
    """Each incident is a message of its own; the last one is not told yet: its transition is pending."""
    from django.conf import settings
    from django.core.management import call_command

    from tests.integration.alerts.conftest import NOW, down, judge
    from workers.alerts.telling import tell

    settings.MIGRATION_MODULES = NoMigrations()
    call_command("migrate", run_syncdb=True, verbosity=0)
    nodes = [down(f"10.0.2.{number}:11211") for number in range(incidents)]
    for number in range(1, incidents + 1):
        judge(number, *nodes[:number])
        if number < incidents:
            tell(NOW)


def deliver(minutes: float) -> None:
    """As the task does: tell, then send."""
    from tests.integration.alerts.conftest import NOW
    from workers.alerts import dispatch, telling

    now = NOW + timedelta(minutes=minutes)
    telling.tell(now)
    # One write: lines of several threads must not mix
    sys.stdout.write(json.dumps(dispatch.deliver_due(now)) + "\n")


def deliver_in_threads(minutes: float) -> None:
    """All of them begin at once, as the threads of a worker may."""
    from django.db import connections

    barrier = threading.Barrier(THREADS)

    def run() -> None:
        barrier.wait()
        deliver(minutes)
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def die(*_arguments: object, **_named: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def main(mode: str, numbers: list[float]) -> None:
    django.setup()
    if mode == "prepare":
        return prepare(int(numbers[0]))
    if mode in STEPS:
        module, name = STEPS[mode]
        setattr(importlib.import_module(f"workers.alerts.{module}"), name, die)
    print("ready", flush=True)
    sys.stdin.readline()
    for minutes in numbers:
        (deliver_in_threads if mode == "threads" else deliver)(minutes)
    return None


if __name__ == "__main__":
    main(sys.argv[1], [float(number) for number in sys.argv[2:]])
