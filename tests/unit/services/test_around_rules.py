import pytest

from api_service.services.around_rules import (
    Calls,
    Queue,
    calls_of,
    of_calls,
    of_database,
    of_inventories,
    of_queues,
    of_store,
    share_of,
    without_worker,
    workers_missing,
)
from api_service.services.health_rules import Finding, Severity

QUEUES = ("default", "health", "tracking", "warming")


def told(found: list[Finding]) -> list[tuple[str, str, object, object]]:
    assert {finding.severity for finding in found} <= {Severity.WARNING}
    return [(finding.code, finding.node, finding.value, finding.limit) for finding in found]


def test_a_queue_at_its_limits_is_well_and_one_beyond_is_long_or_old() -> None:
    at_limit = of_queues({"health": Queue(100, 600.0)}, most=100, oldest_seconds=600.0)
    beyond = of_queues({"health": Queue(101, 1.0), "warming": Queue(1, 600.6)}, most=100, oldest_seconds=600.0)

    assert told(list(at_limit)) == []
    assert told(list(beyond)) == [("queue_long", "health", 101, 100), ("queue_old", "warming", 601, 600.0)]


def test_messages_that_do_not_say_when_they_were_sent_are_only_counted() -> None:
    assert told(list(of_queues({"health": Queue(5)}, most=4, oldest_seconds=0.0))) == [("queue_long", "health", 5, 4)]


def test_every_queue_that_some_worker_serves_is_well() -> None:
    answered = {"one@a": ["health", "default"], "two@b": ["warming"], "three@b": ["warming", "others"]}

    assert without_worker(QUEUES, answered, own_queue="") == (["tracking"], [])


def test_the_worker_that_runs_the_check_is_alive_by_that_fact() -> None:
    """A pool without a process of its own for commands does not answer while it runs a task."""
    assert without_worker(QUEUES, {"two@b": ["warming", "tracking", "default"]}, own_queue="health") == ([], [])


def test_when_nobody_answers_a_worker_the_others_are_unknown_and_not_dead() -> None:
    assert without_worker(QUEUES, {}, own_queue="health") == ([], ["default", "tracking", "warming"])


def test_when_nobody_answers_who_is_no_worker_all_are_missing() -> None:
    assert without_worker(QUEUES, {}, own_queue="") == (list(QUEUES), [])


def test_only_the_monitors_own_queue_makes_it_unhealthy() -> None:
    severities = {queue: workers_missing(queue, "health").severity for queue in QUEUES}

    assert severities.pop("health") is Severity.UNHEALTHY
    assert set(severities.values()) == {Severity.WARNING}


def test_calls_that_end_in_any_failure_count_against_those_that_were_answered() -> None:
    calls = calls_of({"answered": 15, "upstream_timeout": 3, "upstream_bad_answer": 2})

    assert (calls, calls.error_share, calls.answering) == (Calls(15, 5), 0.25, True)
    assert calls_of({"upstream_timeout": 1}).answering is False


def test_of_a_service_that_nobody_asked_nothing_is_known() -> None:
    assert (Calls().error_share, Calls().answering) == (None, None)
    assert list(of_calls("migo", Calls(), 0.0, 0)) == []


@pytest.mark.parametrize(
    ("answered", "failed", "said"),
    [
        (8, 2, []),  # at the limit
        (7, 3, [("upstream_errors", "migo", 0.3, 0.2)]),
        (0, 9, []),  # too few to be a share
        (0, 10, [("upstream_errors", "migo", 1.0, 0.2)]),
    ],
)
def test_a_share_of_errors_is_told_of_enough_calls_only(answered: int, failed: int, said: list[object]) -> None:
    assert told(list(of_calls("migo", Calls(answered, failed), 0.2, 10))) == said


def test_a_database_is_slow_beyond_its_limit() -> None:
    assert told(list(of_database(100.0, 100.0))) == []
    assert told(list(of_database(250.04, 100.0))) == [("database_slow", "", 250.0, 100.0)]


@pytest.mark.parametrize(
    ("read_ms", "limit_ms", "tripped", "said"),
    [
        (499.0, 500.0, [], []),
        (640.4, 500.0, [], ["640 ms > 500 ms"]),
        (640.4, 0.0, [], []),  # 0 waits as long as it takes
        (1.0, 500.0, ["stored answers", "answers"], ["answers, stored answers"]),
    ],
)
def test_the_store_is_off_when_it_is_slower_than_anybody_waits_or_was_given_up(
    read_ms: float, limit_ms: float, tripped: list[str], said: list[str]
) -> None:
    assert [finding.value for finding in of_store(read_ms, limit_ms, tripped)] == said


def test_an_inventory_is_old_beyond_its_limit_and_none_when_it_was_never_begun() -> None:
    ages = {"a:1": 1800.0, "b:1": 1800.6, "c:1": None}

    assert told(list(of_inventories(ages, 1800.0))) == [("tracking_old", "b:1", 1801, 1800.0)]


def test_a_share_is_known_only_of_a_whole_that_is_known() -> None:
    assert [share_of(3, 12), share_of(3, None), share_of(3, 0), share_of(3, 2)] == [0.25, None, None, 1.0]
