"""Incidents, and the messages that tell of them."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import RowsInline, TableAdmin
from api_service.admin.display import Tone
from api_service.admin.filters import ByEnd
from api_service.admin.health import findings_table, findings_words
from api_service.models import Delivery, Incident


class DeliveryColumns:
    """Mix-in: a message as columns."""

    @admin.display(description=_("state"))
    def state_badge(self, row: Delivery) -> SafeString:
        return display.badge(row.state, row.get_state_display())

    @admin.display(description=_("created"))
    def created(self, row: Delivery) -> str:
        return display.age(row.created_at, timezone.now())

    @admin.display(description=_("sent"))
    def sent(self, row: Delivery) -> str:
        return display.age(row.sent_at, timezone.now())

    @admin.display(description=_("next attempt"))
    def next_attempt(self, row: Delivery) -> str:
        return display.age(row.due_at, timezone.now()) if row.state == Delivery.State.PENDING else display.NOTHING

    @admin.display(description=_("last error"))
    def error_text(self, row: Delivery) -> str:
        return row.error or display.NOTHING


class DeliveriesInline(DeliveryColumns, RowsInline[Delivery, Incident]):
    model = Delivery
    fields = ("channel", "event", "state_badge", "created", "sent", "attempts", "next_attempt", "error_text")
    ordering = ("pk",)


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
    inlines = (DeliveriesInline,)

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


@admin.register(Delivery)
class DeliveryAdmin(DeliveryColumns, TableAdmin[Delivery]):
    list_display = ("event", "channel", "state_badge", "error_text", "created", "attempts", "about")
    list_filter = ("state",)
    list_select_related = ("incident",)
    ordering = ("-id",)
    actions = ("retry",)
    fields = (
        *("incident", "channel", "event", "state_badge", "created", "sent", "attempts", "next_attempt"),
        *("error_text", "findings_rows"),
    )

    @admin.display(description=_("incident"))
    def about(self, row: Delivery) -> str:
        return words.word(words.INCIDENTS, row.incident.code)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.change_delivery")

    @admin.action(description=_("Try again now"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """What has been sent stays sent; one that a sender holds right now keeps its lease."""
        states = [Delivery.State.PENDING, Delivery.State.FAILED]
        waiting = Delivery.objects.filter(pk__in=queryset.values_list("pk", flat=True), state__in=states)
        number = waiting.update(state=Delivery.State.PENDING, due_at=timezone.now())
        text = ngettext(
            "%(count)s message is tried again within a minute.",
            "%(count)s messages are tried again within a minute.",
            number,
        )
        if number == 0:
            text = gettext("Nothing to try again: these messages have been sent.")
        self.message_user(request, text % {"count": number}, messages.SUCCESS if number else messages.WARNING)

    @admin.display(description=_("findings"))
    def findings_rows(self, row: Delivery) -> SafeString | str:
        return findings_table(row.facts.get("findings", ()))
