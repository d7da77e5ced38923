"""How long an answer may be served again without asking anew, by what it is about. Pure: the time is an argument."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

HOUR: Final = 3600.0
DAY: Final = 86_400.0
# APIMIGO renews exchange rates between 00:00 and 06:00 Lima time
RATES_RENEWED_AT: Final = 6

# Names and representatives change rarely, and nobody invoices by them
DNI_LIFE: Final = DAY
REPRESENTATIVES_LIFE: Final = DAY
LONGEST_RATE_LIFE: Final = DAY


def rate_life(day: str, born: datetime) -> float:
    """Seconds that the exchange rate of `day` ("latest", or ISO) holds when it was answered at `born` (Lima time).

    A past day's rate does not change any more. The newest one, today's included, is renewed until 06:00. The same
    holds for the answer that a day has none.
    """
    if day < born.date().isoformat():
        return LONGEST_RATE_LIFE
    renewed = born.replace(hour=RATES_RENEWED_AT, minute=0, second=0, microsecond=0)
    if renewed <= born:
        renewed += timedelta(days=1)
    return min(HOUR, (renewed - born).total_seconds())
