import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count, pairwise
from time import time
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Sum
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import DailyReads, LookupHour, LookupTime, TrackedKey
from api_service.services import keys, latencies, lookup_counts, tracking
from api_service.services.latencies import Way
from api_service.services.lookup_counts import Batch
from api_service.services.outcomes import Outcome
from tests.integration.services.conftest import RunPython, output_of
from tests.rucs import REAL
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def reads() -> dict[str, int]:
    return dict(DailyReads.objects.values_list("identifier", "reads"))


def outcomes() -> dict[str, int]:
    """Of all hours: a new one may begin amid a test."""
    return dict(LookupHour.objects.order_by().values_list("outcome").annotate(total=Sum("count")))


@contextmanager
def database_down(after: int = 0) -> Iterator[None]:
    """It takes that many changes, and refuses all others."""
    execute, changes = CursorWrapper.execute, count()

    def down(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        if sql.startswith(("INSERT", "UPDATE")) and next(changes) >= after:
            raise OperationalError("could not connect to server")
        return execute(self, sql, params)

    with patch.object(CursorWrapper, "execute", down):
        yield


def times() -> dict[tuple[str, int], int]:
    return {(row.way, row.bound): row.count for row in LookupTime.objects.all()}


def track(identifier: str, *, node: str = "one:1", state: str = "active") -> TrackedKey:
    now = timezone.now()
    name = keys.normalize(f"migo:ruc_{identifier}", len(":1:"))
    return TrackedKey.objects.create(key=name, node=node, state=state, created_at=now, seen_at=now)


def tracked() -> dict[tuple[str, str], int]:
    return {(row.key, row.node): row.reads for row in TrackedKey.objects.all()}


@pytest.mark.django_db(transaction=True)
def test_look_ups_of_eight_threads_add_up_while_two_others_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FOLD_AT", 7)
    monkeypatch.setattr(tracking, "MAX_UNFOLDED", 20)
    monkeypatch.setattr(tracking, "IDENTIFIERS_AT_ONCE", 2)
    counter = tracking.ReadCounter()

    def count(thread: int) -> None:
        for number in range(1000):
            counter.count("migo", "ruc", REAL[number % 3], Outcome.HIT if thread % 2 else Outcome.MISS)

    def flush() -> None:
        while not all(future.done() for future in counting):
            counter.flush()
        connection.close()

    with ThreadPoolExecutor(10) as pool:
        counting = [pool.submit(count, thread) for thread in range(8)]
        flushing = [pool.submit(flush) for _ in range(2)]
    for future in (*counting, *flushing):
        future.result()
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
    batch = Batch()
    batch.fold([("migo", "ruc", REAL[0], Outcome.HIT, 1.0, None)])
    tracking.write(batch, datetime.fromisoformat("2026-07-15T04:59:00+00:00"))

    assert DailyReads.objects.get().day.isoformat() == "2026-07-14"


def test_nothing_counted_is_nothing_written() -> None:
    assert tracking.flush_now() == 0
    assert (reads(), outcomes()) == ({}, {})


def test_reads_are_noted_on_the_key_that_the_inventory_knows() -> None:
    now, known = timezone.now(), track(REAL[0])
    for _ in range(2):
        tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
        tracking.count("migo", "ruc", REAL[1], Outcome.MISS)
        tracking.flush_now()

    known.refresh_from_db()
    assert known.reads == 2
    assert known.last_read_at is not None
    assert known.last_read_at >= now - timedelta(seconds=1)
    assert TrackedKey.objects.count() == 1
    assert reads() == {REAL[0]: 2, REAL[1]: 2}


def test_a_read_counts_on_each_node_that_may_have_the_key_and_on_none_that_lost_it() -> None:
    states = {"one:1": "active", "two:1": "unknown", "three:1": "expired", "four:1": "removed"}
    for node, state in states.items():
        track(REAL[0], node=node, state=state)
    for _ in range(3):
        tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
    tracking.flush_now()

    counted = {node: number for (_key, node), number in tracked().items()}
    assert counted == {"one:1": 3, "two:1": 3, "three:1": 0, "four:1": 0}


@pytest.mark.parametrize("identifier", ["with a space", "ñandú", "x" * 250, "a%s{b}'\"\\"])
def test_the_key_is_found_under_the_name_that_the_cache_has_it_under(identifier: str) -> None:
    known = track(identifier)
    tracking.count("migo", "ruc", identifier, Outcome.HIT)
    tracking.flush_now()

    assert tracked() == {(known.key, "one:1"): 1}
    assert reads() == {identifier: 1}


def test_more_identifiers_than_there_is_room_for_are_counted_by_outcome_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lookup_counts, "MAX_IDENTIFIERS", 3)
    for number in range(10):
        tracking.count("migo", "ruc", str(number), Outcome.MISS)
    tracking.count("migo", "ruc", "0", Outcome.HIT)
    with caplog.at_level(logging.WARNING):
        tracking.flush_now()

    assert reads() == {"0": 2, "1": 1, "2": 1}
    assert outcomes() == {"miss": 10, "hit": 1}
    assert "7 reads" in caplog.text


@pytest.mark.parametrize("identifier", ["x" * 251, "nul \0", "half a pair \ud800"])
def test_an_identifier_that_no_column_takes_does_not_keep_the_others_from_being_written(identifier: str) -> None:
    tracking.count("migo", "ruc", identifier, Outcome.MISS)
    tracking.count("migo", "ruc", REAL[0], Outcome.MISS)
    tracking.flush_now()

    assert reads() == {REAL[0]: 1}
    assert outcomes() == {"miss": 2}


def test_a_service_or_kind_that_no_column_takes_is_counted_under_a_name_that_it_takes() -> None:
    tracking.count("s" * 60, "ruc", REAL[0], Outcome.HIT)
    tracking.count("migo", "k" * 60, REAL[0], Outcome.HIT)
    tracking.count("migo", "\0", REAL[0], Outcome.HIT)
    tracking.count("No Service", "ruc", REAL[1], Outcome.HIT)
    tracking.flush_now()

    counted = set(LookupHour.objects.values_list("service", "kind", "count"))
    assert counted == {("s" * 50, "ruc", 1), ("migo", "k" * 50, 1), ("migo", "(others)", 1), ("No Service", "ruc", 1)}
    assert reads() == {REAL[1]: 1}


def test_what_the_database_refuses_for_good_is_given_up_and_the_others_are_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "IDENTIFIERS_AT_ONCE", 1)
    for ruc in REAL[:3]:
        tracking.count("migo", "ruc", ruc, Outcome.HIT)
    below_zero = Batch(reads={("migo", "ruc", "impossible"): -1}, last_read={("migo", "ruc", "impossible"): 1})
    tracking._counter._batch.absorb(below_zero)

    assert tracking.flush_now() == 3
    assert reads() == dict.fromkeys(REAL[:3], 1)
    assert "1 read counts cannot be written" in caplog.text
    assert tracking.flush_now() == 0


def test_a_failure_between_two_transactions_neither_loses_nor_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "IDENTIFIERS_AT_ONCE", 2)
    for ruc in REAL[:5]:
        tracking.count("migo", "ruc", ruc, Outcome.HIT)
    # The first one changes three tables, the second is cut off after its first
    with database_down(after=4):
        assert tracking.flush_now() == 2
    assert len(reads()) == 2
    assert outcomes() == {"hit": 5}
    tracking.count("migo", "ruc", REAL[4], Outcome.HIT)

    assert tracking.flush_now() == 3
    assert reads() == {**dict.fromkeys(REAL[:4], 1), REAL[4]: 2}
    assert outcomes() == {"hit": 6}


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
    monkeypatch.setattr(lookup_counts, "MAX_IDENTIFIERS", 3)
    with database_down():
        for number in range(9):
            tracking.count("migo", "ruc", str(number), Outcome.MISS)
            tracking.flush_now()
    tracking.flush_now()

    assert len(reads()) == 3
    assert outcomes() == {"miss": 9}


# -- times


def test_look_ups_are_written_by_the_hour_by_how_they_were_answered_and_how_long_it_took() -> None:
    for seconds in (0.0002, 0.00021, 0.0004):
        tracking.count("migo", "ruc", REAL[0], Outcome.HIT, seconds)
    tracking.count("migo", "ruc", REAL[1], Outcome.MISS)
    tracking.answered("migo", Way.UPSTREAM, 0.42)
    tracking.flush_now()
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT, 0.0003)
    tracking.flush_now()

    assert times() == {("cache", 250): 2, ("cache", 500): 2, ("upstream", 500_000): 1}
    row = LookupTime.objects.filter(way="upstream").get()
    assert (row.service, row.hour) == ("migo", LookupHour.objects.filter(outcome="hit").get().hour)


def test_look_ups_of_one_way_are_put_into_steps_at_once_as_it_is_a_caller_who_adds_up() -> None:
    for number in range(500):
        tracking.answered("migo", Way.STORE if number % 5 else Way.UPSTREAM, 0.001)
    with patch.object(latencies, "counted", autospec=True, side_effect=latencies.counted) as counted:
        tracking.flush_now()

    assert counted.call_count == 2
    assert times() == {("store", 1_000): 400, ("upstream", 1_000): 100}


def test_an_answer_that_came_after_its_look_up_was_written_is_written_with_the_next() -> None:
    tracking.count("migo", "ruc", REAL[0], Outcome.MISS)
    assert tracking.flush_now() == 1
    tracking.answered("migo", Way.FAILED, 7.0)
    assert tracking._counter.waiting()
    tracking.flush_now()

    assert times() == {("failed", 10_000_000): 1}
    assert outcomes() == {"miss": 1}
    assert not tracking._counter.waiting()


def test_times_wait_while_the_database_is_down_and_are_written_once() -> None:
    with database_down():
        tracking.count("migo", "ruc", REAL[0], Outcome.HIT, 0.0002)
        tracking.flush_now()
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT, 0.0002)
    tracking.flush_now()
    tracking.flush_now()

    assert times() == {("cache", 250): 2}


def test_times_of_services_that_callers_make_up_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_counts, "MAX_OUTCOMES", 2)
    for service in ("migo", "a\0", "s" * 60, "t" * 60):
        tracking.answered(service, Way.STORE, 0.001)
    tracking.flush_now()

    counted = dict(LookupTime.objects.values_list("service", "count"))
    assert counted == {"migo": 1, "(others)": 3}


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

    wait_until(lambda: reads() == {REAL[0]: 1, REAL[1]: 1})
    counter.stop.set()


COUNT_AND_FLUSH = """
from api_service.services import tracking
from api_service.services.outcomes import Outcome
for round in range(40):
    for identifier in {identifiers}[:: 1 if {forward} else -1]:
        tracking.count("migo", "ruc", identifier, Outcome.HIT)
    tracking.flush_now()
"""
# As an inventory writes: in the order of the keys, in transactions of its own
SIZE_IN_ORDER = """
from django.db import transaction
from django.db.models import F
from api_service.models import TrackedKey
names = sorted(TrackedKey.objects.values_list("key", flat=True))
for round in range(40):
    with transaction.atomic():
        for name in names:
            TrackedKey.objects.filter(key=name).update(size=F("size") + 1)
"""


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_flush_beside_an_inventory_lose_nothing(run_python: RunPython) -> None:
    # In the order of bytes that is not the order of any language
    identifiers = ["a", "B", "_", "Z", "ñ", "b-", "b_"]
    names = [track(identifier).key for identifier in reversed(identifiers)]
    writers = [COUNT_AND_FLUSH.format(identifiers=identifiers, forward=forward) for forward in (True, False)]
    processes = [run_python(code) for code in (*writers, SIZE_IN_ORDER)]
    for process in processes:
        output_of(process)

    assert reads() == dict.fromkeys(identifiers, 80)
    assert outcomes() == {"hit": 80 * len(identifiers)}
    assert dict(TrackedKey.objects.values_list("key", "reads")) == dict.fromkeys(names, 80)
    assert set(TrackedKey.objects.values_list("size", flat=True)) == {40}


COUNT_FOR_EVER = """
import time
from api_service.services import tracking
from api_service.services.outcomes import Outcome
number = 0
while True:
    tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
    number += 1
    print(number, time.time(), ";", flush=True)
    time.sleep(0.005)
"""


def ran_on(counted: list[float], seconds: float) -> bool:
    """Whether the process had its turns of late: while the machine held it up it could not flush either."""
    late = [at for at in counted if at > counted[-1] - seconds]
    return all(after - before < 0.5 for before, after in pairwise(late))


@pytest.mark.django_db(transaction=True)
def test_a_process_killed_with_9_loses_one_flush_interval_at_most(run_python: RunPython) -> None:
    interval, seconds_of_a_flush = 1.0, 1.0  # a flush beside other tests; alone it takes a hundredth
    process = run_python(COUNT_FOR_EVER, READ_FLUSH_SECONDS=str(interval))
    assert process.stdout is not None
    wait_until(lambda: reads().get(REAL[0], 0) > 0, timeout=60)
    long_after = time() + 2.5 * interval
    counted: list[float] = []
    # To the end: what it had said before the kill is read after it
    for line in process.stdout:
        if line.endswith(";\n"):
            counted.append(float(line.split()[1]))
        if counted and counted[-1] > long_after and ran_on(counted, interval + seconds_of_a_flush):
            process.kill()
    safe = sum(at < counted[-1] - interval - seconds_of_a_flush for at in counted)

    assert 0 < safe <= reads()[REAL[0]] <= len(counted)
    assert outcomes() == {"hit": reads()[REAL[0]]}


COUNT_MORE_AFTER_A_FLUSH = """
import time
from api_service.models import DailyReads
from api_service.services import tracking
from api_service.services.outcomes import Outcome
for _ in range(1000):
    tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
while not DailyReads.objects.exists():
    time.sleep(0.01)
for _ in range(500):
    tracking.count("migo", "ruc", "20100038146", Outcome.HIT)
print("counted", flush=True)
time.sleep(60)
"""


@pytest.mark.django_db(transaction=True)
def test_what_was_flushed_outlives_a_kill_whole_and_once(run_python: RunPython) -> None:
    process = run_python(COUNT_MORE_AFTER_A_FLUSH, READ_FLUSH_SECONDS="4")
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    process.kill()
    process.wait(10)

    # The next flush was two seconds away
    assert reads() == {REAL[0]: 1000}
    assert outcomes() == {"hit": 1000}


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
