from dataclasses import replace
from typing import Any

import pytest

from api_service.services.health_rules import Finding, Severity
from api_service.services.node_facts import NodeFacts, Since, with_rates
from api_service.services.node_rules import NODE_DOWN, PATH_BROKEN, RULES, Limits, Unjudged, judged

NODE = "10.0.0.1:11211"
LIMITS = Limits(
    latency_ms=50,
    memory_share=0.95,
    evictions_per_minute=60,
    connections_share=0.9,
    rejected_per_minute=0,
    hit_ratio=0.2,
    hit_ratio_gets=200,
    fragmentation=2.0,
)
FINE = NodeFacts(
    NODE,
    reachable=True,
    latency_ms=0.3,
    latency_worst_ms=0.9,
    version="1.6.18",
    pid=7,
    booted_at=1000.0,
    items=5,
    bytes_used=50,
    bytes_limit=100,
    evictions=100,
    expired_unfetched=10,
    hits=1000,
    misses=100,
    connections=10,
    max_connections=1024,
    rejected_connections=3,
)
MEBIBYTE = 2**20
REDIS = replace(
    FINE,
    bytes_used=100 * MEBIBYTE,
    bytes_limit=200 * MEBIBYTE,
    maxmemory_policy="allkeys-lru",
    fragmentation=1.1,
    role="master",
)
DOWN = NodeFacts(NODE, reachable=False, error="ConnectionRefusedError: [Errno 111] Connection refused")


def judge(
    facts: NodeFacts, *, before: NodeFacts | None = FINE, alias_error: str = "", limits: Limits = LIMITS
) -> tuple[list[Finding], Unjudged]:
    """A run five minutes after the one that saw `before`."""
    since = {} if before is None else {NODE: Since(before, 300)}
    return judged([with_rates(facts, since.get(facts.node))], alias_error, since, limits)


def codes(facts: NodeFacts, **options: Any) -> list[str]:
    return [finding.code for finding in judge(facts, **options)[0]]


def unknown(facts: NodeFacts, **options: Any) -> set[str]:
    return {code for code, _node in judge(facts, **options)[1]}


def test_a_node_in_order_has_no_findings_at_the_first_run_and_later() -> None:
    assert codes(FINE, before=None) == []
    assert codes(FINE) == []
    assert codes(REDIS, before=REDIS) == []


@pytest.mark.parametrize(
    ("code", "just_enough", "too_much"),
    [
        ("node_slow", {"latency_ms": 50.0}, {"latency_ms": 50.1}),
        ("evictions_high", {"evictions": 100 + 300}, {"evictions": 100 + 301}),
        ("memory_high", {"evictions": 101, "bytes_used": 95}, {"evictions": 101, "bytes_used": 96}),
        ("memory_high", {"evictions": 100, "bytes_used": 100}, {"evictions": 101, "bytes_used": 100}),
        ("connections_high", {"connections": 921}, {"connections": 922}),
        ("connections_rejected", {"rejected_connections": 3}, {"rejected_connections": 4}),
        ("hit_ratio_low", {"hits": 1040, "misses": 260}, {"hits": 1039, "misses": 261}),
        ("hit_ratio_low", {"hits": 1000, "misses": 299}, {"hits": 1000, "misses": 300}),
        ("node_restarted", {"booted_at": 1003.0}, {"booted_at": 1003.1}),
        ("node_restarted", {"pid": 7}, {"pid": 8}),
    ],
)
def test_a_limit_is_a_warning_once_it_is_passed(
    code: str, just_enough: dict[str, Any], too_much: dict[str, Any]
) -> None:
    assert codes(replace(FINE, **just_enough)) == []
    (found,) = judge(replace(FINE, **too_much))[0]
    assert (found.code, found.severity, found.node) == (code, Severity.WARNING, NODE)


@pytest.mark.parametrize(
    ("code", "in_order", "trouble"),
    [
        ("redis_policy", {"maxmemory_policy": "volatile-lru"}, {"maxmemory_policy": "noeviction"}),
        ("redis_policy", {"maxmemory_policy": "noeviction", "bytes_limit": None}, {"maxmemory_policy": "noeviction"}),
        ("redis_fragmented", {"fragmentation": 2.0}, {"fragmentation": 2.01}),
        ("redis_fragmented", {"fragmentation": 9.0, "bytes_used": MEBIBYTE}, {"fragmentation": 9.0}),
        ("redis_replica", {"role": "master"}, {"role": "slave", "link": "down"}),
    ],
)
def test_redis_is_judged_by_what_it_alone_has(code: str, in_order: dict[str, Any], trouble: dict[str, Any]) -> None:
    assert codes(replace(REDIS, **in_order), before=REDIS) == []
    assert codes(replace(REDIS, **trouble), before=REDIS) == [code]


@pytest.mark.parametrize(("link", "said"), [("up", "link up"), ("down", "link down"), ("", "link ?")])
def test_a_replica_says_how_its_link_is(link: str, said: str) -> None:
    (found,), _unknown = judge(replace(REDIS, role="slave", link=link), before=REDIS)
    assert found.value == said


def test_a_redis_that_evicts_nothing_is_full_before_it_refuses_writes() -> None:
    full = replace(REDIS, maxmemory_policy="noeviction", bytes_used=191 * MEBIBYTE)

    assert codes(full, before=REDIS) == ["memory_high", "redis_policy"]


def test_no_node_is_judged_by_one_round_trip_that_took_long() -> None:
    assert codes(replace(FINE, latency_worst_ms=900.0)) == []


def test_a_limit_of_nothing_switches_the_rule_off() -> None:
    off = replace(LIMITS, hit_ratio=0.0, fragmentation=0.0)
    poor = replace(REDIS, hits=1000, misses=1100, fragmentation=9.0)

    assert codes(poor, before=REDIS) == ["hit_ratio_low", "redis_fragmented"]
    assert codes(poor, before=REDIS, limits=off) == []
    assert not unknown(poor, before=REDIS, limits=off)


# -- what the facts do not tell


def test_a_node_that_does_not_answer_is_down_and_nothing_else_is_known_of_it() -> None:
    found, not_judged = judge(DOWN)

    assert found == [Finding("node_down", Severity.UNHEALTHY, NODE, DOWN.error)]
    assert not_judged == {(code, NODE) for code in RULES}


@pytest.mark.parametrize("before", [None, DOWN], ids=["first run", "down before"])
def test_without_a_run_to_compare_with_what_is_counted_is_unknown(before: NodeFacts | None) -> None:
    counted = {"node_restarted", "evictions_high", "memory_high", "connections_rejected", "hit_ratio_low"}

    assert unknown(FINE, before=before) == counted


def test_after_a_restart_the_counters_tell_nothing_until_the_next_run() -> None:
    fresh = replace(FINE, pid=8, evictions=5000, rejected_connections=0, hits=30, misses=10)

    assert codes(fresh) == ["node_restarted"]
    assert unknown(fresh) == {"evictions_high", "memory_high", "connections_rejected", "hit_ratio_low"}


def test_a_few_gets_say_nothing_of_a_cache() -> None:
    assert unknown(replace(FINE, hits=1000, misses=299)) == {"hit_ratio_low"}
    assert not unknown(replace(FINE, hits=1200, misses=100))


def test_a_server_that_does_not_say_how_full_it_is_is_not_called_well() -> None:
    mute = replace(FINE, connections=None, latency_ms=None)

    assert {"connections_high", "node_slow"} <= unknown(mute)


def test_a_node_that_serves_and_tells_no_statistics_is_told_as_that_and_not_as_well_or_down() -> None:
    mute = NodeFacts(NODE, reachable=True, latency_ms=0.3, latency_worst_ms=0.9, stats_error="NOPERM info")
    found, not_judged = judge(mute)

    assert found == [Finding("reading_blind", Severity.WARNING, NODE, "NOPERM info")]
    assert {code for code, _node in not_judged} == set(RULES) - {"node_slow", "reading_blind"}


def test_memory_is_left_open_where_more_is_thrown_away_than_it_warns_of() -> None:
    found, not_judged = judge(replace(FINE, evictions=1000, bytes_used=100))

    assert [finding.code for finding in found] == ["evictions_high"]
    assert ("memory_high", NODE) in not_judged


# -- the application's own path


def test_the_applications_own_path_is_broken_only_if_no_dead_node_explains_it() -> None:
    (found,) = judge(FINE, alias_error="the write was refused")[0]

    assert found == Finding("cache_path_broken", Severity.UNHEALTHY, value="the write was refused")
    assert codes(DOWN, alias_error="cache node is unavailable") == [NODE_DOWN]
    assert (PATH_BROKEN, "") in judge(DOWN, alias_error="cache node is unavailable")[1]
    assert (PATH_BROKEN, "") not in judge(DOWN)[1]


def test_every_rule_finds_what_it_is_called_by() -> None:
    """The table names the codes for whoever explains them: a rule under another's name would be told as that."""
    trouble = replace(
        REDIS,
        pid=8,
        latency_ms=99.0,
        connections=1020,
        maxmemory_policy="noeviction",
        bytes_used=199 * MEBIBYTE,
        fragmentation=3.0,
        role="slave",
    )
    busy = replace(FINE, evictions=9000, rejected_connections=9, hits=1000, misses=900)
    mute = replace(FINE, stats_error="unknown command")
    found = [*judge(trouble, before=REDIS)[0], *judge(busy)[0], *judge(mute)[0]]

    assert {finding.code for finding in found} == set(RULES)
