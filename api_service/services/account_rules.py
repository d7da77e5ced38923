"""How long what an account holds will last, pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

WEEK_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Outlook:
    """`left` queries, spent at `pace` queries a day."""

    left: int
    pace: float

    @property
    def days(self) -> float:
        if self.left <= 0:
            return 0.0
        return self.left / self.pace if self.pace > 0 else inf


def pace(last_day: int, last_week: int) -> float:
    """Queries a day, from those of the last 24 hours and of the last seven days: the quicker of the two.

    A Sunday says little of Monday, and a week little of the warm-up that was switched on yesterday.
    """
    return max(float(last_day), last_week / WEEK_DAYS)
