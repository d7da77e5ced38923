from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from api_service.services.budget import Caps, Purpose, refusal

LIMA = ZoneInfo("America/Lima")
NOW = datetime(2026, 7, 14, 22, 45, 30, tzinfo=LIMA)


def test_without_caps_nothing_is_refused() -> None:
    caps = Caps(hour=0, day=0, warm_share=0.5)

    assert not caps.any
    assert refusal(10**9, 10**9, caps, Purpose.WARM, NOW) is None


@pytest.mark.parametrize("purpose", [Purpose.USER, Purpose.RETRY])
def test_users_may_use_all_of_the_cap_and_not_one_query_more(purpose: Purpose) -> None:
    caps = Caps(hour=100, day=1000, warm_share=0.5)

    assert refusal(100, 1000, caps, purpose, NOW) is None
    assert refusal(101, 101, caps, purpose, NOW) is not None
    assert refusal(1, 1001, caps, purpose, NOW) is not None


def test_warming_gets_its_share_only() -> None:
    caps = Caps(hour=100, day=1000, warm_share=0.5)

    assert refusal(50, 500, caps, Purpose.WARM, NOW) is None
    assert refusal(51, 51, caps, Purpose.WARM, NOW) is not None
    assert refusal(1, 501, caps, Purpose.WARM, NOW) is not None
    assert refusal(1, 1, Caps(100, 0, 0.0), Purpose.WARM, NOW) is not None


def test_a_refusal_says_when_to_come_back() -> None:
    caps = Caps(hour=100, day=1000, warm_share=1.0)
    hour, day = refusal(101, 101, caps, Purpose.USER, NOW), refusal(1, 1001, caps, Purpose.USER, NOW)

    assert hour is not None
    assert (hour.period, hour.cap, hour.retry_after) == ("hour", 100, 14 * 60 + 30)
    assert day is not None
    assert (day.period, day.cap, day.retry_after) == ("day", 1000, 74 * 60 + 30)
    assert (hour.code, hour.permanent) == ("budget_exhausted", False)
    assert "100" in str(hour)
