"""When RUCs are asked for, and what became of the answers that warm runs loaded."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.identifiers import FoundByIdentifier
from api_service.admin.row_names import NamedRows
from api_service.models import ReadHabit, ReadHabitBin, WarmedAnswer
from api_service.services.warm_policy import SLOT, SLOTS_A_DAY


@admin.register(ReadHabit)
class ReadHabitAdmin(FoundByIdentifier, TableAdmin[ReadHabit]):
    list_display = ("identifier_link", "visited", "service", "kind")
    list_display_links = ("visited",)
    ordering = ("-id",)
    fields = ("service", "kind", "identifier_link", "visited")

    @admin.display(description=_("last visit"))
    def visited(self, row: ReadHabit) -> str:
        return display.age(datetime.fromtimestamp(row.visited_at, UTC), timezone.now())


@admin.register(ReadHabitBin)
class ReadHabitBinAdmin(NamedRows, TableAdmin[ReadHabitBin]):
    list_display = ("habit", "half_hour")
    list_select_related = ("habit",)
    ordering = ("-id",)
    fields = ("habit", "half_hour")

    def row_name(self, row: ReadHabitBin) -> str:
        return f"{row.habit.identifier}: {self.half_hour(row)}"

    @admin.display(description=_("half hour"))
    def half_hour(self, row: ReadHabitBin) -> str:
        return half_hour_text(row.bin)


@admin.register(WarmedAnswer)
class WarmedAnswerAdmin(FoundByIdentifier, TableAdmin[WarmedAnswer]):
    list_display = ("identifier_link", "verdict", "chance_text", "warmed", "ends", "run")
    list_display_links = ("verdict",)
    list_select_related = ("run",)
    ordering = ("-id",)
    fields = ("run", "service", "kind", "identifier_link", "verdict", "chance_text", "warmed", "ends")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WarmedAnswer], search_term: str
    ) -> tuple[QuerySet[WarmedAnswer], bool]:
        return (queryset.filter(identifier=term) if (term := search_term.strip()) else queryset), False

    @admin.display(description=_("read in time"))
    def verdict(self, row: WarmedAnswer) -> SafeString:
        return verdict(row, timezone.now())

    @admin.display(description=_("chance of a read"))
    def chance_text(self, row: WarmedAnswer) -> str:
        return display.NOTHING if row.chance is None else display.share(row.chance, 1)

    @admin.display(description=_("loaded"))
    def warmed(self, row: WarmedAnswer) -> str:
        return display.age(row.warmed_at, timezone.now())

    @admin.display(description=_("ends"))
    def ends(self, row: WarmedAnswer) -> str:
        return display.age(row.ends_at, timezone.now())


def half_hour_text(bin_: int) -> str:
    """`weekday 09:30`."""
    kind, slot = divmod(bin_, SLOTS_A_DAY)
    hour, minutes = divmod(slot * SLOT // 60, 60)
    return f"{gettext('weekend') if kind else gettext('weekday')} {hour:02}:{minutes:02}"


def verdict(row: WarmedAnswer, now: datetime) -> SafeString:
    """Whether somebody read what was loaded."""
    if row.read_at is not None:
        return display.toned(Tone.GOOD, gettext("yes"))
    return display.toned(Tone.QUIET, gettext("no") if row.ends_at <= now else gettext("not yet"))
