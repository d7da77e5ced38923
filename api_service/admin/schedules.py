"""The runs of the schedules as people read them: the table of the last ones, and the words for what is late."""

from __future__ import annotations

from datetime import datetime

from django.contrib import admin
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.models import ScheduleRun
from api_service.services.beat_rules import State, Watched

STATES: dict[State, tuple[Tone, Promise]] = {
    State.ON_TIME: (Tone.GOOD, _("on time")),
    State.NOT_SENT: (Tone.BAD, _("not sent")),
    State.NOT_RUN: (Tone.BAD, _("no success")),
    State.CLOCK_SET_BACK: (Tone.BAD, _("clock set back")),
}


def badge(one: Watched, now: datetime) -> SafeString:
    tone, _word = STATES[one.state]
    return display.toned(tone, words(one, now))


def words(one: Watched, now: datetime) -> str:
    """The state, and for how long it has been late."""
    word = str(STATES[one.state][1])
    return word if one.state is State.ON_TIME else f"{word}: {display.period(now - one.late_by, now)}"


@admin.register(ScheduleRun)
class ScheduleRunAdmin(TableAdmin[ScheduleRun]):
    list_display = ("name", "started", "succeeded", "failed", "took", "waiting", "error_text")
    ordering = ("name",)
    fields = ("name", "task", "started", "succeeded", "failed", "took", "waiting", "error_text")

    @admin.display(description=_("last start"))
    def started(self, row: ScheduleRun) -> SafeString | str:
        return display.age(row.started_at, timezone.now())

    @admin.display(description=_("last success"))
    def succeeded(self, row: ScheduleRun) -> SafeString | str:
        return display.age(row.succeeded_at, timezone.now())

    @admin.display(description=_("last failure"))
    def failed(self, row: ScheduleRun) -> SafeString | str:
        return display.age(row.failed_at, timezone.now())

    @admin.display(description=_("duration"))
    def took(self, row: ScheduleRun) -> str:
        return display.number(row.duration, " s", 1)

    @admin.display(description=_("without success since"))
    def waiting(self, row: ScheduleRun) -> SafeString | str:
        return display.age(row.waiting_since, timezone.now())

    @admin.display(description=_("error"))
    def error_text(self, row: ScheduleRun) -> SafeString | str:
        return display.error(row.error)
