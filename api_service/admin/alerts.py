"""Incidents."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.filters import ByEnd
from api_service.admin.health import findings_table, findings_words
from api_service.models import Incident


@admin.register(Incident)
class IncidentAdmin(TableAdmin[Incident]):
    list_display = ("what", "severity_badge", "state_badge", "opened", "lasted", "findings_text")
    list_filter = (ByEnd, "severity")
    ordering = ("-opened_at",)
    fields = (
        "what",
        "node",
        "severity_badge",
        "state_badge",
        "opened",
        "resolved",
        "lasted",
        "now_table",
        "past_table",
    )

    @admin.display(description=_("incident"))
    def what(self, row: Incident) -> str:
        return words.word(words.INCIDENTS, row.code)

    @admin.display(description=_("severity"))
    def severity_badge(self, row: Incident) -> SafeString:
        return display.badge(row.severity, row.get_severity_display())

    @admin.display(description=_("state"))
    def state_badge(self, row: Incident) -> SafeString:
        if row.resolved_at is None:
            return display.toned(Tone.BAD, gettext("open"))
        return display.toned(Tone.GOOD, gettext("resolved"))

    @admin.display(description=_("opened"))
    def opened(self, row: Incident) -> str:
        return display.age(row.opened_at, timezone.now())

    @admin.display(description=_("resolved"))
    def resolved(self, row: Incident) -> str:
        return display.age(row.resolved_at, timezone.now())

    @admin.display(description=_("lasts"))
    def lasted(self, row: Incident) -> str:
        return display.period(row.opened_at, row.resolved_at or timezone.now())

    @admin.display(description=_("findings"))
    def findings_text(self, row: Incident) -> str:
        return findings_words(row.findings)

    @admin.display(description=_("wrong now"))
    def now_table(self, row: Incident) -> SafeString | str:
        is_open = row.resolved_at is None
        return findings_table(one for one in row.findings if is_open and one.get("current", True))

    @admin.display(description=_("wrong earlier"))
    def past_table(self, row: Incident) -> SafeString | str:
        is_over = row.resolved_at is not None
        return findings_table(one for one in row.findings if is_over or not one.get("current", True))
