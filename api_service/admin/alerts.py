"""Incidents with their course, and what the last runs saw of each possible trouble."""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import RowsInline, TableAdmin
from api_service.admin.deliveries import DeliveryColumns
from api_service.admin.display import Tone
from api_service.admin.filters import ByEnd, chosen
from api_service.admin.health import measured
from api_service.admin.incident_acts import IncidentActs
from api_service.admin.row_names import NamedRows
from api_service.models import Delivery, FindingState, HealthSample, Incident, Notice, Transition
from api_service.services import advice
from api_service.services.advice import Advice
from api_service.services.incident_steps import is_muted

# Of one that has come and gone for weeks
STEPS_SHOWN = 200


@admin.register(Incident)
class IncidentAdmin(IncidentActs, NamedRows, TableAdmin[Incident]):
    list_display = ("what_and_where", "severity_badge", "state_badge", "since_text", "lasted", "in_hands_of")
    list_filter = (ByEnd, "severity", chosen("code", _("finding"), words.INCIDENTS))
    ordering = (F("resolved_at").desc(nulls_first=True), "-opened_at")
    fields = (
        *("what", "meaning", "cause", "next_step", "node_text", "severity_badge", "state_badge", "value_text"),
        *("limit_text", "since_text", "opened"),
        *("resolved", "lasted", "in_hands_of", "muted_text", "escalated_text", "timeline", "messages_table"),
    )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = self.acts_context(request, row) if row else {}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    @admin.display(description=_("incident"))
    def what(self, row: Incident) -> str:
        return words.word(words.INCIDENTS, row.code)

    def row_name(self, row: Incident) -> str:
        return capfirst(words.trouble(row.code, row.node))

    @admin.display(description=_("incident"))
    def what_and_where(self, row: Incident) -> str:
        return words.trouble(row.code, row.node)

    @admin.display(description=_("what users notice"))
    def meaning(self, row: Incident) -> str:
        known = advice_on(row)
        return (known and known.meaning) or display.NOTHING

    @admin.display(description=_("likely cause"))
    def cause(self, row: Incident) -> str:
        known = advice_on(row)
        return (known and known.cause) or display.NOTHING

    @admin.display(description=_("what to do"))
    def next_step(self, row: Incident) -> SafeString | str:
        """With the runbook's entry, where its address is known."""
        known = advice_on(row)
        if known is None:
            return display.NOTHING
        if not known.runbook:
            return known.next_step
        return format_html('{} <a href="{}">{}</a>', known.next_step, known.runbook, gettext("Runbook"))

    @admin.display(description=_("node"))
    def node_text(self, row: Incident) -> SafeString | str:
        """A cache node leads to how it was, run by run."""
        if not row.code.startswith("node_"):
            return words.place(row.code, row.node) or display.NOTHING
        url = reverse("admin:api_service_nodesample_changelist")
        return format_html('<a href="{}?{}">{}</a>', url, urlencode({"node": row.node}), row.node)

    @admin.display(description=_("severity"))
    def severity_badge(self, row: Incident) -> SafeString:
        """The worst it has been."""
        return display.badge(row.severity, row.get_severity_display())

    @admin.display(description=_("state"))
    def state_badge(self, row: Incident) -> SafeString:
        muted = is_muted(row, timezone.now())
        if row.resolved_at is not None:
            return display.toned(Tone.GOOD, gettext("resolved, muted") if muted else gettext("resolved"))
        if muted:
            return display.toned(Tone.QUIET, gettext("open, muted"))
        if row.flapping_since is not None:
            return display.toned(Tone.WARNING, gettext("comes and goes"))
        if row.acknowledged_at is not None:
            return display.toned(Tone.BUSY, gettext("open, acknowledged"))
        return display.toned(Tone.BAD, gettext("open"))

    @admin.display(description=_("value"))
    def value_text(self, row: Incident) -> str:
        return measured(row.value)

    @admin.display(description=_("limit"))
    def limit_text(self, row: Incident) -> str:
        return measured(row.limit)

    @admin.display(description=_("since"))
    def since_text(self, row: Incident) -> str:
        return display.age(row.since, timezone.now())

    @admin.display(description=_("opened"))
    def opened(self, row: Incident) -> str:
        return display.age(row.opened_at, timezone.now())

    @admin.display(description=_("resolved"))
    def resolved(self, row: Incident) -> str:
        return display.age(row.resolved_at, timezone.now())

    @admin.display(description=_("lasts"))
    def lasted(self, row: Incident) -> str:
        return display.period(row.since, row.resolved_at or timezone.now())

    @admin.display(description=_("acknowledged by"))
    def in_hands_of(self, row: Incident) -> str:
        return row.acknowledged_by or display.NOTHING

    @admin.display(description=_("muted until"))
    def muted_text(self, row: Incident) -> SafeString | str:
        if not is_muted(row, timezone.now()):
            return display.NOTHING
        return format_html("{} ({})", display.age(row.muted_until, timezone.now()), row.muted_by)

    @admin.display(description=_("escalated"))
    def escalated_text(self, row: Incident) -> str:
        return display.age(row.escalated_at, timezone.now())

    @admin.display(description=_("course"))
    def timeline(self, row: Incident) -> SafeString | str:
        """The newest steps, oldest first; each leads to the health run that it was seen in, while that is kept."""
        steps = list(row.transitions.order_by("-pk")[:STEPS_SHOWN])
        kept = set(HealthSample.objects.filter(pk__in=[seen_in(step) for step in steps]).values_list("pk", flat=True))
        rows = [(when(step, kept), *step_cells(step)) for step in reversed(steps)]
        heads = (_("time"), _("event"), _("severity"), _("value"), _("by"), _("note"), _("messages"))
        return display.table(heads, rows)

    @admin.display(description=_("messages"))
    def messages_table(self, row: Incident) -> SafeString | str:
        """Every channel's delivery of every notice that told a step."""
        notices = row.transitions.exclude(notice=None).values("notice")
        deliveries = Delivery.objects.filter(notice__in=notices).order_by("-pk")[:STEPS_SHOWN]
        rows = [delivery_cells(delivery) for delivery in deliveries]
        return display.table((_("message"), _("channel"), _("state"), _("sent"), _("attempts"), _("last error")), rows)


def exact(moment: Any) -> SafeString:
    local = timezone.localtime(moment)
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}")


def seen_in(step: Transition) -> int:
    """The key of the newest health run at that time; 0 where none is known."""
    return int(step.facts.get("sample") or 0)


def when(step: Transition, kept: Container[int]) -> SafeString:
    moment = exact(step.at)
    if seen_in(step) not in kept:
        return moment
    url = reverse("admin:api_service_healthsample_change", args=[seen_in(step)])
    return format_html('<a href="{}">{}</a>', url, moment)


def advice_on(row: Incident) -> Advice | None:
    return advice.of(row.code, row.node, row.value, row.limit)


def step_cells(step: Transition) -> tuple[object, ...]:
    facts = step.facts
    unjudged = facts.get("unjudged", False)
    return (
        event_badge(step),
        display.NOTHING if unjudged else words.word(words.SEVERITIES, facts.get("severity", "")),
        measured(facts.get("value", "")),
        step.by or display.NOTHING,
        step.note or display.NOTHING,
        told_text(step),
    )


def event_badge(step: Transition) -> SafeString:
    """What is over as nobody could judge it is not what is well."""
    if step.facts.get("unjudged"):
        return display.toned(Tone.QUIET, gettext("no longer judged"))
    return display.badge(step.event, step.get_event_display())


def told_text(step: Transition) -> str:
    """Whether people heard of it, and why not."""
    text, reason = step.get_telling_display(), words.word(words.HELD_BY, step.held_by)
    return f"{text}: {reason}" if step.held_by and step.telling != Transition.Telling.TOLD else text


def delivery_cells(delivery: Delivery) -> tuple[object, ...]:
    url = reverse("admin:api_service_delivery_change", args=[delivery.pk])
    return (
        format_html('<a href="{}">#{}</a>', url, delivery.pk),
        delivery.channel,
        display.badge(delivery.state, delivery.get_state_display()),
        display.age(delivery.sent_at, timezone.now()),
        display.number(delivery.attempts),
        display.error_cell(delivery.error),
    )


@admin.register(Transition)
class TransitionAdmin(NamedRows, TableAdmin[Transition]):
    """All steps of all incidents, the newest first."""

    list_display = ("event_badge", "what", "at_text", "by", "told")
    list_filter = ("event", "telling")
    list_select_related = ("incident",)
    ordering = ("-id",)
    fields = ("incident_link", "event_badge", "at_text", "by", "note", "value_text", "told", "notice")

    def row_name(self, row: Transition) -> str:
        return capfirst(f"{words.trouble(row.incident.code, row.incident.node)}: {row.get_event_display()}")

    @admin.display(description=_("event"))
    def event_badge(self, row: Transition) -> SafeString:
        return event_badge(row)

    @admin.display(description=_("incident"))
    def what(self, row: Transition) -> str:
        return words.trouble(row.incident.code, row.incident.node)

    @admin.display(description=_("incident"))
    def incident_link(self, row: Transition) -> SafeString:
        url = reverse("admin:api_service_incident_change", args=[row.incident_id])
        return format_html('<a href="{}">{}</a>', url, words.trouble(row.incident.code, row.incident.node))

    @admin.display(description=_("time"))
    def at_text(self, row: Transition) -> str:
        return display.age(row.at, timezone.now())

    @admin.display(description=_("value"))
    def value_text(self, row: Transition) -> str:
        return measured(row.facts.get("value", ""))

    @admin.display(description=_("messages"))
    def told(self, row: Transition) -> str:
        return told_text(row)


class DeliveriesInline(DeliveryColumns, RowsInline[Delivery, Notice]):
    model = Delivery
    fields = ("channel", "state_badge", "created", "sent", "attempts", "next_attempt", "error_text")
    ordering = ("pk",)


@admin.register(Notice)
class NoticeAdmin(TableAdmin[Notice]):
    """What was told together."""

    list_display = ("number", "severity_badge", "created")
    list_filter = ("severity",)
    ordering = ("-id",)
    fields = ("severity_badge", "created", "steps_table")
    inlines = (DeliveriesInline,)

    @admin.display(description=_("notice"))
    def number(self, row: Notice) -> str:
        return f"#{row.pk}"

    @admin.display(description=_("severity"))
    def severity_badge(self, row: Notice) -> SafeString:
        return display.badge(row.severity, row.get_severity_display())

    @admin.display(description=_("created"))
    def created(self, row: Notice) -> str:
        return display.age(row.created_at, timezone.now())

    @admin.display(description=_("what it says"))
    def steps_table(self, row: Notice) -> SafeString | str:
        steps = row.transitions.select_related("incident").order_by("pk")[:STEPS_SHOWN]
        rows = [
            (
                display.badge(step.event, step.get_event_display()),
                words.word(words.INCIDENTS, step.incident.code),
                words.place(step.incident.code, step.incident.node) or display.NOTHING,
                exact(step.at),
            )
            for step in steps
        ]
        return display.table((_("event"), _("what"), _("node"), _("time")), rows)


@admin.register(FindingState)
class FindingStateAdmin(NamedRows, TableAdmin[FindingState]):
    list_display = ("what", "node", "counts_badge", "since_text", "recent_text", "value_text", "seen")
    list_filter = ("counts", chosen("code", _("finding"), words.FINDINGS))
    ordering = ("-counts", "code", "node")
    fields = ("what", "node", "counts_badge", "since_text", "recent_text", "value_text", "limit_text", "seen")

    def row_name(self, row: FindingState) -> str:
        return capfirst(words.trouble(row.code, row.node))

    @admin.display(description=_("what"))
    def what(self, row: FindingState) -> str:
        return words.word(words.FINDINGS, row.code)

    @admin.display(description=_("counts"))
    def counts_badge(self, row: FindingState) -> SafeString:
        if row.counts:
            return display.badge(row.severity, row.get_severity_display())
        return display.toned(Tone.QUIET, gettext("does not count"))

    @admin.display(description=_("since"))
    def since_text(self, row: FindingState) -> str:
        return display.age(row.since, timezone.now())

    @admin.display(description=_("recent runs"))
    def recent_text(self, row: FindingState) -> str:
        """One sign a run since the last change."""
        return "".join("●" if sign == "1" else "○" for sign in row.recent) or display.NOTHING

    @admin.display(description=_("value"))
    def value_text(self, row: FindingState) -> str:
        return measured(row.value)

    @admin.display(description=_("limit"))
    def limit_text(self, row: FindingState) -> str:
        return measured(row.limit)

    @admin.display(description=_("last run"))
    def seen(self, row: FindingState) -> str:
        return display.age(row.seen_at, timezone.now())
