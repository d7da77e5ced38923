from typing import Any

import pytest

from api_service.services.durations import rough, short
from api_service.services.envelope import claim, failure, failure_in, unwrap, wrap
from api_service.services.outcomes import MISS, Outcome

NOW = 1_795_362_562.123456


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (60, "1min"),
        (900, "15min"),
        (3600, "1h"),
        (86_400, "24h"),
        (90, "90s"),
        (5400, "90min"),
        (0, "0s"),
        (59.9, "59s"),
    ],
)
def test_a_life_time_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert short(seconds) == text


@pytest.mark.parametrize("value", [None, 0, "", [], {"ruc": "20100038146"}])
def test_a_wrapped_value_comes_back_with_its_birth_and_its_end(value: Any) -> None:
    read = unwrap(wrap(value, NOW, 60), NOW + 59.9)

    assert (read.outcome, read.value) == (Outcome.HIT, value)
    assert read.born_at == pytest.approx(NOW, abs=0.001)
    assert read.expires_at == pytest.approx(NOW + 60, abs=0.001)


def test_an_answer_of_the_store_keeps_its_own_birth_time_and_a_value_may_never_end() -> None:
    read = unwrap(wrap("x", NOW, None, born_at=NOW - 1000), NOW + 10**9)

    assert read.born_at == pytest.approx(NOW - 1000, abs=0.001)
    assert read.expires_at is None


FOREIGN = [
    *(None, 5, 1.5, True, "text", "v", [], [1, 2], {}, {"v": 1}, {"v": 1, "d": 1}, {"d": 1, "t": 1.0, "e": None}),
    {"v": 1, "d": 1, "t": "yesterday", "e": None},
    {"v": 1, "d": 1, "t": None, "e": None},
    {"v": 1, "d": 1, "t": 1.0, "e": "tomorrow"},
]


@pytest.mark.parametrize("stored", FOREIGN, ids=repr)
def test_somebody_elses_value_is_a_miss_never_data(stored: Any) -> None:
    assert unwrap(stored, NOW) is MISS


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_value_of_another_schema_is_a_miss(version: Any) -> None:
    assert unwrap({**wrap("x", NOW, 60), "v": version}, NOW) is MISS


def test_a_value_past_its_end_is_stale_and_still_there() -> None:
    read = unwrap(wrap({"ruc": "20100038146"}, NOW, 60), NOW + 60)
    assert (read.outcome, read.value) == (Outcome.STALE, {"ruc": "20100038146"})


def test_a_claim_is_a_miss_and_a_failure_is_a_miss_that_says_why() -> None:
    assert unwrap(claim("token"), NOW) is MISS
    read = unwrap(failure({"code": "upstream_timeout", "at": NOW}), NOW)
    assert (read.outcome, read.failure) == (Outcome.MISS, {"code": "upstream_timeout", "at": NOW})
    assert failure_in(wrap({"failed": 1}, NOW, 60)) is None
    assert failure_in({"v": 0, "failed": "text"}) is None


@pytest.mark.parametrize(("seconds", "text"), [(93_605, "26h"), (200, "3min"), (12.4, "12s"), (0, "0s")])
def test_an_age_is_told_roughly(seconds: float, text: str) -> None:
    assert rough(seconds) == text
