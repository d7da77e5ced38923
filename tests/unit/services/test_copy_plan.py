from collections import Counter

import pytest

from api_service.services import copy_plan
from api_service.services.backends import Entry
from api_service.services.copy_plan import Marks, NodeJSON, Reason, Sample, Shares, Verdict, compare

NOW = 1_795_000_000.0


def value(born: float, ends: float | None = None, data: str = "1") -> bytes:
    end = "null" if ends is None else str(ends)
    return f'{{"v":1,"t":{born},"e":{end},"d":{data}}}'.encode()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("SERVER_ERROR object too large for cache", Reason.TOO_LARGE),
        ("SERVER_ERROR out of memory storing object", Reason.NO_MEMORY),
        ("command not allowed when used memory > 'maxmemory'.", Reason.NO_MEMORY),
        ("the key has spaces or control characters", Reason.INVALID_KEY),
        ("READONLY", Reason.REFUSED),
    ],
)
def test_words_of_a_server_become_a_reason(words: str, reason: Reason) -> None:
    assert copy_plan.reason_of(words) is reason


def test_a_key_ends_at_the_earlier_of_its_two_ends() -> None:
    assert copy_plan.end_of(value(1, 50.5), 60.0) == 50.5
    assert copy_plan.end_of(value(1, 70.5), 60.0) == 60.0
    assert copy_plan.end_of(value(1, 70.5), None) == 70.5
    assert copy_plan.end_of(value(1), 60.0) == 60.0
    assert copy_plan.end_of(value(1), None) is None
    assert copy_plan.end_of(b"7", 60.0) == 60.0


def test_only_a_later_birth_is_newer() -> None:
    assert copy_plan.is_newer(value(2.5), value(2.4))
    assert not copy_plan.is_newer(value(2.5), value(2.5))
    assert not copy_plan.is_newer(b"[1]", value(2.5))
    assert not copy_plan.is_newer(value(2.5), b"[1]")


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        (value(1), value(1), Verdict.SAME),
        (None, value(1), Verdict.GONE),
        (None, None, Verdict.GONE),
        (value(1, NOW - 1), None, Verdict.GONE),
        (value(1, NOW + 60), None, Verdict.MISSING),
        (value(1), value(2), Verdict.NEWER_THERE),
        (value(2), value(1), Verdict.DIFFERS),
        (value(1, data="1"), value(1, data="2"), Verdict.DIFFERS),
        (value(150), value(1), Verdict.CHANGED),
        (b"7", b"8", Verdict.DIFFERS),
    ],
)
def test_what_became_of_a_value(source: bytes | None, target: bytes | None, verdict: Verdict) -> None:
    assert compare(source, target, 100.0, NOW) is verdict


def test_only_keys_of_ours_where_the_cache_looks_are_chosen() -> None:
    names = [":1:migo:ruc_1", ":1:migo:ruc_2", ":1:session.abc", ":1:migo:a b"]
    skipped = Counter[str]()
    found = copy_plan.chosen((Entry(name, 5) for name in names), ":1:", lambda key: key != ":1:migo:ruc_2", skipped)

    assert [entry.key for entry in found] == [":1:migo:ruc_1"]
    assert skipped == {Reason.MISPLACED: 1}


def test_batches_are_bounded_in_number_and_bytes() -> None:
    small = [Entry(str(number), 100) for number in range(copy_plan.BATCH + 1)]
    large = [Entry(str(number), copy_plan.BATCH_BYTES // 2 + 1) for number in range(3)]

    assert [len(batch) for batch in copy_plan.sized(small)] == [copy_plan.BATCH, 1]
    assert [len(batch) for batch in copy_plan.sized(large)] == [1, 1, 1]
    assert list(copy_plan.sized([])) == []


def test_marks_tell_what_is_missing_and_has_not_ended() -> None:
    copied, there = Marks(), Marks()
    for number in range(1000):
        copied.add(f"key{number}", NOW + 60 if number % 2 else None)
        if number >= 10:
            there.add(f"key{number}", None)
    for number in range(5):
        copied.add(f"ended{number}", NOW + 1)

    assert len(copied) == 1005
    assert copied.missing_from(there, NOW) == 10
    assert copied.missing_from(copied, NOW) == 0


def test_a_sample_has_its_size_and_only_what_it_was_given() -> None:
    sample, small, none = Sample(50), Sample(50), Sample(0)
    for number in range(1000):
        sample.add(str(number))
    for each in (small, none):
        each.add("a")

    assert len(set(sample.keys())) == len(sample.keys()) == 50
    assert set(sample.keys()) < {str(number) for number in range(1000)}
    assert (small.keys(), none.keys()) == (["a"], [])


def test_shares_add_up() -> None:
    shares = Shares.of(["a", "b"], ["a", "b", "c"])
    for size, node, new in ((10, "a", "a"), (20, "a", "c"), (30, "b", "b")):
        shares.add(size, node, new)

    assert (shares.total.keys, shares.total.bytes) == (3, 60)
    assert (shares.moving.keys, shares.moving.bytes) == (1, 20)
    assert [shares.now[node].bytes for node in "ab"] == [30, 30]
    assert [shares.then[node].bytes for node in "abc"] == [10, 30, 20]


def test_long_lists_of_nodes_have_labels_of_their_own() -> None:
    nodes = [f"cache-{number}.example.internal:11211" for number in range(40)]
    labels = {copy_plan.label("memcached", nodes), copy_plan.label("memcached", nodes[:-1])}

    assert len(labels) == 2
    assert all(len(label) <= 300 for label in labels)
    assert copy_plan.label("redis", ["a:6379/0"]) == "redis a:6379/0"


def test_what_was_copied_stays_so_and_the_rest_begins_anew() -> None:
    half: NodeJSON = {**copy_plan.new_node(copy_plan.RUNNING), "found": 7}
    done: NodeJSON = {**copy_plan.new_node(copy_plan.COPIED), "found": 9}
    nodes = copy_plan.resumed(["a", "b", "c"], {"a": done, "b": half, "gone": done}, replace=False)

    assert [(name, row["state"], row["found"]) for name, row in nodes.items()] == [
        ("a", "copied", 9),
        ("b", "waiting", 0),
        ("c", "waiting", 0),
    ]
    assert copy_plan.can_go_on("failed", nodes)
    assert copy_plan.can_go_on("running", {"a": done})
    assert copy_plan.can_go_on("failed", {"a": done})
    assert not copy_plan.can_go_on("done", {"a": done})


def test_what_a_killed_copy_was_at_has_failed() -> None:
    rows = {state: copy_plan.new_node(state) for state in ("copied", "running", "waiting")}

    after = copy_plan.interrupted(rows, "killed")
    assert [(row["state"], row["error"]) for row in after.values()] == [
        ("copied", ""),
        ("failed", "killed"),
        ("waiting", ""),
    ]


def test_what_was_copied_without_overwriting_is_not_done_for_a_copy_that_overwrites() -> None:
    left, replaced = copy_plan.new_node(copy_plan.COPIED), copy_plan.new_node(copy_plan.COPIED, replaced=True)
    before: dict[str, NodeJSON] = {"a": left, "b": replaced}

    def states(*, replace: bool) -> list[str]:
        return [row["state"] for row in copy_plan.resumed(["a", "b"], before, replace=replace).values()]

    assert states(replace=True) == ["waiting", "copied"]
    assert states(replace=False) == ["copied", "copied"]
