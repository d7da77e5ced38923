from dataclasses import replace

import pytest

from api_service.services.health_rules import (
    Finding,
    Limits,
    NodeFacts,
    Severity,
    Since,
    evictions_per_minute,
    findings,
    hit_ratio,
    restarted,
    verdict,
)

NODE = "10.0.0.1:11211"
LIMITS = Limits(latency_ms=50, memory_share=0.95, evictions_per_minute=60, connections_share=0.9)
FINE = NodeFacts(
    NODE,
    reachable=True,
    latency_ms=0.3,
    version="1.6.18",
    pid=7,
    booted_at=1000.0,
    items=5,
    bytes_used=50,
    bytes_limit=100,
    evictions=100,
    hits=1000,
    misses=100,
    connections=10,
    max_connections=1024,
)
DOWN = NodeFacts(NODE, reachable=False, error="ConnectionRefusedError: [Errno 111] Connection refused")
BEFORE = {NODE: Since(FINE, 300)}


def codes(facts: NodeFacts, since: dict[str, Since] | None = None, alias_error: str = "") -> list[str]:
    return [found.code for found in findings([facts], alias_error, BEFORE if since is None else since, LIMITS)]


def test_a_node_in_order_has_no_findings_at_the_first_run_and_later() -> None:
    assert codes(FINE, {}) == []
    assert codes(FINE) == []
    assert verdict([]) is Severity.HEALTHY


def test_a_node_that_does_not_answer_is_down_and_nothing_else_is_said_of_it() -> None:
    (found,) = findings([DOWN], "", BEFORE, LIMITS)

    assert found == Finding("node_down", Severity.UNHEALTHY, NODE, DOWN.error)


@pytest.mark.parametrize(
    ("code", "just_enough", "too_much"),
    [
        ("node_slow", {"latency_ms": 50.0}, {"latency_ms": 50.1}),
        ("evictions_high", {"evictions": 100 + 300}, {"evictions": 100 + 301}),
        ("memory_high", {"evictions": 101, "bytes_used": 95}, {"evictions": 101, "bytes_used": 96}),
        ("memory_high", {"evictions": 100, "bytes_used": 100}, {"evictions": 101, "bytes_used": 100}),
        ("connections_high", {"connections": 921}, {"connections": 922}),
        ("node_restarted", {"booted_at": 1003.0}, {"booted_at": 1003.1}),
        ("node_restarted", {"pid": 7}, {"pid": 8}),
    ],
)
def test_a_limit_is_a_warning_once_it_is_passed(
    code: str, just_enough: dict[str, float], too_much: dict[str, float]
) -> None:
    assert codes(replace(FINE, **just_enough)) == []  # type: ignore[arg-type]
    assert codes(replace(FINE, **too_much)) == [code]  # type: ignore[arg-type]
    assert verdict(findings([replace(FINE, **too_much)], "", BEFORE, LIMITS)) is Severity.WARNING  # type: ignore[arg-type]


def test_the_applications_own_path_is_broken_only_if_no_dead_node_explains_it() -> None:
    (found,) = findings([FINE], "the write was refused", BEFORE, LIMITS)

    assert (found.code, found.severity, found.value) == (
        "cache_path_broken",
        Severity.UNHEALTHY,
        "the write was refused",
    )
    assert codes(DOWN, alias_error="cache node is unavailable") == ["node_down"]


def test_the_worst_comes_first_and_makes_the_verdict() -> None:
    slow, dead = replace(FINE, node="a", latency_ms=99.0), replace(DOWN, node="b")
    found = findings([slow, dead], "", {}, LIMITS)

    assert [(one.code, one.node) for one in found] == [("node_down", "b"), ("node_slow", "a")]
    assert verdict(found) is Severity.UNHEALTHY
    assert found[0].as_json()["severity"] == "unhealthy"


@pytest.mark.parametrize(
    ("now", "before"),
    [(FINE, None), (DOWN, FINE), (replace(FINE, pid=8), DOWN), (replace(FINE, booted_at=None), FINE), (FINE, FINE)],
    ids=["first run", "down now", "down before", "says no boot time", "the same"],
)
def test_nothing_is_called_a_restart_without_two_readings_that_differ(now: NodeFacts, before: NodeFacts | None) -> None:
    assert not restarted(now, before)


def test_counters_after_a_restart_begin_anew() -> None:
    fresh = replace(FINE, pid=8, evictions=5000, hits=30, misses=10)

    assert evictions_per_minute(fresh, BEFORE[NODE]) == 0.0
    assert hit_ratio(fresh, BEFORE[NODE]) == 0.75


def test_the_hit_ratio_is_of_the_time_since_the_previous_run() -> None:
    assert hit_ratio(replace(FINE, hits=1030, misses=110), BEFORE[NODE]) == 0.75
    assert hit_ratio(FINE, None) == pytest.approx(1000 / 1100)
    assert hit_ratio(FINE, BEFORE[NODE]) is None
    assert hit_ratio(DOWN, None) is None


@pytest.mark.parametrize(("hits", "misses"), [(10, 200), (2000, 0), (0, 0)])
def test_counters_that_were_set_back_never_give_a_ratio_beyond_0_and_1(hits: int, misses: int) -> None:
    ratio = hit_ratio(replace(FINE, hits=hits, misses=misses), BEFORE[NODE])

    assert ratio is None or 0 <= ratio <= 1
    assert evictions_per_minute(replace(FINE, evictions=0), BEFORE[NODE]) == 0.0


def test_evictions_need_a_previous_run_that_lies_in_the_past() -> None:
    evicting = replace(FINE, evictions=700)

    assert evictions_per_minute(evicting, BEFORE[NODE]) == 120
    assert evictions_per_minute(evicting, None) == 0.0
    assert evictions_per_minute(evicting, Since(FINE, 0)) == 0.0
    assert evictions_per_minute(evicting, Since(DOWN, 300)) == 0.0
