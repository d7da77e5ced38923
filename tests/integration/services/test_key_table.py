import random
import signal
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from api_service.models import TrackedKey
from api_service.services import key_table, keys, tracking
from api_service.services.backends.base import Entry, InventoryError
from api_service.services.key_table import Recorded, mark_unknown, record
from api_service.services.outcomes import Outcome
from tests.integration.services.conftest import RunPython, output_of

pytestmark = pytest.mark.django_db

NODE, OTHER = "10.0.0.1:11211", "10.0.0.2:11211"
NOW = datetime(2026, 7, 14, 15, tzinfo=UTC)
AT = NOW.timestamp()
LATER = NOW + timedelta(minutes=10)


def ruc(number: int, left: float | None = 600, size: int = 100, read: bool | None = False) -> Entry:
    return Entry(f":1:migo:ruc_{number}", size, None if left is None else AT + left, read)


def recorded(*entries: Entry, node: str = NODE, now: datetime = NOW) -> Recorded:
    return record(node, entries, ":1:", now)


def states(node: str = NODE) -> dict[str, str]:
    return dict(TrackedKey.objects.filter(node=node).order_by("key").values_list("key", "state"))


def row(number: int, node: str = NODE) -> TrackedKey:
    return TrackedKey.objects.get(key=f"migo:ruc_{number}", node=node)


def cut_off(*entries: Entry) -> Iterator[Entry]:
    yield from entries
    raise InventoryError(NODE, "the node closed the connection amid its list of keys")


def test_a_new_key_gets_a_row_with_all_that_its_listing_says() -> None:
    recorded(ruc(1, left=600, size=786, read=True), ruc(2, left=None, read=None))

    one, two = row(1), row(2)
    assert (one.service, one.kind, one.identifier, one.node) == ("migo", "ruc", "1", NODE)
    assert (one.size, one.state, one.fetched, one.reads, one.last_read_at) == (786, "active", True, 0, None)
    assert (one.expires_at, one.created_at, one.seen_at) == (NOW + timedelta(seconds=600), NOW, NOW)
    assert (two.expires_at, two.fetched) == (None, None)


def left_in_the_connection() -> tuple[list[str], int]:
    """Names of the temporary tables, and SQLite's pages in memory."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relname LIKE 'key\\_%%'")
            return sorted(name for (name,) in cursor.fetchall()), 0
        cursor.execute("SELECT name FROM temp.sqlite_master")
        tables = sorted(name for (name,) in cursor.fetchall())
        cursor.execute("PRAGMA main.cache_size")
        return tables, cursor.fetchone()[0]


def told_to_end(*entries: Entry) -> Iterator[Entry]:
    yield from entries
    raise SystemExit


def test_nothing_stays_in_the_connection_whatever_ends_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_in_the_connection()
    recorded(ruc(1))
    with pytest.raises(SystemExit):
        record(NODE, told_to_end(ruc(1)), ":1:", NOW)
    assert left_in_the_connection() == before == ([], before[1])

    monkeypatch.setattr(key_table, "_count_differing", mistaken)
    with pytest.raises(ZeroDivisionError):
        recorded(ruc(1), ruc(2))
    assert left_in_the_connection() == before


def mistaken(*_args: object) -> None:
    raise ZeroDivisionError


def test_an_error_of_the_database_is_the_one_that_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a transaction that it broke not even the temporary tables can be dropped."""

    def breaks(*_args: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM no_such_table")

    monkeypatch.setattr(key_table, "_write", breaks)
    with pytest.raises(DatabaseError, match="no_such_table"), transaction.atomic():
        recorded(ruc(1))


def test_a_second_listing_that_says_the_same_writes_nothing() -> None:
    entries = [ruc(number, left=None if number % 7 == 0 else 600 + number) for number in range(500)]
    recorded(*entries)
    before = versions()
    second = recorded(*reversed(entries), now=LATER)

    assert versions() == before
    assert (second.keys, second.services["migo"].created) == (500, 0)


def versions() -> list[tuple[object, ...]]:
    """What the database itself keeps of each write; SQLite keeps nothing of the kind, so all that a row holds."""
    system = "xmin::text, ctid::text, " if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {system}t.* FROM api_service_trackedkey AS t ORDER BY id")
        return list(cursor.fetchall())


def test_only_rows_that_changed_are_written() -> None:
    recorded(*[ruc(number) for number in range(100)])
    changed = [ruc(1, size=101), ruc(2, left=601), ruc(3, read=True), ruc(4, left=None)]
    entries = [*changed, *[ruc(number, left=600.4) for number in range(5, 100)]]
    recorded(*entries, now=LATER)

    written = TrackedKey.objects.filter(seen_at=LATER).order_by("key").values_list("key", flat=True)
    assert list(written) == [f"migo:ruc_{number}" for number in range(5)]
    assert (row(1).size, row(3).fetched, row(4).expires_at) == (101, True, None)
    assert row(2).expires_at == NOW + timedelta(seconds=601)
    assert row(0).state == "expired"


def test_a_key_that_is_gone_has_expired_or_was_removed_before_its_end() -> None:
    recorded(ruc(1, left=600), ruc(2, left=603), ruc(3, left=None), ruc(4))
    counts = recorded(ruc(4, left=9000), now=NOW + timedelta(seconds=599)).services["migo"]

    assert list(states().values()) == ["expired", "removed", "removed", "active"]
    assert {row(number).seen_at for number in (1, 2, 3)} == {NOW + timedelta(seconds=599)}
    assert (counts.created, counts.removed, counts.expired) == (0, 2, 1)


def test_what_ends_while_its_node_is_listed_has_expired() -> None:
    recorded(ruc(1, left=3), ruc(2, left=3000))

    def slow() -> Iterator[Entry]:
        yield ruc(2, left=3000)
        patch.setattr("api_service.services.key_table.monotonic", lambda: 5.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api_service.services.key_table.monotonic", lambda: 0.0)
        record(NODE, slow(), ":1:", NOW)

    assert states() == {"migo:ruc_1": "expired", "migo:ruc_2": "active"}


def test_a_key_that_comes_back_keeps_its_history() -> None:
    recorded(ruc(1, left=60))
    TrackedKey.objects.update(reads=7, last_read_at=NOW)
    recorded(now=LATER)
    counts = recorded(ruc(1, left=9000), now=LATER + timedelta(minutes=1)).services["migo"]

    kept = row(1)
    assert (kept.state, kept.reads, kept.last_read_at, kept.created_at) == ("active", 7, NOW, NOW)
    assert kept.seen_at == LATER + timedelta(minutes=1)
    assert counts.created == 1


def test_expired_unread_is_what_neither_the_node_nor_a_look_up_has_read() -> None:
    recorded(*[ruc(number, left=60, read=number == 1) for number in range(5)], ruc(5, left=60, read=None))
    TrackedKey.objects.filter(key="migo:ruc_2").update(last_read_at=NOW + timedelta(seconds=1))
    TrackedKey.objects.filter(key="migo:ruc_3").update(last_read_at=NOW - timedelta(days=1))
    counts = recorded(now=LATER).services["migo"]

    # 0, 4 and 5 were never read, 3 only in an earlier life
    assert (counts.expired, counts.expired_unread) == (6, 4)


def test_a_list_that_ends_early_is_written_and_leaves_the_other_keys_unknown() -> None:
    recorded(*[ruc(number) for number in range(4)])
    TrackedKey.objects.filter(key="migo:ruc_3").update(state="removed", seen_at=NOW)
    partial = record(NODE, cut_off(ruc(0), ruc(1, size=7), ruc(9)), ":1:", LATER)

    assert partial.error == "the node closed the connection amid its list of keys"
    assert list(states().items()) == [
        ("migo:ruc_0", "active"),
        ("migo:ruc_1", "active"),
        ("migo:ruc_2", "unknown"),
        ("migo:ruc_3", "removed"),
        ("migo:ruc_9", "active"),
    ]
    assert row(1).size == 7
    assert (row(2).seen_at, partial.keys, partial.services["migo"].created) == (NOW, 3, 1)
    assert (partial.services["migo"].expired, partial.services["migo"].removed) == (0, 0)


def test_the_next_full_list_ends_the_unknown() -> None:
    recorded(*[ruc(number, left=600 + 900 * number) for number in range(3)])
    record(NODE, cut_off(), ":1:", NOW)
    assert set(states().values()) == {"unknown"}
    counts = recorded(ruc(2, left=2400), now=LATER).services["migo"]

    assert list(states().values()) == ["expired", "removed", "active"]
    assert (counts.created, counts.expired, counts.removed) == (0, 1, 1)


def test_a_key_on_two_nodes_has_two_rows_and_each_node_speaks_for_its_own() -> None:
    for node in (NODE, OTHER):
        recorded(ruc(1), ruc(2), node=node)
    recorded(ruc(1), node=OTHER)

    assert states() == {"migo:ruc_1": "active", "migo:ruc_2": "active"}
    assert states(OTHER) == {"migo:ruc_1": "active", "migo:ruc_2": "removed"}


@pytest.mark.parametrize("blocks_apart", [False, True])
def test_a_key_listed_twice_is_one_key(monkeypatch: pytest.MonkeyPatch, blocks_apart: bool) -> None:
    if blocks_apart:
        monkeypatch.setattr(key_table, "BLOCK", 2)
    counts = recorded(*[ruc(number) for number in range(5)], *[ruc(number) for number in range(3)])

    assert TrackedKey.objects.count() == counts.keys == 5
    assert (counts.services["migo"].keys, counts.services["migo"].bytes) == (5, 500)
    assert sum(counts.services["migo"].lives.values()) == 5


def test_each_service_is_counted_with_its_bytes_and_times_left() -> None:
    lives = [30, 60, 61, 901, 3601, 21_601, 86_401, 604_801, None]
    entries = [ruc(number, left=left, size=10) for number, left in enumerate(lives)]
    result = recorded(*entries, Entry(":1:nubefact:x_1", 5, AT + 60))

    assert (result.keys, result.services["nubefact"].keys, result.services["nubefact"].bytes) == (10, 1, 5)
    assert (result.services["migo"].keys, result.services["migo"].bytes, result.services["migo"].created) == (9, 90, 9)
    assert result.services["migo"].lives == {
        **dict.fromkeys(("5min", "1h", "6h", "24h", "7d", "more", "never"), 1),
        "1min": 2,
    }


def test_foreign_keys_are_counted_by_their_first_part_and_get_no_row() -> None:
    names = [
        "session.abc",
        ":1:session.abc",
        "migo:ruc_1",
        ":1:migo:ruc_ñ",
        ":1:migo:",
        "x\x00y",
        f":1:migo:{'x' * 250}",
    ]
    result = recorded(ruc(1), *[Entry(name, 1) for name in names], *[Entry(f":1:x{n}.y", 1) for n in range(200)])

    assert list(states()) == ["migo:ruc_1"]
    assert (result.foreign["session"], result.foreign["migo"]) == (2, 4)
    assert len(result.foreign) == key_table.FOREIGN_PREFIXES + 1
    assert sum(result.foreign.values()) == len(names) + 200


def test_what_the_columns_cannot_hold_is_cut_to_what_they_can() -> None:
    recorded(Entry(":1:migo:ruc_1", 2**40, 1e14))

    assert row(1).size == 2**31 - 1
    assert row(1).expires_at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    before = versions()
    recorded(Entry(":1:migo:ruc_1", 2**40, 1e14), now=LATER)
    assert versions() == before


ODD = [
    "a\\b",
    "\\N",
    "';DROP-TABLE-x;--",
    "100%",
    "%s",
    "a=b",
    "x_",
    "_x",
    "_",
    "tipo_cambio_2026-01-28",
    "tipo_x",
    "x:y_z",
]
ODD += ["None", "ruc_1~0123456789abcdef0123456789abcdef", "tipo_cambio", "k" * 60 + "_1", "i" * 245]


def test_odd_names_keep_every_character_and_are_parsed_as_everywhere_else() -> None:
    recorded(*[Entry(f":1:migo:{name}", 1) for name in ODD])

    found = {(r.key, r.service, r.kind, r.identifier) for r in TrackedKey.objects.all()}
    parsed = [(name, keys.parse(name)) for name in (f"migo:{name}" for name in ODD)]
    assert found == {(name, p.service, p.kind, p.identifier) for name, p in parsed if p}
    assert len(found) == len(ODD)


def test_the_pattern_of_the_many_agrees_with_the_parser_of_the_one() -> None:
    draw = random.Random(7)
    pattern, pieces = (
        key_table.key_pattern("p:1:"),
        ["migo", "ruc", "tipo_cambio", "_", ":", "-", "A", "ñ", " ", "\n", "~", "9" * 40],
    )
    for _ in range(20_000):
        name = "".join(draw.choices(pieces, k=draw.randint(0, 9)))
        found, parts = pattern.fullmatch("p:1:" + name), keys.parse(name)
        assert (found is None) == (parts is None), name
        if found and parts:
            assert (found[1], "other" if found[2] is None else found[2][:50]) == (parts.service, parts.kind), name


def test_an_empty_list_of_an_unknown_node_is_nothing() -> None:
    assert recorded() == Recorded()
    assert not TrackedKey.objects.exists()


def test_a_node_that_is_down_leaves_its_active_keys_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_table, "CHUNK", 3)
    for node in (NODE, OTHER):
        recorded(*[ruc(number) for number in range(10)], node=node)
    TrackedKey.objects.filter(key="migo:ruc_4", node=NODE).update(state="expired")

    assert mark_unknown(NODE) == 9
    assert mark_unknown(NODE) == 0
    assert sorted(states().values()) == ["expired", *["unknown"] * 9]
    assert set(states(OTHER).values()) == {"active"}


def test_many_chunks_and_blocks_are_as_good_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_table, "CHUNK", 7)
    monkeypatch.setattr(key_table, "BLOCK", 11)
    recorded(*[ruc(number) for number in range(100)])
    entries = [ruc(number, size=200 if number % 3 else 100) for number in range(50, 150)]
    result = recorded(*entries, now=LATER - timedelta(minutes=5))

    assert sorted(states().values()) == ["active"] * 100 + ["removed"] * 50
    sizes = TrackedKey.objects.filter(state="active").values_list("identifier", "size")
    assert dict(sizes) == {str(number): 200 if number % 3 else 100 for number in range(50, 150)}
    assert (result.services["migo"].created, result.services["migo"].removed) == (50, 50)


def test_an_error_that_is_no_inventory_error_is_not_swallowed_and_the_next_run_works() -> None:
    def broken() -> Iterable[Entry]:
        yield ruc(1)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        record(NODE, broken(), ":1:", NOW)
    recorded(ruc(2))

    assert states() == {"migo:ruc_2": "active"}


# -- other processes and threads --------------------------------------------------------------------------------------


RECORD = """
from datetime import UTC, datetime
from api_service.services.backends.base import Entry
from api_service.services.key_table import record
from django.db import transaction
now = datetime(2026, 7, 14, 15, tzinfo=UTC)
entries = [Entry(f":1:migo:ruc_{number}", 200, now.timestamp() + 600, False) for number in range(20_000)]
print("recorded", record("10.0.0.1:11211", entries, ":1:", now).keys)
"""
RUCS = 20_000
# With the rows of its third chunk written and not committed
KILLED_AMID_ITS_WRITES = f"""
import os, signal
from itertools import count
from api_service.services import key_table
staging, writes = type(key_table._staging()), count(1)
def dying(write):
    def wrapped(self, *arguments):
        write(self, *arguments)
        if next(writes) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return wrapped
staging.update, staging.insert = dying(staging.update), dying(staging.insert)
{RECORD}
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [False, True])
def test_a_process_killed_amid_its_writes_leaves_what_the_next_completes(run_python: RunPython, known: bool) -> None:
    if known:
        recorded(*[ruc(number) for number in range(RUCS)])
    process = run_python(KILLED_AMID_ITS_WRITES)
    assert process.wait(60) == -signal.SIGKILL
    written = TrackedKey.objects.filter(size=200).count()
    result = recorded(*[ruc(number, size=200) for number in range(RUCS)])

    assert written == 2 * key_table.CHUNK
    assert TrackedKey.objects.filter(size=200, state="active").count() == result.keys == RUCS
    assert result.services["migo"].created == (0 if known else RUCS - written)


@pytest.mark.django_db(transaction=True)
def test_reads_counted_during_a_run_are_neither_lost_nor_in_its_way(run_python: RunPython) -> None:
    """Both lock rows, in one order: a deadlock would fail one of them, a lost count would show in the sum."""
    recorded(*[ruc(number) for number in range(RUCS)])
    process = run_python(RECORD)
    flushes = 0
    while process.poll() is None or flushes < 3:
        for number in reversed(range(0, RUCS, 40)):
            tracking.count("migo", "ruc", str(number), Outcome.HIT)
        assert tracking.flush_now() == RUCS // 40
        flushes += 1

    assert output_of(process) == f"recorded {RUCS}\n"
    assert set(TrackedKey.objects.filter(reads__gt=0).values_list("reads", "size")) == {(flushes, 200)}
    assert TrackedKey.objects.filter(reads=flushes).count() == RUCS // 40


@pytest.mark.django_db(transaction=True)
def test_two_runs_of_one_node_at_once_leave_what_one_would(run_python: RunPython) -> None:
    """The lock that keeps them apart may have run out."""
    processes = [run_python(RECORD) for _ in range(2)]

    assert [output_of(process) for process in processes] == [f"recorded {RUCS}\n"] * 2
    assert TrackedKey.objects.filter(state="active").count() == TrackedKey.objects.count() == RUCS
