"""The schedules: whether Beat sends each in time, and whether a run of it has succeeded since."""

from __future__ import annotations

from api_service.services import beat_rules, beat_watch
from api_service.services.around.reading import Moment, Seen, judges


@judges("schedule_late", "schedule_not_run")
def read(moment: Moment) -> Seen:
    watched = beat_watch.look(moment.now)
    facts = {
        one.seen.name: {
            "state": one.state.value,
            "late_by": round(one.late_by.total_seconds()),
            "duration": one.seen.duration,
        }
        for one in watched
    }
    return Seen({"schedules": facts}, beat_rules.findings(watched, beat_watch.margin()))
