import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from api_service.services import metrics
from api_service.services.single_flight import SingleFlight
from tests.waiting import wait_until


class Gate:
    """An action that says when it began and ends when it is let."""

    def __init__(self, result: Callable[[], str]) -> None:
        self.result = result
        self.calls = 0
        self.began = threading.Event()
        self.let = threading.Event()

    def __call__(self) -> str:
        self.calls += 1
        self.began.set()
        assert self.let.wait(10)
        return self.result()


def refuse() -> str:
    raise LookupError("the vendor refused")


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One for each that has joined another's flight: from then on it cannot lead one of its own."""
    joined: list[str] = []
    monkeypatch.setattr(metrics, "waited", joined.append)
    return joined


def join(
    pool: ThreadPoolExecutor, flight: SingleFlight[str], gate: Gate, joined: list[str], followers: int
) -> list[Future[str]]:
    """A leader and its followers, all of them on the flight."""
    leader = pool.submit(flight.do, "key", gate)
    assert gate.began.wait(10)
    waiting = [pool.submit(flight.do, "key", gate) for _ in range(followers)]
    wait_until(lambda: len(joined) == followers)
    return [leader, *waiting]


def test_one_asks_and_all_get_the_answer(joined: list[str]) -> None:
    gate, flight = Gate(lambda: "answer"), SingleFlight[str](10)
    with ThreadPoolExecutor(17) as pool:
        futures = join(pool, flight, gate, joined, 16)
        gate.let.set()

    assert [future.result() for future in futures] == ["answer"] * 17
    assert gate.calls == 1


def test_the_leaders_exception_reaches_those_who_joined_and_the_next_caller_flies_again(joined: list[str]) -> None:
    gate, flight = Gate(refuse), SingleFlight[str](10)
    with ThreadPoolExecutor(5) as pool:
        futures = join(pool, flight, gate, joined, 4)
        gate.let.set()

    assert [type(future.exception()) for future in futures] == [LookupError] * 5
    assert gate.calls == 1
    assert flight.do("key", lambda: "fresh") == "fresh"


def test_a_follower_waits_no_longer_than_it_is_told(joined: list[str]) -> None:
    gate, flight = Gate(lambda: "late"), SingleFlight[str](0.05)
    with ThreadPoolExecutor(2) as pool:
        leader, follower = join(pool, flight, gate, joined, 1)
        with pytest.raises(TimeoutError):
            follower.result(10)
        gate.let.set()

    assert leader.result() == "late"


def test_different_keys_do_not_wait_for_each_other(joined: list[str]) -> None:
    gate, flight = Gate(lambda: "slow"), SingleFlight[str](10)
    with ThreadPoolExecutor(2) as pool:
        (leader,) = join(pool, flight, gate, joined, 0)
        assert flight.do("another key", lambda: "quick") == "quick"
        assert not leader.done()
        gate.let.set()
