"""Every schedule sent by Beat's own scheduler and run by a real worker: `python -m tests.integration.beat.scheduled`.

First as they are, then with tasks that fail, then one by hand. It prints the rows that are left and the log's lines
come by stderr; check-ins and pings go wherever the settings say.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from functools import partial
from threading import Event
from typing import Any
from unittest.mock import patch

import django
import sentry_sdk

OPERATORS_OWN = "an operator's own"


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise RuntimeError("broken by the test")


def main() -> None:
    django.setup()
    from celery.contrib.testing.worker import start_worker
    from django.core.management import call_command

    from myproject.celery import app

    call_command("migrate", verbosity=0)
    _be_patient()
    start = partial(
        start_worker, app, perform_ping_check=False, shutdown_timeout=60, queues=[*_queues()], loglevel="WARNING"
    )
    with start():
        _send_all(app)
        _wait_for("succeeded_at")
        _by_hand()
    # A worker takes the tasks' functions when it starts
    with ExitStack() as stack:
        for row in _table().values():
            stack.enter_context(patch.object(app.tasks[row.task], "run", side_effect=fail, autospec=True))
        stack.enter_context(start())
        _send_all(app)
        _wait_for("failed_at")
        print(json.dumps(_rows(), default=str), flush=True)
        _send_what_waits()
        # The second worker takes seconds to stop, and nobody waits for it
        os._exit(0)


def _be_patient() -> None:
    """Who listens is a test on a busy machine, and has to hear of everything."""
    from api_service.services.upstream import Patience
    from workers.watch import pings

    pings.PATIENCE = Patience(connect=30.0, read=30.0, deadline=30.0, attempts=1)
    pings.CLOSE_SECONDS = 30.0


def _send_what_waits() -> None:
    from workers.watch.signals import close

    close()
    sentry_sdk.flush(timeout=30)


def _table() -> dict[str, Any]:
    from workers.schedules import TABLE

    return TABLE


def _queues() -> set[str]:
    from workers.schedules import QUEUES

    return {*QUEUES}


def _send_all(app: Any) -> None:
    """As Beat does when each is due, all at once."""
    from django_celery_beat.models import CrontabSchedule, PeriodicTask
    from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

    scheduler = DatabaseScheduler(app=app)
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="*/7", hour="*")
    PeriodicTask.objects.get_or_create(
        name=OPERATORS_OWN, defaults={"task": "workers.tasks.deliver_alerts", "crontab": crontab, "queue": "health"}
    )
    for row in PeriodicTask.objects.exclude(name__startswith="celery."):
        scheduler.apply_entry(ModelEntry(row, app=app))


def _wait_for(field: str) -> None:
    from api_service.models import ScheduleRun
    from tests.waiting import wait_until

    expected = len(_table()) + 1
    wait_until(lambda: ScheduleRun.objects.exclude(**{field: None}).count() == expected, 60, message=field)


def _by_hand() -> None:
    """Without the header that Beat's messages have: neither row, check-in nor ping."""
    from celery.signals import task_postrun

    from api_service.services.task_sending import send

    by_hand, ended = "workers.tasks.clean_up", Event()

    def seen(sender: Any, **_kwargs: Any) -> None:
        # Those that other tasks have sent end, too
        if sender.name == by_hand:
            ended.set()

    task_postrun.connect(seen, weak=False)
    send(by_hand, {})
    assert ended.wait(60)


def _rows() -> dict[str, dict[str, Any]]:
    from django.forms import model_to_dict

    from api_service.models import ScheduleRun

    return {row.name: model_to_dict(row) for row in ScheduleRun.objects.all()}


if __name__ == "__main__":
    main()
