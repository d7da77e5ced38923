"""What many threads hand over is written together, once, and never lost while there is room for it."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import add
from threading import Event
from time import monotonic

import pytest
from django.db import OperationalError

from api_service.services import group_commit
from api_service.services.bounded import Breaker
from api_service.services.group_commit import GroupCommit
from tests.waiting import wait_until


class Table:
    """Takes what is written, once it may."""

    def __init__(self) -> None:
        self.batches: list[dict[str, int]] = []
        self.open = Event()
        self.open.set()
        self.down = False
        self.impossible: set[str] = set()
        self.asked_at = float("inf")

    def write(self, items: Mapping[str, int]) -> None:
        self.asked_at = monotonic()
        assert self.open.wait(10)
        if self.down:
            raise OperationalError("could not connect to server")
        if self.impossible & items.keys():
            raise ValueError("surrogates not allowed")
        self.batches.append(dict(items))

    @property
    def total(self) -> dict[str, int]:
        keys = {key for batch in self.batches for key in batch}
        return {key: sum(batch.get(key, 0) for batch in self.batches) for key in keys}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "RETRY_SECONDS", 0.01)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def group(table: Table) -> Iterator[GroupCommit[str, int]]:
    made: GroupCommit[str, int] = GroupCommit(Breaker("numbers"), table.write, add, most=100)
    yield made
    table.down = False
    table.open.set()
    made.close(10)


def test_what_was_handed_over_is_written_when_the_call_returns(table: Table, group: GroupCommit[str, int]) -> None:
    assert group.hand_over({"a": 1}, 10)
    assert table.batches == [{"a": 1}]


def test_all_that_comes_while_a_batch_is_written_goes_into_the_next_one(
    table: Table, group: GroupCommit[str, int]
) -> None:
    table.open.clear()
    first = group.put({"a": 1})
    wait_until(lambda: group._writing)
    with ThreadPoolExecutor(20) as pool:
        written = [pool.submit(group.hand_over, {f"b{n}": 1, "all": 1}, 10) for n in range(20)]
        wait_until(lambda: len(group) == 22)
        table.open.set()
        assert all(one.result(10) for one in written)

    first.result(10)
    assert [len(batch) for batch in table.batches] == [1, 21]
    assert table.batches[1]["all"] == 20


def test_who_waits_for_a_table_that_takes_nothing_leaves_in_time_and_the_next_does_not_wait(
    table: Table, group: GroupCommit[str, int]
) -> None:
    table.open.clear()
    assert group.hand_over({"a": 1}, 0.05) is False
    assert group.hand_over({"b": 1}, 3600) is False
    table.open.set()

    assert group.flush(10)
    assert table.total == {"a": 1, "b": 1}
    assert group.breaker.is_open is False
    assert group.hand_over({"c": 1}, 10)


def test_a_slow_write_does_not_make_the_callers_wait_again(table: Table, group: GroupCommit[str, int]) -> None:
    """Only one that ends inside the limit says that waiting is worth it."""
    table.open.clear()
    group.hand_over({"a": 1}, 0.05)
    # By the count of the writer, which began after the caller did
    wait_until(lambda: monotonic() - table.asked_at > 0.05)
    table.open.set()
    wait_until(lambda: not len(group))
    assert group.breaker.is_open

    assert group.hand_over({"b": 1}, 3600) is False
    wait_until(lambda: not group.breaker.is_open)


def test_a_failure_is_told_at_once_and_what_failed_is_written_later_and_once(
    table: Table, group: GroupCommit[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    table.down = True
    with caplog.at_level(logging.WARNING):
        assert group.hand_over({"a": 1}, 3600) is False
        assert group.hand_over({"a": 2, "b": 5}, 3600) is False
    assert group.waiting(["a", "b", "c"]) == {"a": 3, "b": 5}
    table.down = False

    wait_until(lambda: not len(group))
    assert table.total == {"a": 3, "b": 5}
    assert group.waiting(["a", "b"]) == {}
    assert [record.levelname for record in caplog.records if "could not connect" in record.message] == ["WARNING"]


def test_beyond_its_room_the_oldest_are_dropped_and_counted(
    table: Table, group: GroupCommit[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    table.down = True
    for number in range(130):
        group.put({f"{number:03}": 1})
    table.down = False

    assert group.flush(10)
    assert sorted(table.total) == [f"{number:03}" for number in range(30, 130)]
    assert sum(int(r.args[1]) for r in caplog.records if "were dropped" in r.msg and r.args) == 30  # type: ignore[call-overload,index]


def test_what_cannot_be_written_at_all_does_not_hold_up_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    written: list[str] = []

    def write(items: Mapping[str, int]) -> None:
        if "impossible" in items:
            raise ValueError("surrogates not allowed")
        written.extend(items)

    group: GroupCommit[str, int] = GroupCommit(Breaker("numbers"), write, add, most=100)
    assert group.hand_over({"impossible": 1}, 10) is False
    assert group.hand_over({"a": 1}, 10) is True
    group.close(10)

    assert written == ["a"]
    assert "1 were lost" in caplog.text


def test_only_the_item_that_cannot_be_written_is_lost_of_its_batch(
    table: Table, group: GroupCommit[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    table.impossible = {"07", "31"}
    table.open.clear()
    group.put({"first": 1})
    wait_until(lambda: group._writing)
    with ThreadPoolExecutor(51) as pool:
        names = [f"{number:02}" for number in range(50)]
        written = {name: pool.submit(group.hand_over, {name: 1}, 10) for name in names}
        wait_until(lambda: len(group) == 51)
        flushed = pool.submit(group.flush, 10)
        wait_until(group._hurry.is_set)
        table.open.set()
        assert {name for name, fate in written.items() if not fate.result(10)} == table.impossible

    assert table.total == dict.fromkeys({"first", *written} - table.impossible, 1)
    assert flushed.result(10) is False, "two are not written"
    assert group.flush(10) is True
    assert [record.getMessage() for record in caplog.records] == ["numbers: 2 were lost"]


def test_a_database_that_goes_down_amid_the_halves_gets_each_item_once(
    table: Table, group: GroupCommit[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    table.impossible = {"00"}
    write, calls = table.write, list[int]()

    def goes_down(items: Mapping[str, int]) -> None:
        calls.append(len(items))
        if len(calls) == 6:
            raise OperationalError("could not connect to server")
        write(items)

    monkeypatch.setattr(group, "_write", goes_down)
    group.put({f"{number:02}": 1 for number in range(16)})
    wait_until(lambda: not len(group))

    assert table.total == {f"{number:02}": 1 for number in range(1, 16)}
    assert len(calls) > 6


def test_the_end_of_a_process_waits_for_a_dead_database_no_longer_than_it_may(
    table: Table, group: GroupCommit[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    table.down = True
    group.put({"a": 1, "b": 2})
    group.close(0.1)

    assert "the process ends, 2 were not written" in caplog.text


def test_one_that_lingers_writes_together_what_came_meanwhile_and_a_flush_ends_the_waiting(table: Table) -> None:
    group: GroupCommit[str, int] = GroupCommit(Breaker("patient"), table.write, add, 100, linger=lambda: 3600.0)
    for _ in range(5):
        group.put({"a": 1})
    waiting = list(table.batches)
    flushed = group.flush(10)
    group.put({"a": 1})
    group.close(10)

    assert (waiting, flushed) == ([], True)
    assert table.batches == [{"a": 5}, {"a": 1}]


def test_one_that_lingers_writes_when_its_time_is_over(table: Table) -> None:
    group: GroupCommit[str, int] = GroupCommit(Breaker("patient"), table.write, add, 100, linger=lambda: 0.01)
    group.put({"a": 1})
    wait_until(lambda: table.batches)
    group.close(10)

    assert table.total == {"a": 1}
