"""The sidebar: every table under what an operator looks for; tables of one subject are tabs of one entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

OURS = "api_service"


@dataclass(frozen=True)
class Entry:
    """`icon` is a name of Material Symbols; `models` of our app go without its label. The first one leads."""

    icon: str
    models: tuple[str, ...]


GROUPS: tuple[tuple[Promise, tuple[Entry, ...]], ...] = (
    (
        _("RUCs and keys"),
        (
            Entry("key", ("TrackedKey", "ServiceSnapshot")),
            Entry("inventory_2", ("StoredAnswer", "StaleServed")),
            Entry("visibility", ("DailyReads", "LookupHour", "LookupTime", "ReadHabit", "ReadHabitBin")),
            Entry("receipt_long", ("BillingRun", "BillingRow")),
        ),
    ),
    (
        _("Health and incidents"),
        (
            Entry("emergency", ("Incident", "Transition", "FindingState")),
            Entry("monitor_heart", ("HealthSample", "NodeSample", "OperationReads")),
            Entry("notifications", ("Delivery", "Notice", "ChannelState")),
            Entry("construction", ("MaintenanceWindow",)),
        ),
    ),
    (
        _("Warming and money"),
        (
            Entry("local_fire_department", ("WarmRun", "WarmedAnswer")),
            Entry("payments", ("SpendHour", "RateWindow", "AccountReading")),
            Entry("swap_vert", ("UpstreamCalls", "UpstreamCircuit", "CircuitChange")),
        ),
    ),
    (
        _("Runs"),
        (
            Entry("fact_check", ("TrackRun", "NodeListing")),
            Entry("restore", ("RefillRun",)),
            Entry("mop", ("ClearRun",)),
            Entry("content_copy", ("CopyRun",)),
            Entry(
                "schedule",
                (
                    "django_celery_beat.PeriodicTask",
                    "ScheduleRun",
                    "django_celery_beat.CrontabSchedule",
                    "django_celery_beat.IntervalSchedule",
                    "django_celery_beat.ClockedSchedule",
                    "django_celery_beat.SolarSchedule",
                ),
            ),
            Entry("lock", ("RunLock",)),
        ),
    ),
    (
        _("Access"),
        (
            Entry("vpn_key", ("ApiToken",)),
            Entry("person", ("auth.User",)),
            Entry("group", ("auth.Group",)),
            Entry("history", ("admin.LogEntry",)),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """As unfold's templates want it: groups of links to what the person may see; a group of nothing is left out."""
    overview = _entry(_("Overview"), "dashboard", reverse("admin:index"), active=_is_index(request))
    groups = [{"title": title, "items": _links(request, entries)} for title, entries in GROUPS]
    first = [overview, *_rucs(request)]
    return [{"title": None, "items": first}, *(group for group in groups if group["items"])]


def _rucs(request: HttpRequest) -> list[dict[str, Any]]:
    """The pages of single RUCs, which are no table's."""
    if not request.user.has_perm("api_service.view_storedanswer"):
        return []
    url = reverse("ruc:search")
    return [_entry(_("RUCs"), "badge", url, active=request.path.startswith(url))]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Above a list of a subject with several tables: links to the others."""
    models = next((_visible(request, entry) for entry in _entries() if _is_at(request, models_of(entry))), [])
    if len(models) < 2:
        return []
    return [{"models": [str(model._meta) for model in models], "items": [_tab(request, model) for model in models]}]


def models_of(entry: Entry) -> list[type[Model]]:
    return [apps.get_model(name if "." in name else f"{OURS}.{name}") for name in entry.models]


def _entries() -> Iterator[Entry]:
    return (entry for _title, entries in GROUPS for entry in entries)


def _links(request: HttpRequest, entries: Iterable[Entry]) -> list[dict[str, Any]]:
    found = ((entry, _visible(request, entry)) for entry in entries)
    return [
        _entry(_plural(models[0]), entry.icon, _list_url(models[0]), active=_is_at(request, models))
        for entry, models in found
        if models
    ]


def _entry(title: Promise | str, icon: str, link: str, *, active: bool) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link, "active": active, "has_permission": True}


def _tab(request: HttpRequest, model: type[Model]) -> dict[str, Any]:
    link = _list_url(model)
    return {"title": _plural(model), "link": link, "active": request.path == link, "has_permission": True}


def _visible(request: HttpRequest, entry: Entry) -> list[type[Model]]:
    return [model for model in models_of(entry) if _may_see(request, model)]


def _may_see(request: HttpRequest, model: type[Model]) -> bool:
    """As Django's `has_view_permission`: who may change a row may look at it."""
    label, name = model._meta.app_label, model._meta.model_name
    return any(request.user.has_perm(f"{label}.{act}_{name}") for act in ("view", "change"))


def _plural(model: type[Model]) -> str:
    return capfirst(str(model._meta.verbose_name_plural))


def _is_index(request: HttpRequest) -> bool:
    return request.path == reverse("admin:index")


def _is_at(request: HttpRequest, models: Iterable[type[Model]]) -> bool:
    """On the list or a page of one of them."""
    return any(request.path.startswith(_list_url(model)) for model in models)


def _list_url(model: type[Model]) -> str:
    """As the admin builds it: looking up forty names by `reverse` is a tenth of a page's time."""
    return f"{reverse('admin:index')}{model._meta.app_label}/{model._meta.model_name}/"
