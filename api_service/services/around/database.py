"""The database, and what depends on it in silence: the answer store and the read counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from statistics import median
from time import perf_counter

from django.conf import settings
from django.db import connection

from api_service.models import StoredAnswer
from api_service.services import answer_rows, around_rules, bounded, tracking
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.database_watch import round_trip
from api_service.services.health_rules import Finding

ROUND_TRIPS = 3
# No service of ours has this name: a look-up that finds nothing takes the same way through the index
PROBE = ("(health)", "(health)", ["(health)"])


@judges("database_slow", "answer_store_off", "read_counts_waiting")
def read(moment: Moment) -> Seen:
    took = median(_milliseconds(round_trip) for _ in range(ROUND_TRIPS))
    store = _milliseconds(lambda: answer_rows.read(*PROBE, moment.now))
    tripped = bounded.tripped()
    facts = {
        "vendor": connection.vendor,
        "ms": round(took, 2),
        "store_read_ms": round(store, 2),
        "store_newest_seconds": _newest_answer(moment.now),
        "not_waited_for": tripped,
        "read_counts_waiting": tracking.is_failing(),
    }
    return Seen(facts, [*around_rules.of_database(took, settings.HEALTH_DATABASE_MS), *_of_stores(store, tripped)])


def _of_stores(store_ms: float, tripped: list[str]) -> list[Finding]:
    answers = {bounded.answer_reads.what, bounded.answer_writes.what}
    off = around_rules.of_store(store_ms, settings.ANSWER_STORE_SECONDS * 1000, answers.intersection(tripped))
    waiting = [around_rules.read_counts_waiting()] if tracking.is_failing() else []
    return [*off, *waiting]


def _milliseconds(act: Callable[[], object]) -> float:
    started = perf_counter()
    act()
    return (perf_counter() - started) * 1000


def _newest_answer(now: datetime) -> float | None:
    """Seconds since the newest stored answer was given; by the index, whatever the size of the table."""
    newest = StoredAnswer.objects.order_by("-born_at").values_list("born_at", flat=True).first()
    return None if newest is None else round((now - newest).total_seconds(), 1)
