"""When a delivery that failed is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from workers.alerts.backoff import gives_up, next_attempt

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 960), (7, 1800), (8, 1800), (500, 1800)],
)
def test_the_wait_doubles_up_to_half_an_hour(attempts: int, seconds: int) -> None:
    assert next_attempt(attempts, None, NOW) == NOW + timedelta(seconds=seconds)


def test_jitter_only_ever_makes_it_later() -> None:
    assert (
        next_attempt(1, None, NOW, chance=0.999) > next_attempt(1, None, NOW, chance=0.5) > next_attempt(1, None, NOW)
    )
    assert next_attempt(50, None, NOW, chance=1.0) == NOW + timedelta(minutes=36)


def test_a_named_time_is_waited_for_even_when_it_is_longer_than_ours() -> None:
    assert next_attempt(1, 3600.0, NOW, chance=1.0) == NOW + timedelta(hours=1)


def test_a_named_time_does_not_shorten_our_own_wait() -> None:
    assert next_attempt(4, 1.0, NOW) == NOW + timedelta(minutes=4)


def test_an_absurd_named_time_is_capped_at_the_time_we_give_up() -> None:
    assert next_attempt(1, 1e12, NOW) == NOW + timedelta(hours=24)


def test_it_gives_up_after_a_day() -> None:
    assert gives_up(NOW - timedelta(hours=24), NOW)
    assert not gives_up(NOW - timedelta(hours=23, minutes=59), NOW)
