"""What an operator does to incidents: from the list to several at once, from the page to one, with a note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import audit, words
from api_service.models import Incident, Transition
from api_service.services import incident_acts, incident_mutes
from api_service.services.incident_acts import NOTE_LENGTH

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

    Base = ModelAdmin[Incident]
else:
    Base = object

# The incident, who, the note, now
Carry = Callable[[int, str, str, datetime], Transition | None]


@dataclass(frozen=True)
class Act:
    label: StrPromise
    carry_out: Carry


def _muting(hours: int) -> Carry:
    def mute(incident: int, by: str, note: str, now: datetime) -> Transition | None:
        return incident_acts.mute(incident, by, now + timedelta(hours=hours), note, now)

    return mute


ACTS: dict[str, Act] = {
    "acknowledge": Act(_("Acknowledge"), incident_acts.acknowledge),
    "mute_1h": Act(_("Mute for 1 hour"), _muting(1)),
    "mute_8h": Act(_("Mute for 8 hours"), _muting(8)),
    "mute_24h": Act(_("Mute for 24 hours"), _muting(24)),
    "unmute": Act(_("Unmute"), incident_acts.unmute),
}


def _acts_for(row: Incident, now: datetime) -> list[tuple[str, StrPromise]]:
    """Name and label of what makes sense for it now. Of what is over only a mute is left, for the next one."""
    is_open = row.resolved_at is None
    possible = dict.fromkeys(ACTS, is_open)
    possible["acknowledge"] = is_open and row.acknowledged_at is None
    possible["unmute"] = incident_mutes.can_be_taken_back(now).filter(pk=row.pk).exists()
    return [(name, act.label) for name, act in ACTS.items() if possible[name]]


def _can_be_done(name: str, now: datetime) -> Q:
    """Of several: to the open ones, where it may have been done before; and what is over may still be muted."""
    is_open = Q(resolved_at=None)
    return is_open | Q(pk__in=incident_mutes.still_on(now).values("pk")) if name == "unmute" else is_open


Action = Callable[["IncidentActs", HttpRequest, QuerySet[Incident]], HttpResponse | None]


def _action(name: str, act: Act) -> Action:
    """Asks first, for a note: the second time it is confirmed."""

    def action(self: IncidentActs, request: HttpRequest, queryset: QuerySet[Incident]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return self.question(request, name, queryset)
        self.carry_out(request, name, list(queryset.values_list("pk", flat=True)))
        return None

    action.__name__ = name
    decorated: Action = admin.action(description=act.label, permissions=["act"])(action)
    return decorated


class IncidentActs(Base):
    """Mix-in of the incidents' ModelAdmin. Who may change incidents may do this to them."""

    actions = tuple(_action(name, act) for name, act in ACTS.items())
    change_form_template = "api_service/admin/incident.html"

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("api_service.change_incident")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.act_view)
        return [path("<path:object_id>/act/", view, name="api_service_incident_act"), *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_act_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row, name = self.get_object(request, unquote(object_id)), request.POST.get("act", "")
        if row is None or name not in ACTS:
            raise Http404
        self.carry_out(request, name, [row.pk])
        return HttpResponseRedirect(reverse("admin:api_service_incident_change", args=[row.pk]))

    def acts_context(self, request: HttpRequest, row: Incident) -> dict[str, Any]:
        """What the page of an incident offers."""
        acts = _acts_for(row, timezone.now()) if self.has_act_permission(request) else []
        if not acts:
            return {"acts": []}
        return {
            "acts": acts,
            "act_url": reverse("admin:api_service_incident_act", args=[row.pk]),
            "note_length": NOTE_LENGTH,
        }

    def question(self, request: HttpRequest, name: str, queryset: QuerySet[Incident]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": ACTS[name].label,
            "opts": self.opts,
            "media": self.media,
            "incidents": [
                (row.pk, words.trouble(row.code, row.node))
                for row in queryset.filter(_can_be_done(name, timezone.now()))
            ],
            "action": name,
            "selected": ACTION_CHECKBOX_NAME,
            "note_length": NOTE_LENGTH,
        }
        return TemplateResponse(request, "api_service/admin/incident_acts.html", context)

    def carry_out(self, request: HttpRequest, name: str, incidents: list[int]) -> None:
        act, by, now = ACTS[name], request.user.get_username(), timezone.now()
        note = request.POST.get("note", "").strip()
        changed = [pk for pk in incidents if act.carry_out(pk, by, note, now) is not None]
        for pk in changed:
            audit.note(request, f"incident {pk}", {"act": name, "note": note}, Incident, pk)
        done = len(changed)
        text = ngettext("%(act)s: %(count)s incident.", "%(act)s: %(count)s incidents.", done)
        if done == 0:
            text = gettext("%(act)s: nothing to do, it is over or was done before.")
        level = messages.SUCCESS if done else messages.WARNING
        self.message_user(request, text % {"act": act.label, "count": done}, level)
