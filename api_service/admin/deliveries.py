"""The messages about incidents, and the channels that they leave by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import audit, display, words
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.run_by_hand import Run, RunByHand, Wait
from api_service.models import ChannelState, Delivery, Transition

SEND_TEST = "workers.tasks.send_test_alert"
# What a worker's clock may be behind the web's
OTHER_CLOCK: Final = timedelta(seconds=2)


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
    def error_text(self, row: Delivery) -> SafeString | str:
        return display.error(row.error)

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
    first = words.trouble(steps[0]["code"], steps[0]["node"])
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
        chosen = list(queryset.values_list("pk", flat=True))
        waiting = Delivery.objects.filter(pk__in=chosen, state__in=states)
        number = waiting.update(state=Delivery.State.PENDING, due_at=timezone.now())
        text = ngettext(
            "%(count)s message is tried again within a minute.",
            "%(count)s messages are tried again within a minute.",
            number,
        )
        if number == 0:
            text = gettext("Nothing to try again: these messages have been sent.")
        else:
            audit.note(request, "deliveries", {"retry": ",".join(map(str, chosen))}, Delivery)
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
            words.place(step["code"], step["node"]) or display.NOTHING,
            f"#{step['incident']}",
        )
        for step in steps
    ]
    return display.table((_("event"), _("severity"), _("what"), _("node"), _("incident")), rows)


def configured_channels() -> list[tuple[str, str]]:
    """Those that the workers have an address of, as choices."""
    names = ChannelState.objects.filter(configured=True).order_by("name").values_list("name", flat=True)
    return [(name, name) for name in names]


NO_CHANNEL = _("No channel has an address: no alert reaches anybody. See the settings.")


def why_none() -> list[str]:
    """Said before anybody tries."""
    return [] if configured_channels() else [str(NO_CHANNEL)]


class TrialForm(forms.Form):
    """To which channels; none is every one."""

    channels = forms.MultipleChoiceField(
        label=_("Channels"),
        choices=configured_channels,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Real people get it; it says that it is a test. None chosen: all of them. "
            "What arrives turns a channel on that was off."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not configured_channels():
            del self.fields["channels"]

    def clean(self) -> dict[str, Any]:
        if "channels" not in self.fields:
            raise forms.ValidationError(str(NO_CHANNEL))
        return self.cleaned_data


def trial_arguments(data: dict[str, Any]) -> dict[str, Any]:
    return {"channels": data["channels"] or [name for name, _name in configured_channels()]}


@admin.register(ChannelState)
class ChannelStateAdmin(RunByHand, TableAdmin[ChannelState]):
    """Rows are kept by the workers; where messages go is a setting, and shown nowhere."""

    run = Run(task=SEND_TEST, button=_("Send a test alert"), form=TrialForm, kwargs=trial_arguments, explain=why_none)
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
    def why(self, row: ChannelState) -> SafeString | str:
        return display.error(row.reason)

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
    def last_error(self, row: ChannelState) -> SafeString | str:
        return display.error(row.error)

    # -- a test

    def has_run_permission(self, request: HttpRequest) -> bool:
        """No row is added: who may try channels may do so."""
        return self.has_test_permission(request)

    def awaited(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"channel": kwargs["channels"]}

    def begun(self, request: HttpRequest, after: int) -> None:
        """No row will be added; what became of the test is told on the page that waits."""

    def _wait_context(self, request: HttpRequest, wait: Wait) -> dict[str, Any]:
        context = super()._wait_context(request, wait)
        tried = self.get_queryset(request).filter(name__in=request.GET.getlist("channel"))
        outcomes = [(row, outcome_since(row, wait.at)) for row in tried]
        results = {outcome for _row, outcome in outcomes}
        is_open = context["is_open"] and Tried.NOT_YET in results
        return {
            **context,
            "is_open": is_open,
            "is_late": context["is_late"] and is_open,
            # A worker that told one channel has taken it
            "is_dropped": context["is_dropped"] and results <= {Tried.NOT_YET},
            "result": _tried(outcomes),
        }

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.test_channelstate")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.change_channelstate")

    @admin.action(description=_("Send a test message"), permissions=["test"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[ChannelState]) -> HttpResponse:
        """By a worker, which has the addresses; the page that follows says how it ended."""
        return self._start(request, {"channels": list(queryset.values_list("name", flat=True))})

    @admin.action(description=_("Turn on again"), permissions=["switch"])
    def turn_on(self, request: HttpRequest, queryset: QuerySet[ChannelState]) -> None:
        silent = Q(disabled_at__isnull=False) | Q(resting_until__gt=timezone.now())
        names = list(queryset.filter(silent).values_list("name", flat=True))
        number = queryset.filter(silent).update(disabled_at=None, reason="", resting_until=None)
        text = ngettext(
            "%(count)s channel is on again. What failed meanwhile is sent when you try it again under «deliveries».",
            "%(count)s channels are on again. What failed meanwhile is sent when you try it again under «deliveries».",
            number,
        )
        if number == 0:
            text = gettext("Nothing to turn on: none of these is off.")
        else:
            audit.note(request, "alert channels", {"turn_on": ",".join(names)}, ChannelState)
        self.message_user(request, text % {"count": number}, messages.SUCCESS if number else messages.WARNING)


class Tried(StrEnum):
    ARRIVED = "arrived"
    FAILED = "failed"
    NOT_YET = "not_yet"


def outcome_since(row: ChannelState, at: float) -> Tried:
    """What became of a message that was asked for then (Unix seconds, on another clock than the worker's)."""
    since = datetime.fromtimestamp(at, UTC) - OTHER_CLOCK
    arrived, failed = ((moment if moment and moment >= since else None) for moment in (row.succeeded_at, row.failed_at))
    if arrived and (failed is None or arrived >= failed):
        return Tried.ARRIVED
    return Tried.FAILED if failed else Tried.NOT_YET


def _tried(outcomes: Iterable[tuple[ChannelState, Tried]]) -> SafeString | str:
    shown = {
        Tried.ARRIVED: display.toned(Tone.GOOD, gettext("arrived")),
        Tried.FAILED: display.toned(Tone.BAD, gettext("did not arrive")),
        Tried.NOT_YET: display.toned(Tone.BUSY, gettext("not yet")),
    }
    rows = [
        (row.name, shown[outcome], display.error(row.error if outcome is Tried.FAILED else ""))
        for row, outcome in outcomes
    ]
    return display.table((_("channel"), _("test message"), _("error")), rows)
