"""Old answers that callers were shown: how many, how old, and why no newer ones came."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.base import TableAdmin
from api_service.admin.filters import ByService
from api_service.admin.row_names import NamedRows
from api_service.models import StaleServed
from api_service.services import results
from api_service.services.durations import rough
from api_service.services.freshness import REFRESHING


@admin.register(StaleServed)
class StaleServedAdmin(NamedRows, TableAdmin[StaleServed]):
    list_display = ("since_text", "reason_text", "answers_text", "oldest", "service", "kind")
    list_filter = (ByService,)
    ordering = ("-since", "service", "kind", "reason")
    fields = ("since_text", "service", "kind", "reason_text", "answers_text", "oldest")

    def row_name(self, row: StaleServed) -> str:
        return f"{self.since_text(row)} {row.service}: {self.reason_text(row)}"

    @admin.display(description=_("since"))
    def since_text(self, row: StaleServed) -> str:
        return date_format(timezone.localtime(row.since), "SHORT_DATETIME_FORMAT")

    @admin.display(description=_("reason"))
    def reason_text(self, row: StaleServed) -> str:
        return str(_("a newer one was being fetched")) if row.reason == REFRESHING else results.text_of(row.reason)

    @admin.display(description=_("answers shown"))
    def answers_text(self, row: StaleServed) -> str:
        return display.number(row.answers)

    @admin.display(description=_("age of the oldest"))
    def oldest(self, row: StaleServed) -> str:
        return rough(row.oldest_seconds)
