"""Made-up traffic that looks like an office's."""

from collections import Counter

import pytest

from api_service.management.commands.demo_traffic import read_answer
from api_service.services.demo import REAL, Office, customers, intensity
from api_service.services.ruc import is_valid


def test_customers_are_possible_rucs_the_same_for_the_same_seed() -> None:
    made = customers(1, 300)
    assert made[: len(REAL)] == list(REAL)
    assert len(set(made)) == len(made) == 300
    assert all(is_valid(ruc) for ruc in made)
    assert made == customers(1, 300) != customers(2, 300)


def test_few_are_asked_for_often_and_most_rarely() -> None:
    office = Office(1, customers(1))
    asked = Counter(office.next_ruc() for _ in range(20_000))
    top = sum(count for _, count in asked.most_common(100))
    assert 0.4 < top / 20_000 < 0.8
    assert len(asked) > 1_500
    assert asked.most_common(1)[0][0] == REAL[0]


def test_some_are_mistyped() -> None:
    office = Office(1, customers(1))
    wrong = sum(not is_valid(office.next_ruc()) for _ in range(20_000))
    assert 0.01 < wrong / 20_000 < 0.03


@pytest.mark.parametrize("hour", [step / 4 for step in range(-40, 200)])
def test_there_is_always_some_traffic_and_never_more_than_at_the_peak(hour: float) -> None:
    assert 0 < intensity(hour) <= 1
    assert intensity(hour) == pytest.approx(intensity(hour + 24))


def test_people_work_by_day_and_have_lunch() -> None:
    assert intensity(3) < 0.05 < intensity(8) < intensity(10)
    assert intensity(13.5) < intensity(12)
    assert intensity(9.5) == 1.0


ANSWERS = [
    (200, {"cache": {"outcome": "hit", "source": "cache"}}, ("hit", False)),
    (200, {"cache": {"outcome": "miss", "source": "upstream"}}, ("miss", True)),
    (200, {"cache": {"outcome": "miss", "source": "store"}}, ("miss", False)),
    (200, {"cache": {"outcome": "outage", "source": "upstream"}}, ("outage", True)),
    (404, {"cache": {"outcome": "miss", "source": "upstream"}}, ("negative", True)),
    (404, {"cache": {"outcome": "negative", "source": "cache"}}, ("negative", False)),
    (400, {"code": "malformed"}, ("malformed", False)),
    (503, {"error": "down"}, ("failed", False)),
    (502, "<html>", ("failed", False)),
    (404, {"error": "no such page"}, ("failed", False)),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
def test_every_answer_is_one_outcome(status: int, body: object, expected: tuple[str, bool]) -> None:
    assert read_answer(status, body)[:2] == expected
