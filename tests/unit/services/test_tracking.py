from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from api_service.services import lookup_counts, tracking
from api_service.services.lookup_counts import Batch, Entry
from api_service.services.outcomes import Outcome
from api_service.services.tracking import ReadCounter


def entries(*identifiers: str, at: float = 1.0) -> Iterator[Entry]:
    return (("migo", "ruc", identifier, Outcome.HIT, at, None) for identifier in identifiers)


def reads(batch: Batch) -> dict[str, int]:
    return {identifier: number for (_service, _kind, identifier), number in batch.reads.items()}


def total(batch: Batch) -> int:
    return sum(batch.outcomes.values())


def test_look_ups_of_one_identifier_are_one_count_with_the_last_time() -> None:
    batch = Batch()
    batch.fold([*entries("1", "2", at=1.0), *entries("1", at=2.0)])

    assert reads(batch) == {"1": 2, "2": 1}
    assert batch.last_read == {("migo", "ruc", "1"): 2.0, ("migo", "ruc", "2"): 1.0}
    assert batch.outcomes == {("migo", "ruc", Outcome.HIT): 3}


def test_what_is_taken_back_adds_to_what_came_meanwhile_and_the_later_time_stays() -> None:
    older, batch = Batch(), Batch()
    older.fold(entries("1", "1", "2", at=1.0))
    batch.fold(entries("1", "3", at=5.0))
    batch.absorb(older)

    assert reads(batch) == {"1": 3, "3": 1, "2": 1}
    assert batch.last_read["migo", "ruc", "1"] == 5.0
    assert total(batch) == 5


def test_parts_hold_everything_once_and_the_first_one_the_outcomes() -> None:
    batch = Batch(dropped=4)
    batch.fold(entries(*"1234567", *"123"))
    parts = list(batch.parts(3))

    assert [len(part.reads) for part in parts] == [3, 3, 1]
    assert [total(part) for part in parts] == [10, 0, 0]
    assert [part.dropped for part in parts] == [4, 0, 0]
    assert {name: number for part in parts for name, number in reads(part).items()} == reads(batch)
    assert [set(part.last_read) == set(part.reads) for part in parts] == [True] * 3


def test_outcomes_without_an_identifier_that_fits_are_a_part_too() -> None:
    batch = Batch()
    batch.fold(entries("x" * 251))

    (part,) = batch.parts(3)
    assert (part.reads, total(part), part.dropped) == ({}, 1, 1)
    assert list(Batch().parts(3)) == []


def test_endless_services_and_kinds_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_counts, "MAX_OUTCOMES", 3)
    batch = Batch()
    batch.fold((service, kind, "1", Outcome.MISS, 1.0, None) for service, kind in product("abcd", "xyz"))

    assert total(batch) == 12
    assert batch.outcomes["(others)", "(others)", Outcome.MISS] == 9
    assert len(batch.outcomes) == 4


def test_a_look_up_does_not_wait_while_others_are_added_up() -> None:
    counter = ReadCounter()
    counter.count("migo", "ruc", "1", Outcome.HIT)
    with counter._folding:
        for _ in range(2 * tracking.FOLD_AT):
            counter.count("migo", "ruc", "1", Outcome.HIT)

    assert len(counter._entries) == 2 * tracking.FOLD_AT + 1


def test_eight_threads_that_nobody_flushes_stay_within_the_bound_and_lose_nothing() -> None:
    counter, longest = ReadCounter(), []

    def count(thread: int) -> None:
        for number in range(20_000):
            counter.count("migo", "ruc", str(number % 50), Outcome.HIT)
        longest.append(len(counter._entries))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    counter._fold()

    assert max(longest) <= tracking.MAX_UNFOLDED + 8
    assert total(counter._batch) == 160_000
    assert sum(counter._batch.reads.values()) == 160_000
