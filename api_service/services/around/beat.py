"""Schedules that are sent late, or that no run of succeeds.

A Beat that sends nothing starts no health run either: that is `check_beat`'s to tell, outside of Celery.
"""

from __future__ import annotations

from typing import Any

from api_service.services import beat_rules, beat_watch
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.beat_rules import Watched


@judges("schedule_late", "schedule_not_run")
def read(moment: Moment) -> Seen:
    watched = beat_watch.look(moment.now)
    return Seen({one.seen.name: _facts(one) for one in watched}, beat_rules.findings(watched, beat_watch.margin()))


def _facts(one: Watched) -> dict[str, Any]:
    times = {"sent_at": one.seen.sent_at, "succeeded_at": one.seen.succeeded_at, "next_due": one.seen.next_due}
    told = {name: at.isoformat() if at else None for name, at in times.items()}
    return {"state": one.state.value, "late_seconds": round(one.late_by.total_seconds()), **told}
