import re
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from api_service.models import DailyReads, LookupHour, TrackedKey
from api_service.services import counters
from tests.integration.services.conftest import RunPython, output_of

pytestmark = pytest.mark.django_db

HOUR = datetime(2026, 7, 14, 15, tzinfo=UTC)
DAY = date(2026, 7, 14)
HOURS = ("hour", "service", "kind", "outcome")
DAYS = ("service", "kind", "identifier", "day")


def test_counts_add_to_what_is_there_and_start_where_nothing_is() -> None:
    for number in (3, 4):
        rows = [(HOUR, "migo", "ruc", "hit", number), (HOUR, "migo", "ruc", f"only-{number}", 1)]
        counters.add(LookupHour, HOURS, "count", rows)

    assert dict(LookupHour.objects.values_list("outcome", "count")) == {"hit": 7, "only-3": 1, "only-4": 1}


def test_the_same_row_twice_in_one_call_adds_twice() -> None:
    counters.add(LookupHour, HOURS, "count", [(HOUR, "migo", "ruc", "hit", 2)] * 2)

    assert LookupHour.objects.get().count == 4


def test_the_latest_time_stays_whichever_comes_last() -> None:
    for minutes in (5, 9, 1):
        row = ("migo", "ruc", "20100038146", DAY, 1, HOUR + timedelta(minutes=minutes))
        counters.add(DailyReads, DAYS, "reads", [row], latest=("last_read_at",))

    kept = DailyReads.objects.get()
    assert (kept.reads, kept.last_read_at) == (3, HOUR + timedelta(minutes=9))


def test_nothing_to_add_is_nothing_done() -> None:
    counters.add(LookupHour, HOURS, "count", [])

    assert not LookupHour.objects.exists()


def test_a_failure_amid_the_rows_leaves_none_of_them() -> None:
    rows = [(HOUR, "migo", "ruc", "hit", 1), (HOUR, None, "ruc", "hit", 1)]

    with pytest.raises(Exception, match=r"(?i)null"), transaction.atomic():
        counters.add(LookupHour, HOURS, "count", rows)
    assert not LookupHour.objects.exists()


def test_counts_of_known_keys_add_and_unknown_keys_make_no_row() -> None:
    TrackedKey.objects.create(key="migo:ruc_1", state="active", reads=5, created_at=HOUR, seen_at=HOUR)
    later, earlier = HOUR + timedelta(minutes=9), HOUR + timedelta(minutes=1)
    for last in (later, earlier):
        rows = [("migo:ruc_0", 9, last), ("migo:ruc_1", 2, last)]
        counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", rows)

    row = TrackedKey.objects.get()
    assert (row.reads, row.last_read_at) == (9, later)


def test_the_same_known_key_twice_in_one_call_adds_twice_and_keeps_the_later_time() -> None:
    TrackedKey.objects.create(key="migo:ruc_1", state="active", created_at=HOUR, seen_at=HOUR)
    rows = [("migo:ruc_1", 2, HOUR + timedelta(minutes=9)), ("migo:ruc_1", 3, HOUR)]
    counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", rows)

    row = TrackedKey.objects.get()
    assert (row.reads, row.last_read_at) == (5, HOUR + timedelta(minutes=9))


def test_only_rows_with_one_of_the_values_asked_for_are_counted_on() -> None:
    for number, state in enumerate(("active", "unknown", "expired")):
        TrackedKey.objects.create(key="migo:ruc_1", node=f"n{number}", state=state, created_at=HOUR, seen_at=HOUR)
    only = {"state": ["active", "unknown"], "node": ["n1", "n2"]}
    counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", [("migo:ruc_1", 1, HOUR)], only=only)

    assert dict(TrackedKey.objects.values_list("state", "reads")) == {"active": 0, "unknown": 1, "expired": 0}


def test_a_text_that_is_too_long_is_never_cut_off() -> None:
    row = (HOUR, "s" * 51, "ruc", "hit", 1)
    if connection.vendor == "sqlite":
        counters.add(LookupHour, HOURS, "count", [row])
        assert LookupHour.objects.get().service == row[1]
        return
    with pytest.raises(DataError), transaction.atomic():
        counters.add(LookupHour, HOURS, "count", [row])


# On fewer rows PostgreSQL reads the whole table, and is right
MANY_KEYS = """
INSERT INTO api_service_trackedkey
    (key, service, kind, identifier, node, size, state, created_at, seen_at, reads)
WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 40000)
SELECT 'migo:ruc_' || number, 'migo', 'ruc', number, 'one:1', 0, 'active', '2026-07-14 15:00', '2026-07-14 15:00', 0
FROM numbers
"""


def test_a_large_table_is_not_read_to_count_on_a_few_keys() -> None:
    with connection.cursor() as cursor:
        cursor.execute(MANY_KEYS)
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as queries:
        counters.add_to_existing(TrackedKey, "key", "reads", "last_read_at", [("migo:ruc_1", 1, HOUR)])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' * (connection.vendor == 'sqlite')}{queries[0]['sql']}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())

    assert not re.search(r"Seq Scan|SCAN (?!json_each)", plan), plan


ADD_250_TIMES = """
from datetime import UTC, datetime
from api_service.models import LookupHour
from api_service.services import counters
row = (datetime(2026, 7, 14, 15, tzinfo=UTC), "migo", "ruc", "hit", 1)
for _ in range(250):
    counters.add(LookupHour, ("hour", "service", "kind", "outcome"), "count", [row])
"""


@pytest.mark.django_db(transaction=True)
def test_processes_that_count_at_once_lose_nothing(run_python: RunPython) -> None:
    processes = [run_python(ADD_250_TIMES) for _ in range(3)]
    for process in processes:
        output_of(process)

    assert LookupHour.objects.get().count == 750
    assert connection.vendor in {"sqlite", "postgresql"}
