"""The answer store as it runs in production: written and read by threads of its own, waited for with a limit."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import SpendHour, StoredAnswer
from api_service.services import answer_rows, answers, bounded, budget, group_commit
from api_service.services.answer_rows import Identity, Kept
from api_service.services.budget import Ledger, Purpose
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from tests.integration.services.conftest import RunPython, database_url, output_of
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = 1_795_362_562.25
LIMIT = 1.0
# Where nothing is in the way of the database: more than a machine stalls
LONGER = 30.0


@pytest.fixture(autouse=True)
def _threads(settings: Settings) -> Iterator[None]:
    """Their connections end with the test, or the database of the tests could not be dropped."""
    settings.ANSWER_STORE_SECONDS = LONGER
    yield
    group_commit.close_all(10)
    for breaker in (bounded.answer_reads, bounded.answer_writes, bounded.ledger_writes):
        breaker.begin()


def save(ruc: str, mark: int, born_at: float = NOW) -> None:
    answers.save("migo", "ruc", {ruc: {"ruc": ruc, "mark": mark}}, born_at)


def kept() -> dict[str, int]:
    return {row.identifier: json.loads(row.data)["mark"] for row in StoredAnswer.objects.all()}


def fresh(*rucs: str) -> dict[str, int]:
    found = answers.fresh("migo", "ruc", rucs, 3600, NOW)
    return {ruc: stored.data["mark"] for ruc, stored in found.items()}


@contextmanager
def no_writes() -> Iterator[None]:
    """Another process holds what every write needs."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        with psycopg.connect(database_url()) as other:
            other.execute("LOCK TABLE api_service_storedanswer, api_service_spendhour IN EXCLUSIVE MODE")
            yield


def seconds(act: Callable[[], object]) -> float:
    started = monotonic()
    act()
    return monotonic() - started


# -- durable before it is handed out


def test_an_answer_is_in_the_database_when_it_is_handed_out() -> None:
    save(REAL[0], 1)
    assert kept() == {REAL[0]: 1}
    assert fresh(*REAL[:2]) == {REAL[0]: 1}


def test_an_answer_outlives_the_transaction_of_its_caller() -> None:
    """It is paid for, whatever becomes of what its caller does with it."""
    with transaction.atomic():
        save(REAL[0], 1)
        transaction.set_rollback(True)
    assert group_commit.flush_all(10)
    assert kept() == {REAL[0]: 1}


KEEP_THEN_DIE = """
import os, signal
from api_service.services.migo_service import MigoAPIService
found = MigoAPIService().consultar_ruc("20100038146")
assert found["cache"]["source"] == "upstream", found
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_right_after_a_paid_look_up_loses_neither_the_answer_nor_its_entry(
    vendor: RunningSandbox, cache: APICacheService, settings: Settings, run_python: RunPython
) -> None:
    process = run_python(
        KEEP_THEN_DIE,
        ANSWER_STORE_SECONDS="20",
        MIGO_TOKEN="token-of-the-tests-0001",
        MIGO_BASE_URL=settings.MIGO_BASE_URL,
        CACHE_URL=settings.CACHE_URL,
    )
    assert process.wait(60) == -signal.SIGKILL, process.communicate()[0]

    cache.clear()
    assert vendor.billed == SpendHour.objects.get().queries == 1
    assert MigoAPIService().consultar_ruc("20100038146")["cache"]["source"] == "store"
    assert vendor.billed == 1


# -- the newest wins


def test_an_older_answer_never_takes_the_place_of_a_newer_one(settings: Settings) -> None:
    for limit in (LONGER, 0):
        settings.ANSWER_STORE_SECONDS = limit
        save(REAL[0], 2, NOW)
        save(REAL[0], 1, NOW - 10)
        answers.forget("migo", "ruc", [REAL[0]], NOW - 5)
        assert kept() == {REAL[0]: 2}
        answers.forget("migo", "ruc", [REAL[0]], NOW + 5)
        assert kept() == {}


SAVE_ALL = """
import os, random, time
from api_service.services import answers
from tests.rucs import valid_rucs
rucs = valid_rucs(50)
print("ready", flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.002)
for turn in range(40):
    mark = turn * 3 + {number}
    random.shuffle(rucs)
    answers.save("migo", "ruc", {{ruc: {{"mark": mark}} for ruc in rucs}}, 1_795_000_000 + mark)
    if turn % 10 == 0:
        answers.forget("migo", "ruc", rucs[:25], 1_795_000_000 + mark)
print("ended")
"""


def test_processes_that_write_the_same_identifiers_at_once_leave_the_newest_of_each(
    run_python: RunPython, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    processes = [run_python(SAVE_ALL.format(number=n), ANSWER_STORE_SECONDS="20", GO=str(go)) for n in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    for process in processes:
        # No deadlock, no error in between
        assert output_of(process) == "ended\n"

    assert kept() == dict.fromkeys(valid_rucs(50), 39 * 3 + 2)


def test_callers_at_once_share_their_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    rucs, batches = valid_rucs(40), list[int]()

    def counted(items: Mapping[Identity, Kept]) -> None:
        batches.append(len(items))
        answer_rows.write(items)

    monkeypatch.setattr(answers._writer, "_write", counted)
    with ThreadPoolExecutor(40) as pool, no_writes():
        for ruc in rucs:
            pool.submit(save, ruc, 1)
        wait_until(lambda: len(answers._writer) == 40)

    assert group_commit.flush_all(20)
    assert kept() == dict.fromkeys(rucs, 1)
    assert sum(batches) == 40
    assert len(batches) <= 5


# -- a database that takes nothing


def takes_answers_again() -> bool:
    """The next one that is kept finds out."""
    save(REAL[0], 1)
    return not bounded.answer_writes.is_open


def test_a_table_that_another_holds_delays_one_caller_and_costs_no_answer(
    caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.ANSWER_STORE_SECONDS = LIMIT
    with no_writes():
        first, *later = [seconds(partial(save, ruc, 1)) for ruc in REAL]
        assert LIMIT <= first < 10 * LIMIT
        # Had each of them waited as well, it would be as much at least
        assert sum(later) < len(later) * LIMIT
        # Not written yet, and there for whoever asks
        assert fresh(*REAL) == dict.fromkeys(REAL, 1)
        assert kept() == {}

    wait_until(lambda: kept() == dict.fromkeys(REAL, 1), timeout=30)
    settings.ANSWER_STORE_SECONDS = LONGER
    wait_until(takes_answers_again)
    save(REAL[0], 2)
    assert kept()[REAL[0]] == 2
    assert [r.message for r in caplog.records if "nobody waits" in r.message] == [
        "answers: nobody waits for the database until it answers again: not written within 1 s"
    ]


def test_what_exists_no_more_is_not_served_while_its_removal_waits(settings: Settings) -> None:
    save(REAL[0], 1)
    settings.ANSWER_STORE_SECONDS = LIMIT
    with no_writes():
        answers.forget("migo", "ruc", [REAL[0]], NOW + 1)
        assert fresh(REAL[0]) == {}
        save(REAL[0], 2, NOW + 2)
        assert fresh(REAL[0]) == {REAL[0]: 2}

    wait_until(lambda: kept() == {REAL[0]: 2}, timeout=30)


def test_the_ledger_waits_no_longer_either_and_every_paid_query_is_entered_in_the_end(settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS = LIMIT
    ledger = Ledger("migo", Purpose.USER)
    with no_writes():
        took = [seconds(lambda: ledger(1, retry=False)) for _ in range(5)]
        ledger(1, retry=True)
        # Who has waited for the ledger does not wait again to keep the answer
        took.append(seconds(lambda: save(REAL[0], 1)))
    assert LIMIT <= sum(took) < len(took) * LIMIT

    assert budget._entries.flush(30)
    assert dict(SpendHour.objects.values_list("purpose", "queries")) == {"user": 5, "retry": 1}
    assert ledger.queries == 6


def test_with_a_cap_the_ledger_is_asked_before_anything_is_paid(settings: Settings) -> None:
    settings.MIGO_MAX_PER_HOUR = 2
    ledger = Ledger("migo", Purpose.USER)
    ledger(2, retry=False)
    with pytest.raises(budget.BudgetExhausted):
        ledger(1, retry=False)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="one write lock for all is SQLite's")
def test_a_caller_that_holds_the_only_write_lock_does_not_wait_for_itself() -> None:
    with transaction.atomic():
        StoredAnswer.objects.create(
            service="migo", kind="dni", identifier="1", data='{"mark":0}', born_at=timezone.now()
        )
        assert seconds(lambda: save(REAL[0], 1)) < LONGER
        assert seconds(lambda: Ledger("migo", Purpose.USER)(1, retry=False)) < LONGER

    assert group_commit.flush_all(30)
    assert kept() == {"1": 0, REAL[0]: 1}
    assert SpendHour.objects.get().queries == 1


# -- the end, and the beginning, of a process

SAVE_AND_END = """
from api_service.services import answers
answers.save("migo", "ruc", {"20100038146": {"mark": 1}}, 1_795_362_562)
print("ending", flush=True)
"""


def test_a_process_that_ends_writes_what_still_waits(run_python: RunPython) -> None:
    with no_writes():
        process = run_python(SAVE_AND_END, ANSWER_STORE_SECONDS="0.1")
        assert process.stdout is not None
        wait_until(lambda: "ending" in process.stdout.readline(), timeout=60)  # type: ignore[union-attr]
    assert process.wait(60) == 0
    assert kept() == {"20100038146": 1}


def test_a_worker_that_ends_writes_what_still_waits(settings: Settings) -> None:
    """Celery's pool processes end without atexit: they have a signal."""
    from celery.signals import worker_process_shutdown

    import workers.tasks

    settings.ANSWER_STORE_SECONDS = LIMIT
    with no_writes():
        save(REAL[0], 1)
        assert kept() == {}
    worker_process_shutdown.send(sender=workers.tasks)
    assert kept() == {REAL[0]: 1}


FORK = """
import os
from api_service.services import answers, group_commit
def save(ruc):
    answers.save("migo", "ruc", {ruc: {"mark": os.getpid()}}, 1_795_362_562)
    assert answers.fresh("migo", "ruc", [ruc], 3600, 1_795_362_562)[ruc].data["mark"] == os.getpid()
save("20100038146")
answers._writer.put({("migo", "ruc", "20603274742"): answers.Kept('{"mark":0}', 1_795_362_562.0)})
child = os.fork()
save("20131312955" if child == 0 else "20100047218")
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    group_commit.close_all()
    os._exit(0)
"""


def test_a_forked_child_has_threads_of_its_own_and_leaves_its_parents_answers_to_the_parent(
    run_python: RunPython,
) -> None:
    process = run_python(
        FORK.replace("answers.group_commit", "group_commit").replace(
            "import os\nfrom", "import os\nfrom api_service.services import group_commit\nfrom", 1
        ),
        ANSWER_STORE_SECONDS="20",
    )
    output_of(process)
    marks = kept()
    assert set(marks) == {"20100038146", "20603274742", "20131312955", "20100047218"}
    assert marks["20100038146"] == marks["20100047218"] == process.pid != marks["20131312955"]


# -- one query for all


def test_a_thousand_identifiers_are_one_query(settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS = 0
    rucs = valid_rucs(1000)
    answers.save("migo", "ruc", {ruc: {"mark": 1} for ruc in rucs}, NOW)
    with CaptureQueriesContext(connection) as queries:
        assert fresh(*rucs) == dict.fromkeys(rucs, 1)
    assert len(queries) == 1


def test_a_look_up_of_many_asks_the_store_once_and_puts_all_back_for_what_is_left_of_their_life(
    vendor: RunningSandbox, cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rucs, born = valid_rucs(30), time.time() - 1000
    answers.save("migo", "ruc", {ruc: {"ruc": ruc} for ruc in rucs[:20]}, born)
    answers.save("migo", "ruc", {ruc: {"ruc": ruc} for ruc in rucs[20:25]}, born - 3000)
    reads = list[int]()

    def counted(service: str, kind: str, names: Sequence[str], oldest: datetime) -> list[tuple[str, str, datetime]]:
        reads.append(len(names))
        return answer_rows_read(service, kind, names, oldest)

    answer_rows_read = answer_rows.read
    monkeypatch.setattr(answer_rows, "read", counted)
    many = MigoAPIService().consultar_ruc_masivo(rucs)

    assert reads == [30]
    assert [one["cache"]["source"] for one in many["results"]] == ["store"] * 20 + ["upstream"] * 10
    assert vendor.billed == 10
    back = cache.read_ruc(rucs[0])
    assert back.born_at == pytest.approx(born, abs=1)
    assert back.expires_at == pytest.approx(born + 3600, abs=2)
