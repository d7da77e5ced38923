"""What tests of warm runs have in common: reads to go by, a run, and what it asked for."""

import time
from collections.abc import Sequence

from api_service.models import SpendHour
from api_service.services import warm_statistics
from api_service.services.warming import WarmSummary, request, warm
from tests.sandbox_fixture import RunningSandbox


def read(rucs: Sequence[str], times: int = 5, days_ago: float = 0) -> None:
    """One visit an hour, the last one just now, as the read counter would have written it."""
    now = time.time() - days_ago * 86_400
    for hours in reversed(range(times)):
        warm_statistics.observe({("migo", "ruc", ruc): now - 1 - hours * 3600 for ruc in rucs})


def run(**asked: object) -> WarmSummary:
    return warm(request(**asked))  # type: ignore[arg-type]


def asked_for(vendor: RunningSandbox) -> list[str]:
    return [ruc for entry in vendor.log for ruc in entry["rucs"]]


def spent() -> dict[str, int]:
    return {row.purpose: row.queries for row in SpendHour.objects.all() if row.queries}
