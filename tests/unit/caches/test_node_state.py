import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from api_service.caches import node_state
from api_service.caches.errors import CacheOutage, NodeUnavailable
from api_service.caches.node_state import NodeState


def down_at(now: float) -> NodeState:
    state = NodeState("cache:11211", retry_interval=5)
    state.failed(TimeoutError("timed out"), now)
    return state


def is_admitted(state: NodeState, now: float) -> bool:
    try:
        state.admit(now)
    except NodeUnavailable:
        return False
    return True


def test_a_dead_node_is_left_alone_until_the_retry_time() -> None:
    state = down_at(100)
    assert [is_admitted(state, now) for now in (100, 104.9)] == [False, False]
    assert is_admitted(state, 105)


def test_exactly_one_thread_claims_the_probe() -> None:
    state, together = down_at(100), Barrier(16)

    def try_it(_number: int) -> bool:
        together.wait(timeout=10)
        return is_admitted(state, 105)

    with ThreadPoolExecutor(16) as threads:
        admitted = list(threads.map(try_it, range(16)))
    assert admitted.count(True) == 1


def test_a_probe_that_never_reports_delays_the_next_by_one_interval_only() -> None:
    state = down_at(100)
    assert is_admitted(state, 105)
    assert not is_admitted(state, 109.9)
    assert is_admitted(state, 110)


def test_a_node_that_answers_again_is_taken_back() -> None:
    state = down_at(100)
    state.succeeded(106)
    assert is_admitted(state, 106)
    assert not state.troubled


def test_each_failed_call_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(node_state, "on_failure", [told.append])
    state = down_at(100)
    state.failed(TimeoutError("timed out"), 105)
    assert told == [state.node] * 2


def test_going_down_and_coming_back_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="api_service.caches")
    state = down_at(100)
    for now in range(101, 130):
        state.failed(ConnectionRefusedError("refused"), now)
    state.succeeded(131)
    state.succeeded(132)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "cache:11211 is down" in caplog.messages[0]
    assert "is back after 31.0 s (30 failed calls)" in caplog.messages[1]


def test_an_outage_names_node_and_cause_and_survives_pickling() -> None:
    error: NodeUnavailable = pickle.loads(pickle.dumps(NodeUnavailable("cache:11211", "TimeoutError: timed out")))
    assert issubclass(NodeUnavailable, CacheOutage)
    assert (error.node, error.cause) == ("cache:11211", "TimeoutError: timed out")
    assert str(error) == "cache node cache:11211 is unavailable: TimeoutError: timed out"
