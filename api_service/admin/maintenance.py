"""Maintenance windows: planned by people, checked before they are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, styling
from api_service.admin.base import Table
from api_service.admin.display import Tone
from api_service.models import HealthSample, MaintenanceWindow
from api_service.services import maintenance, maintenance_rules, providers

if TYPE_CHECKING:
    _ModelForm = ModelForm[MaintenanceWindow]
else:
    # Django's own class takes no type arguments at run time
    _ModelForm = ModelForm

LONGEST = timedelta(days=7)


class WindowForm(_ModelForm):
    class Meta:
        model = MaintenanceWindow
        fields = ("name", "repeats", "starts_at", "minutes", "service", "node", "enabled")
        help_texts = {
            "name": _("Alerts that come after it name it."),
            "starts_at": _("Lima time. A weekly one comes again on the same day of the week at the same time."),
            "service": _("As findings name it, such as migo. Empty, and no node: everything."),
            "node": _("host:port, as in CACHE_URL. Empty, and no service: everything."),
        }

    minutes = forms.IntegerField(
        label=_("Minutes"),
        min_value=1,
        max_value=int(LONGEST / timedelta(minutes=1)),
        initial=60,
        help_text=_("How long it lasts; 60 is an hour, 10080 a week."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        styling.dress(self, "minutes")

    def clean_service(self) -> str:
        service: str = self.cleaned_data["service"].strip()
        if service and service not in providers.TABLE:
            known = ", ".join(sorted(providers.TABLE))
            raise forms.ValidationError(gettext("There is no such service; there are: %(known)s") % {"known": known})
        return service

    def clean_node(self) -> str:
        node: str = self.cleaned_data["node"].strip()
        return node

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if not self.errors and data["repeats"] == MaintenanceWindow.Repeats.ONCE:
            end = data["starts_at"] + timedelta(minutes=data["minutes"])
            if end <= timezone.now():
                self.add_error("starts_at", gettext("This window is over already: nothing would ever be in it."))
        return data


@admin.register(MaintenanceWindow)
class MaintenanceWindowAdmin(Table[MaintenanceWindow]):
    form = WindowForm
    list_display = ("name", "state_badge", "repeats", "when", "minutes_text", "covers", "created_by")
    list_filter = ("enabled", "repeats")
    ordering = ("-enabled", "-starts_at")

    def save_model(self, request: HttpRequest, obj: MaintenanceWindow, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user.get_username()
        super().save_model(request, obj, form, change)
        if obj.node and obj.node not in _known_nodes():
            text = gettext("The last health check did not see a node %(node)s: is it written as in CACHE_URL?")
            self.message_user(request, text % {"node": obj.node}, messages.WARNING)

    @admin.display(description=_("state"))
    def state_badge(self, row: MaintenanceWindow) -> SafeString:
        now, zone, window = timezone.now(), timezone.get_default_timezone(), maintenance.window_of(row)
        if not row.enabled:
            return display.toned(Tone.QUIET, gettext("off"))
        if (end := maintenance_rules.ends_at(window, now, zone)) is not None:
            return format_html("{} {}", display.toned(Tone.BUSY, gettext("under way, ends")), display.age(end, now))
        if maintenance_rules.next_start(window, now, zone) is None:
            return display.toned(Tone.QUIET, gettext("over"))
        return display.toned(Tone.GOOD, gettext("planned"))

    @admin.display(description=_("next start"))
    def when(self, row: MaintenanceWindow) -> str:
        window, now = maintenance.window_of(row), timezone.now()
        return display.age(maintenance_rules.next_start(window, now, timezone.get_default_timezone()), now)

    @admin.display(description=_("lasts"))
    def minutes_text(self, row: MaintenanceWindow) -> str:
        return display.period(row.starts_at, row.starts_at + timedelta(minutes=row.minutes))

    @admin.display(description=_("covers"))
    def covers(self, row: MaintenanceWindow) -> str:
        return ", ".join(filter(None, (row.service, row.node))) or gettext("everything")


def _known_nodes() -> set[str]:
    sample = HealthSample.objects.order_by("-taken_at").only("pk").first()
    return set(sample.nodes.values_list("node", flat=True)) if sample else set()
