"""What the next look-up of a RUC would do, and which record is the newest: by the facts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api_service.services.answers import Stored
from api_service.services.outcomes import MISS, OUTAGE, CacheRead, Outcome
from api_service.services.ruc_rules import Lives, Next, RucFacts, answered_since, newest, next_lookup

NOW = 1_795_362_562.0
LIVES = Lives(life=3600.0, while_refreshing=900.0, on_failure=86_400.0)
NOTHING = RucFacts("20100038146", True, ":1:migo:ruc_1", ":1:migo:invalid_1", (), MISS, MISS, None)  # noqa: FBT003
HIT = CacheRead(Outcome.HIT, {"name": "cached"}, NOW - 10, NOW + 100)
LISTED = CacheRead(Outcome.HIT, {"reason": "NO_EXISTE_SUNAT"}, NOW - 10, NOW + 100)


def stale(seconds: float) -> CacheRead:
    return CacheRead(Outcome.STALE, {"name": "cached"}, NOW - 4000, NOW - seconds)


def stored(age: float) -> Stored:
    return Stored({"name": "stored"}, NOW - age)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, Next.PAID),
        ({"answer": HIT, "negative": LISTED}, Next.CACHED),
        ({"answer": stale(899), "negative": LISTED, "stored": stored(10)}, Next.STALE),
        ({"answer": stale(901)}, Next.PAID),
        ({"answer": stale(901), "stored": stored(3599)}, Next.STORED),
        ({"negative": LISTED, "stored": stored(10)}, Next.NEGATIVE),
        ({"stored": stored(3601)}, Next.PAID),
        ({"answer": OUTAGE, "negative": OUTAGE, "stored": stored(10)}, Next.STORED),
        ({"answer": OUTAGE, "negative": OUTAGE}, Next.PAID),
        ({"can_exist": False}, Next.IMPOSSIBLE),
        ({"can_exist": False, "negative": LISTED}, Next.IMPOSSIBLE),
    ],
)
def test_the_next_look_up_goes_the_way_of_every_look_up(known: dict[str, Any], expected: Next) -> None:
    assert next_lookup(replace(NOTHING, **known), NOW, LIVES) is expected


def test_the_cache_has_the_newest_record_and_its_own_end() -> None:
    shown = newest(replace(NOTHING, answer=HIT, stored=stored(5000)), LIVES)
    assert shown is not None
    assert (shown.data, shown.from_cache) == ({"name": "cached"}, True)
    assert (shown.ends, shown.stale_until) == (NOW + 100, NOW + 100 + 86_400)


def test_without_it_the_store_has_and_its_life_counts_from_its_birth() -> None:
    shown = newest(replace(NOTHING, answer=OUTAGE, stored=stored(100)), LIVES)
    assert shown is not None
    assert (shown.data, shown.from_cache) == ({"name": "stored"}, False)
    assert (shown.born_at, shown.ends) == (NOW - 100, NOW + 3500)


def test_of_what_nobody_has_there_is_no_record() -> None:
    assert newest(replace(NOTHING, negative=LISTED), LIVES) is None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, False),
        ({"answer": HIT}, True),
        ({"answer": stale(901)}, False),
        ({"answer": stale(901), "stored": stored(10)}, True),
        ({"answer": OUTAGE, "stored": stored(101)}, False),
        # What is listed is no record
        ({"negative": LISTED}, False),
    ],
)
def test_a_record_of_cache_or_store_may_be_newer_than_a_moment(known: dict[str, Any], expected: bool) -> None:
    assert answered_since(replace(NOTHING, **known), NOW - 100) is expected
