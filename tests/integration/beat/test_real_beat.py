"""Real processes that die, freeze and lose each other, and what the watch says of it: Beat, a worker, their broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from api_service.models import ScheduleRun
from api_service.services import beat_watch
from api_service.services.beat_rules import State, Watched
from tests.processes import spawn
from tests.servers import Redis
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[3]
CELERY = [str(Path(sys.executable).parent / "celery"), "-A", "myproject"]
BEAT = [*CELERY, "beat", "--max-interval", "1", "--pidfile", "", "-l", "INFO"]
WORKER = [*CELERY, "worker", "-P", "solo", "-Q", "health", "-l", "INFO"]
# Of a schedule that runs each second
MARGIN = timedelta(seconds=1.5)
PATIENCE = 30.0

Start = Callable[[list[str]], "subprocess.Popen[bytes]"]


@pytest.fixture
def tick() -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    return PeriodicTask.objects.create(
        name="tick", task="workers.tasks.deliver_alerts", interval=every, queue="health", expire_seconds=60
    )


@pytest.fixture
def start(tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a process on the database of the test."""
    if connection.vendor != "sqlite":
        pytest.skip("about processes, not about SQL: once is enough")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{connection.settings_dict['NAME']}")
    monkeypatch.setenv("CELERY_BROKER_URL", broker)
    # A worker beside a cache in memory refuses to start; the task at hand uses none
    monkeypatch.setenv("CACHE_URL", "memcached://127.0.0.1:1")
    with ExitStack() as stack:

        def run(command: list[str]) -> subprocess.Popen[bytes]:
            process = spawn(command, log=tmp_path / "log", cwd=ROOT, user=None)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            return process

        yield run


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """By default Beat sends into a memory of its own."""
    if getattr(request, "param", "") != "redis":
        return "memory://"
    server: Redis = request.getfixturevalue("own_redis")
    return server.url


def seen() -> Watched:
    return next(one for one in beat_watch.look(timezone.now(), MARGIN) if one.seen.name == "tick")


def until(state: State) -> Watched:
    """As it was seen in that state: a moment later it may be in another one."""
    found = wait_until(
        lambda: one if (one := seen()).state is state else None, PATIENCE, interval=0.1, message=f"{state}"
    )
    assert found is not None
    return found


def until_sent(after: Any) -> None:
    """Beat has sent it once more."""
    wait_until(lambda: (sent := seen().seen.sent_at) and (not after or sent > after), PATIENCE, message="sent by Beat")


def until_succeeded() -> None:
    since = timezone.now()
    runs = ScheduleRun.objects.filter(name="tick", succeeded_at__gt=since)
    wait_until(runs.exists, PATIENCE, message="a run that succeeds")


def test_a_beat_that_is_frozen_or_killed_is_late_until_it_sends_again(tick: PeriodicTask, start: Start) -> None:
    beat = start(BEAT)
    until_sent(None)
    os.kill(beat.pid, signal.SIGSTOP)
    assert until(State.NOT_SENT).send_late > MARGIN
    os.kill(beat.pid, signal.SIGCONT)
    until_sent(timezone.now())
    beat.kill()
    beat.wait(30)
    until(State.NOT_SENT)
    start(BEAT)
    until_sent(timezone.now())
    wait_until(lambda: seen().state is not State.NOT_SENT, PATIENCE, message="a Beat that is not late any more")


def test_a_beat_that_is_killed_at_each_start_before_it_sends_does_not_look_fresh(start: Start) -> None:
    def killed_after_it_wrote_its_rows(since: datetime) -> None:
        beat = start(BEAT)
        written = PeriodicTask.objects.filter(name="clean-up", date_changed__gt=since)
        wait_until(written.exists, PATIENCE, message="the rows of Beat")
        beat.kill()
        beat.wait(30)

    began = timezone.now()
    killed_after_it_wrote_its_rows(began)
    first = timezone.now()
    killed_after_it_wrote_its_rows(first)
    # All but those whose minute came just then
    unsent = {row.name for row in PeriodicTask.objects.filter(enabled=True, last_run_at=None)}
    hourly = {row.name for row in PeriodicTask.objects.filter(name__in=unsent, crontab__hour="*")}
    runs = ScheduleRun.objects.filter(name__in=hourly)
    assert hourly
    assert {began < run.on_since < first for run in runs if run.on_since} == {True}
    later = {one.seen.name: one.state for one in beat_watch.look(first + timedelta(hours=2))}
    assert {later[name] for name in hourly} == {State.NOT_SENT}


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_workers_that_are_gone_and_a_broker_that_is_gone_are_not_blamed_on_beat(
    tick: PeriodicTask, start: Start, own_redis: Redis
) -> None:
    start(BEAT)
    worker = start(WORKER)
    until_succeeded()
    until(State.ON_TIME)
    os.kill(worker.pid, signal.SIGSTOP)
    found = until(State.NOT_RUN)
    assert found.send_late == timedelta(0)
    os.kill(worker.pid, signal.SIGCONT)
    until_succeeded()
    until(State.ON_TIME)
    own_redis.kill()
    assert wait_until(lambda: seen().run_late > MARGIN, PATIENCE, interval=0.1)
    own_redis.restart()
    until_succeeded()
    until(State.ON_TIME)
