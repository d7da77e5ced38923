"""What /health/beat says: whether each schedule is sent and run in time. For everybody, so without any error's text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from api_service.problems import reply
from api_service.services.beat_rules import Watched, late, not_sent

LATE: Final = "schedule_late"
NOT_RUN: Final = "schedule_not_run"
NONE: Final = "no_schedules"


class Schedule(TypedDict):
    """Times as text with their offset, null for never; the rest in seconds. `state` is that of `beat_rules.State`."""

    name: str
    task: str
    state: str
    sent_at: str | None
    started_at: str | None
    succeeded_at: str | None
    failed_at: str | None
    duration: float | None
    next_due: str
    late_by: float
    send_late_by: float
    run_late_by: float


def of_schedules(watched: Sequence[Watched]) -> HttpResponse:
    """200 while every schedule is on time, else 503."""
    trouble = _trouble(watched)
    body: dict[str, Any] = {"success": not trouble, "status": trouble.get("code", "on_time"), **trouble}
    return reply({**body, "schedules": rows(watched)}, 503 if trouble else 200)


def rows(watched: Sequence[Watched]) -> list[Schedule]:
    return [_row(one) for one in watched]


def _row(one: Watched) -> Schedule:
    seen = one.seen
    return {
        "name": seen.name,
        "task": seen.task,
        "state": one.state.value,
        "sent_at": _text(seen.sent_at),
        "started_at": _text(seen.started_at),
        "succeeded_at": _text(seen.succeeded_at),
        "failed_at": _text(seen.failed_at),
        "duration": None if seen.duration is None else round(seen.duration, 3),
        "next_due": timezone.localtime(seen.next_due).isoformat(timespec="seconds"),
        "late_by": round(one.late_by.total_seconds()),
        "send_late_by": round(one.send_late.total_seconds()),
        "run_late_by": round(one.run_late.total_seconds()),
    }


def _text(moment: datetime | None) -> str | None:
    return timezone.localtime(moment).isoformat(timespec="seconds") if moment else None


def _trouble(watched: Sequence[Watched]) -> dict[str, str]:
    if not watched:
        text = _("No schedule is on: Beat has not started with this database, or all are switched off.")
        return {"code": NONE, "error": text, "next_step": _("Start Beat, or switch the schedules on in the admin.")}
    found = late(watched)
    if not found:
        return {}
    text = ngettext("%(count)s schedule is late: %(names)s.", "%(count)s schedules are late: %(names)s.", len(found))
    error = text % {"count": len(found), "names": ", ".join(one.seen.name for one in found)}
    if not_sent(found):
        return {"code": LATE, "error": error, "next_step": _("Beat does not send what is due: restart it.")}
    return {"code": NOT_RUN, "error": error, "next_step": _("Beat sends: look at the workers and the broker.")}
