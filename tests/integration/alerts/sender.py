"""A sender of alerts as a process of its own, to be killed: `python -m tests.integration.alerts.sender MODE NUMBER…`.

It says "ready" when it is set up and begins at a line on its standard input. The numbers are minutes after the
incident: it delivers at each of them, and prints each summary.
"""

import json
import os
import signal
import sys
import threading
from datetime import timedelta
from typing import NoReturn

import django

THREADS = 32


class NoMigrations(dict[str, None]):
    """Tables as the models say, without the history."""

    def __contains__(self, _app: object) -> bool:
        return True

    def __getitem__(self, _app: str) -> None:
        return None


def prepare(incidents: int) -> None:
    from django.conf import settings
    from django.core.management import call_command

    from api_service.models import Incident
    from tests.integration.alerts.conftest import down, make_sample
    from workers.alerts.incidents import apply

    settings.MIGRATION_MODULES = NoMigrations()
    call_command("migrate", run_syncdb=True, verbosity=0)
    for number in range(incidents):
        sample = make_sample(number, down())
        apply(sample, sample.taken_at)
        Incident.objects.update(resolved_at=sample.taken_at)


def deliver(minutes: float) -> None:
    from tests.integration.alerts.conftest import NOW
    from workers.alerts.dispatch import deliver_due

    # One write: lines of several threads must not mix
    sys.stdout.write(json.dumps(deliver_due(NOW + timedelta(minutes=minutes))) + "\n")


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
    from workers.alerts import dispatch, outbox

    if mode == "prepare":
        return prepare(int(numbers[0]))
    if mode == "die-before-send":
        dispatch._send = die
    if mode == "die-after-send":
        outbox.mark_sent = die
    print("ready", flush=True)
    sys.stdin.readline()
    for minutes in numbers:
        (deliver_in_threads if mode == "threads" else deliver)(minutes)
    return None


if __name__ == "__main__":
    main(sys.argv[1], [float(number) for number in sys.argv[2:]])
