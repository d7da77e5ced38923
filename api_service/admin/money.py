"""What is known of paid services: circuit breakers, the rate, and what the account still holds."""

from __future__ import annotations

from time import time

from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.filters import ByService
from api_service.admin.row_names import NamedRows
from api_service.models import AccountReading, CircuitChange, RateWindow, UpstreamCalls, UpstreamCircuit
from api_service.models.money import CircuitState
from api_service.services import rate_rules, results
from api_service.services.around_rules import ANSWERED

_TONES: dict[str, Tone] = {
    CircuitState.CLOSED: Tone.GOOD,
    CircuitState.HALF_OPEN: Tone.WARNING,
    CircuitState.OPEN: Tone.BAD,
}


def circuit_badge(row: UpstreamCircuit | CircuitChange) -> SafeString:
    return display.toned(_TONES.get(row.state, Tone.QUIET), row.get_state_display())


@admin.register(UpstreamCircuit)
class UpstreamCircuitAdmin(TableAdmin[UpstreamCircuit]):
    list_display = ("service", "state_badge", "changed", "open_until", "failures", "calls", "reason_text")
    ordering = ("service",)
    fields = (
        "service",
        "state_badge",
        "changed",
        "open_until",
        "window_at",
        "failures",
        "calls",
        "probes_text",
        "reason_text",
    )

    @admin.display(description=_("state"))
    def state_badge(self, row: UpstreamCircuit) -> SafeString:
        return circuit_badge(row)

    @admin.display(description=_("changed"))
    def changed(self, row: UpstreamCircuit) -> SafeString | str:
        return display.age(row.changed_at, timezone.now())

    @admin.display(description=_("probes"))
    def probes_text(self, row: UpstreamCircuit) -> str:
        return display.number(len(row.probes))

    @admin.display(description=_("reason"))
    def reason_text(self, row: UpstreamCircuit) -> SafeString | str:
        return display.error(row.reason)


@admin.register(CircuitChange)
class CircuitChangeAdmin(TableAdmin[CircuitChange]):
    list_display = ("state_badge", "at", "reason_text", "open_until", "service")
    list_filter = ("state",)
    ordering = ("-at",)
    fields = ("at", "service", "state_badge", "open_until", "reason_text")

    @admin.display(description=_("state"))
    def state_badge(self, row: CircuitChange) -> SafeString:
        return circuit_badge(row)

    @admin.display(description=_("reason"))
    def reason_text(self, row: CircuitChange) -> SafeString | str:
        return display.error(row.reason)


@admin.register(UpstreamCalls)
class UpstreamCallsAdmin(NamedRows, TableAdmin[UpstreamCalls]):
    list_display = ("since_text", "outcome_text", "calls_text", "service")
    list_filter = (ByService,)
    ordering = ("-since", "service", "outcome")
    fields = ("since_text", "service", "outcome_text", "calls_text")

    def row_name(self, row: UpstreamCalls) -> str:
        return f"{self.since_text(row)} {row.service}: {self.outcome_text(row)}"

    @admin.display(description=_("since"))
    def since_text(self, row: UpstreamCalls) -> str:
        return date_format(timezone.localtime(row.since), "SHORT_DATETIME_FORMAT")

    @admin.display(description=_("outcome"))
    def outcome_text(self, row: UpstreamCalls) -> str:
        return gettext("answered") if row.outcome == ANSWERED else results.text_of(row.outcome)

    @admin.display(description=_("calls"))
    def calls_text(self, row: UpstreamCalls) -> str:
        return display.number(row.calls)


@admin.register(RateWindow)
class RateWindowAdmin(TableAdmin[RateWindow]):
    list_display = ("service", "taken_text")
    ordering = ("service",)
    fields = ("service", "taken_text")

    @admin.display(description=_("paid queries of the last minute"))
    def taken_text(self, row: RateWindow) -> str:
        return display.number(sum(rate_rules.within(row.taken, time()).values()))


@admin.register(AccountReading)
class AccountReadingAdmin(TableAdmin[AccountReading]):
    list_display = ("taken_at", "service", "left_text", "spent_text", "divergence_text")
    ordering = ("-taken_at",)
    fields = ("taken_at", "service", "left_text", "spent_text", "divergence_text")

    @admin.display(description=_("queries left"))
    def left_text(self, row: AccountReading) -> str:
        return display.number(row.queries_left)

    @admin.display(description=_("paid queries since the reading before"))
    def spent_text(self, row: AccountReading) -> str:
        return display.number(row.spent)

    @admin.display(description=_("taken from the account beyond our count"))
    def divergence_text(self, row: AccountReading) -> str:
        return display.number(row.divergence)
