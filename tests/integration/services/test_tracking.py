import logging
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import DailyReads, LookupHour, TrackedKey
from api_service.services import tracking
from api_service.services.outcomes import Outcome
from tests.integration.services.conftest import RunPython, output_of
from tests.rucs import REAL
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def reads() -> dict[str, int]:
    return dict(DailyReads.objects.values_list("identifier", "reads"))


def outcomes() -> dict[str, int]:
    return dict(LookupHour.objects.values_list("outcome", "count"))


@contextmanager
def database_down() -> Iterator[None]:
    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("could not connect to server")

    with patch("django.db.backends.utils.CursorWrapper.executemany", down):
        yield


def test_look_ups_of_eight_threads_add_up_while_others_flush() -> None:
    counter = tracking.ReadCounter()

    def count(thread: int) -> None:
        for number in range(1000):
            counter.count("migo", "ruc", REAL[number % 3], Outcome.HIT if thread % 2 else Outcome.MISS)

    with ThreadPoolExecutor(8) as pool:
        counting = [pool.submit(count, thread) for thread in range(8)]
        while not all(future.done() for future in counting):
            counter.flush()
    counter.flush()

    assert outcomes() == {"hit": 4000, "miss": 4000}
    assert reads() == {REAL[0]: 8 * 334, REAL[1]: 8 * 333, REAL[2]: 8 * 333}


def test_counts_belong_to_the_day_in_lima_and_to_the_hour() -> None:
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
    before = timezone.now()
    assert tracking.flush_now() == 1

    row = DailyReads.objects.get()
    assert row.day in {timezone.localdate(before), timezone.localdate()}
    assert abs(row.last_read_at - before) < timedelta(seconds=5)
    assert LookupHour.objects.get().hour.minute == 0


def test_a_late_evening_in_lima_is_not_yet_tomorrow() -> None:
    batch = tracking.Batch()
    batch.add(("migo", "ruc", REAL[0]), Outcome.HIT, 1.0)
    tracking.write(batch, datetime.fromisoformat("2026-07-15T04:59:00+00:00"))

    assert DailyReads.objects.get().day.isoformat() == "2026-07-14"


def test_nothing_counted_is_nothing_written() -> None:
    assert tracking.flush_now() == 0
    assert (reads(), outcomes()) == ({}, {})


def test_reads_are_noted_on_the_key_that_the_inventory_knows() -> None:
    now = timezone.now()
    known = TrackedKey.objects.create(key=f"migo:ruc_{REAL[0]}", state="active", created_at=now, seen_at=now)
    for _ in range(2):
        tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
        tracking.count("migo", "ruc", REAL[1], Outcome.MISS)
        tracking.flush_now()

    known.refresh_from_db()
    assert known.reads == 2
    assert known.last_read_at is not None
    assert known.last_read_at >= now - timedelta(seconds=1)
    assert TrackedKey.objects.count() == 1


def test_more_identifiers_than_there_is_room_for_are_counted_by_outcome_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "MAX_IDENTIFIERS", 3)
    for number in range(10):
        tracking.count("migo", "ruc", str(number), Outcome.MISS)
    tracking.count("migo", "ruc", "0", Outcome.HIT)
    with caplog.at_level(logging.WARNING):
        tracking.flush_now()

    assert reads() == {"0": 2, "1": 1, "2": 1}
    assert outcomes() == {"miss": 10, "hit": 1}
    assert "7 reads" in caplog.text


def test_an_identifier_that_no_column_takes_does_not_keep_the_others_from_being_written() -> None:
    tracking.count("migo", "ruc", "x" * 251, Outcome.MISS)
    tracking.count("migo", "ruc", REAL[0], Outcome.MISS)
    tracking.flush_now()

    assert reads() == {REAL[0]: 1}
    assert outcomes() == {"miss": 2}


def test_counts_wait_while_the_database_is_down_and_are_written_later(caplog: pytest.LogCaptureFixture) -> None:
    with database_down(), caplog.at_level(logging.WARNING):
        for _ in range(3):
            tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
            assert tracking.flush_now() == 0
    tracking.count("migo", "ruc", REAL[0], Outcome.MISS)

    assert len(caplog.records) == 1
    assert tracking.flush_now() == 1
    assert reads() == {REAL[0]: 4}
    assert outcomes() == {"hit": 3, "miss": 1}


def test_what_waits_for_the_database_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_IDENTIFIERS", 3)
    with database_down():
        for number in range(9):
            tracking.count("migo", "ruc", str(number), Outcome.MISS)
            tracking.flush_now()
    tracking.flush_now()

    assert len(reads()) == 3
    assert outcomes() == {"miss": 9}


@pytest.mark.django_db(transaction=True)
def test_the_flushing_thread_survives_what_nobody_thought_of(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.READ_FLUSH_SECONDS = 0.02
    counter = tracking.ReadCounter()
    with patch.object(tracking, "write", side_effect=ZeroDivisionError), caplog.at_level(logging.ERROR):
        counter.count("migo", "ruc", REAL[0], Outcome.HIT)
        wait_until(lambda: "ZeroDivisionError" in caplog.text)
    counter.count("migo", "ruc", REAL[1], Outcome.HIT)

    wait_until(lambda: REAL[1] in reads())
    counter.stop.set()


COUNT_AND_FLUSH = """
from api_service.services import tracking
from api_service.services.outcomes import Outcome
for round in range(40):
    for ruc in ("20100038146", "20131312955", "20603274742")[:: 1 if {forward} else -1]:
        tracking.count("migo", "ruc", ruc, Outcome.HIT)
    tracking.flush_now()
"""


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_flush_at_once_lose_nothing(run_python: RunPython) -> None:
    now = timezone.now()
    keys = [f"migo:ruc_{ruc}" for ruc in REAL[:3]]
    TrackedKey.objects.bulk_create(
        TrackedKey(key=key, state="active", created_at=now, seen_at=now) for key in reversed(keys)
    )
    processes = [run_python(COUNT_AND_FLUSH.format(forward=forward)) for forward in (True, False)]
    for process in processes:
        output_of(process)

    assert reads() == dict.fromkeys(REAL[:3], 80)
    assert outcomes() == {"hit": 240}
    assert dict(TrackedKey.objects.values_list("key", "reads")) == dict.fromkeys(keys, 80)


COUNT_FOR_EVER = """
import time
from api_service.services import tracking
from api_service.services.outcomes import Outcome
number = 0
while True:
    tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
    number += 1
    print(number, time.time(), flush=True)
    time.sleep(0.005)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_killed_with_9_loses_one_flush_interval_at_most(run_python: RunPython) -> None:
    interval = 0.5
    process = run_python(COUNT_FOR_EVER, READ_FLUSH_SECONDS=str(interval))
    wait_until(lambda: reads().get(REAL[0], 0) > 150, timeout=30)
    process.send_signal(signal.SIGKILL)
    lines = [line.split() for line in process.communicate(timeout=10)[0].splitlines() if line.count(".") == 1]
    ended = float(lines[-1][1])
    # Those of the last interval, of one more that was being written, and what a busy machine adds
    safe = sum(float(at) < ended - 2 * interval - 1 for _number, at in lines)

    assert safe <= reads()[REAL[0]] <= len(lines)


@pytest.mark.django_db(transaction=True)
def test_a_process_that_ends_well_loses_nothing(run_python: RunPython) -> None:
    one = "from api_service.services import tracking as t; from api_service.services.outcomes import Outcome"
    output_of(run_python(f"{one}; t.count('migo', 'ruc', '{REAL[0]}', Outcome.HIT)", READ_FLUSH_SECONDS="60"))

    assert reads() == {REAL[0]: 1}


FORK = """
import os
from api_service.services import tracking
from api_service.services.outcomes import Outcome
tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
child = os.fork()
if child == 0:
    assert tracking.flush_now() == 0
    tracking.count("migo", "ruc", "20131312955", Outcome.MISS)
    assert tracking._counter._thread is not None and tracking._counter._thread.is_alive()
    assert tracking.flush_now() == 1
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_starts_empty_and_writes_its_own(run_python: RunPython) -> None:
    output_of(run_python(FORK, READ_FLUSH_SECONDS="60"))

    assert reads() == {REAL[0]: 1, REAL[1]: 1}
    assert outcomes() == {"hit": 1, "miss": 1}
