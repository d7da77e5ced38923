"""When a token that has used up its minute is let in again."""

import pytest

from api_service.services.limit_storage import wait_for


@pytest.mark.parametrize(
    ("before", "current", "elapsed", "limit", "cost", "wait"),
    [
        # The minute before fades: at half of it, half of it counts
        (100, 50, 30.0, 100, 1, 0.6),
        (100, 0, 0.0, 100, 1, 0.6),
        (100, 0, 30.0, 100, 50, 0.0),
        # This minute is full: its end, and then until it has faded enough
        (0, 100, 20.0, 100, 1, 40.6),
        (0, 100, 20.0, 100, 100, 100.0),
        (0, 0, 20.0, 100, 100, 0.0),
    ],
)
def test_the_wait_is_until_the_window_has_moved_far_enough(
    before: int, current: int, elapsed: float, limit: int, cost: int, wait: float
) -> None:
    assert wait_for((before, current), elapsed, limit, cost, 60) == pytest.approx(wait)
    # Then it fits
    later = elapsed + wait_for((before, current), elapsed, limit, cost, 60)
    counted = before * (1 - later / 60) + current if later < 60 else current * (1 - (later - 60) / 60)
    assert counted + cost <= limit + 1e-9
