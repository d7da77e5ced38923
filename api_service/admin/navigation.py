"""The sidebar: every table under what an operator looks for; tables of one subject are tabs of one entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
            Entry("visibility", ("DailyReads", "LookupHour", "ReadHabit", "ReadHabitBin")),
            Entry("receipt_long", ("BillingRun", "BillingRow")),
        ),
    ),
    (
        _("Health and incidents"),
        (
            Entry("emergency", ("Incident", "Transition", "FindingState")),
            Entry("monitor_heart", ("HealthSample", "NodeSample")),
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
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """What unfold asks for: groups of links to what the person may see; a group of nothing is left out."""
    overview = {"title": _("Overview"), "icon": "dashboard", "link": reverse("admin:index")}
    groups = [{"title": title, "items": _links(request, entries)} for title, entries in GROUPS]
    return [{"title": None, "items": [overview]}, *(group for group in groups if group["items"])]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Above a list of a subject with several tables: links to the others."""
    subjects = [_visible(request, entry) for _title, entries in GROUPS for entry in entries]
    return [
        {"models": [str(model._meta) for model in models], "items": [_link(model) for model in models]}
        for models in subjects
        if len(models) > 1
    ]


def models_of(entry: Entry) -> list[type[Model]]:
    return [apps.get_model(name if "." in name else f"{OURS}.{name}") for name in entry.models]


def _links(request: HttpRequest, entries: Iterable[Entry]) -> list[dict[str, Any]]:
    found = ((entry, _visible(request, entry)) for entry in entries)
    return [
        {**_link(models[0]), "icon": entry.icon, "active": _is_at(request, models)} for entry, models in found if models
    ]


def _visible(request: HttpRequest, entry: Entry) -> list[type[Model]]:
    return [model for model in models_of(entry) if _may_see(request, model)]


def _may_see(request: HttpRequest, model: type[Model]) -> bool:
    """As Django's `has_view_permission`: who may change a row may look at it."""
    label, name = model._meta.app_label, model._meta.model_name
    return any(request.user.has_perm(f"{label}.{act}_{name}") for act in ("view", "change"))


def _link(model: type[Model]) -> Mapping[str, Any]:
    return {"title": capfirst(model._meta.verbose_name_plural), "link": _list_url(model)}


def _is_at(request: HttpRequest, models: Iterable[type[Model]]) -> bool:
    """On the list or a page of one of them."""
    return any(request.path.startswith(_list_url(model)) for model in models)


def _list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
