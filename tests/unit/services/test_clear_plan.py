"""What a clearing takes and what it leaves: keys of ours, keys that look like ours, and patterns."""

import random
import re
from fnmatch import fnmatchcase

import pytest

from api_service.services import clear_plan, keys
from api_service.services.backends.base import LOCK_PREFIX
from api_service.services.clear_plan import NodeJSON, Selection, chooser, matcher, selection, wire_prefix

PREFIX = ":1:"
LONG = keys.normalize("migo:ruc_" + "x" * 300, len(PREFIX))
NAMES = [
    *("migo:ruc_20100038146", "migo:ruc_", "migo:ruc", "migo:rucs_1", "migo:invalid_20123456789", "migo:other_x"),
    *("migo:tipo_cambio_2026-01-28", "migo:tipo_x", "migo:tipo_cambio", "migo:_x", "migo:", "migo", "migo:abc"),
    *("migo2:ruc_20100038146", "migo-x:ruc_1", "amigo:ruc_1", "MIGO:ruc_1", ":migo:ruc_1", "migo:migo:ruc_1"),
    *("migo:ruc_%2A", "migo:ruc_*", "migo:ruc_?", "migo:ruc_[1]", "migo:ruc_a:b", "migo:ruc_a b", "migo:ruc_a\n"),
    *("migo:ruc_ñ", "migo:ruc_\x7f", "migo:ruc_" + "9" * 241, "migo:ruc_" + "9" * 242, LONG, "session.abc", ""),
    *(f"migo:{'k' * 60}_1", f"migo:{'k' * 50}_1", f"migo:{'k' * 49}_1", "migo:a:b_1"),
    *(keys.normalize("migo x:ruc_1"), keys.normalize("migo:ruc_ñ"), keys.normalize("migo:ruc_a b")),
    *(f"{LOCK_PREFIX}dump", f"migo:{LOCK_PREFIX}dump", f"migo:ruc_{LOCK_PREFIX}x"),
]
SELECTIONS = [
    *(Selection("migo"), Selection("migo", "ruc"), Selection("migo", "tipo_cambio"), Selection("migo", "tipo")),
    *(Selection("migo", "other"), Selection("migo", "k" * 50), Selection("migo", "k" * 49), Selection("migo", "a:b")),
    *(Selection("migo", "", "*"), Selection("migo", "", "2*"), Selection("migo", "ruc", "2010*")),
    *(Selection("migo", "ruc", "*[1]"), Selection("migo", "ruc", "?"), Selection("migo", "ruc", "20100038146")),
    *(Selection("migo", "", "x"), Selection("migo", "", "?"), Selection("migo", "ruc", "*~*"), Selection("nubefact")),
]


def by_definition(wanted: Selection, name: str) -> str | None:
    """The kind of a key that goes, by `keys.parse` and Python's own wildcards ([ is no wildcard here)."""
    parts = keys.parse(name)
    if parts is None or parts.service != wanted.service or wanted.kind not in {"", parts.kind} or LOCK_PREFIX in name:
        return None
    pattern = re.sub(r"\[", "[[]", wanted.pattern or "*")
    return parts.kind if fnmatchcase(parts.identifier, pattern) else None


@pytest.mark.parametrize("wanted", SELECTIONS, ids=str)
def test_exactly_the_keys_of_the_selection_are_chosen(wanted: Selection) -> None:
    chosen = chooser(wanted, PREFIX)
    assert {name: chosen(PREFIX + name) for name in NAMES} == {name: by_definition(wanted, name) for name in NAMES}


@pytest.mark.parametrize("wanted", SELECTIONS, ids=str)
def test_every_key_of_the_selection_begins_with_its_wire_prefix(wanted: Selection) -> None:
    """The node lists those only: one that began otherwise would stay."""
    taken = [name for name in NAMES if by_definition(wanted, name) is not None]
    assert [name for name in taken if not (PREFIX + name).startswith(wire_prefix(wanted, PREFIX))] == []


def test_the_selections_of_these_tests_take_something_and_leave_something() -> None:
    for wanted in SELECTIONS[:-1]:
        taken = [name for name in NAMES if by_definition(wanted, name) is not None]
        assert 0 < len(taken) < len(NAMES), wanted


@pytest.mark.parametrize(
    ("wanted", "prefix"),
    [
        (Selection("migo"), ":1:migo:"),
        (Selection("migo", "", "2010*"), ":1:migo:"),
        (Selection("migo", "ruc"), ":1:migo:ruc_"),
        (Selection("migo", "ruc", "2010*"), ":1:migo:ruc_2010"),
        (Selection("migo", "ruc", "20?0*"), ":1:migo:ruc_20"),
        (Selection("migo", "ruc", "20100038146"), ":1:migo:ruc_20100038146"),
        (Selection("migo", "other", "x*"), ":1:migo:"),
    ],
    ids=str,
)
def test_the_wire_prefix_is_as_long_as_it_may_be(wanted: Selection, prefix: str) -> None:
    assert wire_prefix(wanted, PREFIX) == prefix


@pytest.mark.parametrize("name", ["", "MIGO", "mi go", "*", "migo*", "migo:ruc", "ñ", "a" * 51])
def test_a_name_that_no_service_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="service name"):
        selection(name)


@pytest.mark.parametrize("kind", ["ruc*", "r?c", "ruc_2010", "tipo_cambio_", "a b", "ñ", "k" * 51])
def test_a_kind_that_no_key_has_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        selection("migo", kind)


@pytest.mark.parametrize("pattern", ["a b", "ñ*", "a\n", "x" * 251])
def test_a_pattern_that_no_identifier_matches_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        selection("migo", "ruc", pattern)


def test_the_matcher_agrees_with_pythons_own_on_a_thousand_random_patterns() -> None:
    dice = random.Random(7)
    both = {True: 0, False: 0}
    for _ in range(5000):
        pattern = "".join(dice.choice("ab.+\\*?") for _ in range(dice.randrange(7)))
        text = "".join(dice.choice("ab.+\\") for _ in range(dice.randrange(7)))
        expected = fnmatchcase(text, pattern)
        assert bool(matcher(pattern)(text)) is expected, (pattern, text)
        both[expected] += 1
    assert min(both.values()) > 100


@pytest.mark.parametrize("text", ["[1]", "[a-z]", "^x$", "x(", "x{2}", "a|b", "\\d"])
def test_only_star_and_question_mark_are_special(text: str) -> None:
    assert matcher(text)(text)
    assert not matcher(text)("1")
    assert matcher(f"{text}*")(f"{text}y")


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """A matcher that tries every split of the text would not come back before this test is stopped."""
    assert not matcher("*a" * 60 + "b")("a" * 241)
    assert matcher("*a" * 60 + "*")("a" * 241)


def row(state: str, found: int, removed: int, error: str = "") -> NodeJSON:
    return {"state": state, "found": found, "removed": removed, "kinds": {"ruc": found}, "error": error}


def test_a_clearing_that_goes_on_leaves_done_nodes_alone_and_keeps_what_was_counted() -> None:
    before = {
        "a": row("done", 5, 5),
        "b": row("failed", 9, 4, "refused"),
        "c": row("running", 3, 2),
        "gone": row("failed", 7, 1, "refused"),
    }
    nodes = clear_plan.start(["a", "b", "c", "new"], before)
    assert nodes["a"] == before["a"]
    assert nodes["b"] == {"state": "waiting", "found": 4, "removed": 4, "kinds": {}, "error": ""}
    assert nodes["c"]["state"] == nodes["new"]["state"] == "waiting"
    assert (nodes["gone"]["state"], nodes["gone"]["removed"]) == ("left", 1)


def test_only_keys_of_nodes_that_failed_count_as_failed() -> None:
    nodes = {"a": row("done", 5, 4), "b": row("failed", 9, 4, "refused"), "c": row("left", 7, 1)}
    assert clear_plan.totals(nodes.values()) == {"found": 21, "removed": 9, "failed": 5, "nodes_failed": 1}
    assert clear_plan.totals(nodes.values(), dry_run=True)["failed"] == 0
    assert clear_plan.errors(nodes) == "b: refused"


def test_kinds_are_added_up_over_the_nodes_the_most_first() -> None:
    nodes: list[NodeJSON] = [
        {**row("done", 0, 0), "kinds": {"dni": 2, "ruc": 3}},
        {**row("done", 0, 0), "kinds": {"ruc": 1}},
    ]
    assert list(clear_plan.by_kind(nodes).items()) == [("ruc", 4), ("dni", 2)]
