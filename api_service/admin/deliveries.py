"""The messages about incidents, and the channels that they leave by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.models import ChannelState, Delivery, Transition
from api_service.services.task_sending import BrokerDown, send

SEND_TEST = "workers.tasks.send_test_alert"


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

    @admin.display(description=_("about"))
    def about(self, row: Delivery) -> str:
        return _about(row.facts)


def _about(facts: dict[str, Any]) -> str:
    """Of a hundred nodes that failed together the first, and how many more."""
    if facts.get("kind") == "channel_off":
        return gettext("channel %(channel)s is off") % {"channel": facts["channel"]}
    steps = facts.get("steps", [])
    if not steps:
        return display.NOTHING
    first = f"{words.word(words.FINDINGS, steps[0]['code'])} {steps[0]['node']}".strip()
    left = len(steps) - 1
    return gettext("%(first)s and %(left)d more") % {"first": first, "left": left} if left else first


@admin.register(Delivery)
class DeliveryAdmin(DeliveryColumns, TableAdmin[Delivery]):
    list_display = ("about", "channel", "state_badge", "error_text", "created", "attempts")
    list_filter = ("state",)
    ordering = ("-id",)
    actions = ("retry",)
    fields = (
        *("about", "channel", "state_badge", "created", "sent", "attempts", "next_attempt"),
        *("error_text", "steps_table"),
    )

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

    @admin.display(description=_("what it says"))
    def steps_table(self, row: Delivery) -> SafeString | str:
        steps = row.facts.get("steps", [])
        return _table(steps) if steps else _about(row.facts)


def _table(steps: Iterable[dict[str, Any]]) -> SafeString | str:
    rows = [
        (
            Transition.Event(step["event"]).label,
            display.badge(step["severity"], words.word(words.SEVERITIES, step["severity"])),
            words.word(words.FINDINGS, step["code"]),
            step["node"] or display.NOTHING,
            f"#{step['incident']}",
        )
        for step in steps
    ]
    return display.table((_("event"), _("severity"), _("what"), _("node"), _("incident")), rows)


@admin.register(ChannelState)
class ChannelStateAdmin(TableAdmin[ChannelState]):
    """Rows are kept by the workers; where messages go is a setting, and shown nowhere."""

    list_display = ("name", "state_badge", "why", "succeeded", "failed", "last_error")
    ordering = ("-configured", "name")
    actions = ("send_test", "turn_on")
    fields = ("name", "state_badge", "why", "disabled", "resting", "succeeded", "failed", "last_error")

    @admin.display(description=_("state"))
    def state_badge(self, row: ChannelState) -> SafeString:
        if row.disabled_at:
            return display.toned(Tone.BAD, gettext("off"))
        if not row.configured:
            return display.toned(Tone.QUIET, gettext("not configured"))
        if row.resting_until and row.resting_until > timezone.now():
            return display.toned(Tone.WARNING, gettext("asked to be left alone"))
        return display.toned(Tone.GOOD, gettext("on"))

    @admin.display(description=_("why it is off"))
    def why(self, row: ChannelState) -> str:
        return row.reason or display.NOTHING

    @admin.display(description=_("disabled"))
    def disabled(self, row: ChannelState) -> str:
        return display.age(row.disabled_at, timezone.now())

    @admin.display(description=_("resting until"))
    def resting(self, row: ChannelState) -> str:
        return display.age(row.resting_until, timezone.now())

    @admin.display(description=_("last success"))
    def succeeded(self, row: ChannelState) -> str:
        return display.age(row.succeeded_at, timezone.now())

    @admin.display(description=_("last failure"))
    def failed(self, row: ChannelState) -> str:
        return display.age(row.failed_at, timezone.now())

    @admin.display(description=_("last error"))
    def last_error(self, row: ChannelState) -> str:
        return row.error or display.NOTHING

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.test_channelstate")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.change_channelstate")

    @admin.action(description=_("Send a test message"), permissions=["test"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[ChannelState]) -> None:
        """By a worker, which has the addresses; how it ended is in the row a moment later."""
        names = list(queryset.values_list("name", flat=True))
        try:
            send(SEND_TEST, {"channels": names})
        except BrokerDown:
            self.message_user(request, gettext("Nothing was started: the task broker does not answer."), messages.ERROR)
            return
        text = gettext("A test message is on its way to: %(names)s. See below in a moment whether it arrived.")
        self.message_user(request, text % {"names": ", ".join(names)}, messages.SUCCESS)

    @admin.action(description=_("Turn on again"), permissions=["switch"])
    def turn_on(self, request: HttpRequest, queryset: QuerySet[ChannelState]) -> None:
        silent = Q(disabled_at__isnull=False) | Q(resting_until__gt=timezone.now())
        number = queryset.filter(silent).update(disabled_at=None, reason="", resting_until=None)
        text = ngettext(
            "%(count)s channel is on again. What failed meanwhile is sent when you try it again under «deliveries».",
            "%(count)s channels are on again. What failed meanwhile is sent when you try it again under «deliveries».",
            number,
        )
        if number == 0:
            text = gettext("Nothing to turn on: none of these is off.")
        self.message_user(request, text % {"count": number}, messages.SUCCESS if number else messages.WARNING)
