"""Filters whose choices come from the last run: `SELECT DISTINCT` over a million keys would cost more than the page."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from api_service.models import HealthSample, ServiceSnapshot, TrackedKey, TrackRun
from api_service.services import incident_mutes
from api_service.services.keys import KINDS

Rows = QuerySet[Any]
# Above every character that a key can have
LAST_CHARACTER = chr(0x10FFFF)


def starting_with(field: str, prefix: str) -> Q:
    """A prefix as a range of the field's index, which is in the order of bytes; `LIKE` uses it on PostgreSQL only."""
    return Q(**{f"{field}__gte": prefix, f"{field}__lt": prefix + LAST_CHARACTER})


class ByService(SimpleListFilter):
    """The services of the last inventory that found any."""

    title = _("service")
    parameter_name = "service"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        newest = ServiceSnapshot.objects.order_by("-run_id").values("run_id")[:1]
        services = ServiceSnapshot.objects.filter(run_id__in=newest).order_by("service")
        return [(name, name) for name in services.values_list("service", flat=True)]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(service=self.value()) if self.value() else queryset


class ByServiceOfKeys(ByService):
    """Applied with the search: `key_prefix` makes one range of all that the beginning of a key is asked to be."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset


class ByKindOfKeys(SimpleListFilter):
    """The kinds of one service: only together do they begin a key. Applied with the search, like the service."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in sorted(KINDS)] if request.GET.get(ByService.parameter_name) else []

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset


def key_prefix(request: HttpRequest) -> str:
    """What the keys of the chosen service and kind begin with; "" for all keys."""
    service, kind = (request.GET.get(part.parameter_name, "") for part in (ByService, ByKindOfKeys))
    return f"{service}:{kind}_" if service and kind else f"{service}:" if service else ""


class _ByNode(SimpleListFilter):
    title = _("node")
    parameter_name = "node"

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(node=self.value()) if self.value() else queryset


class ByInventoryNode(_ByNode):
    """The nodes of the last inventory, also while it is under way."""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        run = TrackRun.objects.order_by("-started_at").only("nodes").first()
        nodes = {*run.nodes, *run.listings.values_list("node", flat=True)} if run else ()
        return [(node, node) for node in sorted(nodes)]


class ByNodeOfKeys(ByInventoryNode):
    """On SQLite in every state, one by one: else it would walk a range of keys by the index that begins with them."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        rows = super().queryset(request, queryset)
        if self.value() and connection.vendor == "sqlite":
            return rows.filter(state__in=TrackedKey.State.values)
        return rows


class ByHealthNode(_ByNode):
    """The nodes of the last health check."""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        sample = HealthSample.objects.order_by("-taken_at").only("pk").first()
        nodes = sample.nodes.order_by("node").values_list("node", flat=True) if sample else []
        return [(node, node) for node in nodes]


class ByEnd(SimpleListFilter):
    """Open or resolved; and which of them are muted, as a mute outlives its incident."""

    title = _("state")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("yes", _("open")), ("no", _("resolved")), ("muted", _("muted"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        match self.value():
            case "yes":
                return queryset.filter(resolved_at__isnull=True)
            case "no":
                return queryset.filter(resolved_at__isnull=False)
            case "muted":
                return queryset.filter(pk__in=incident_mutes.can_be_taken_back(timezone.now()).values("pk"))
        return queryset


def chosen(code_field: str, title_: Any, words: Any) -> type[SimpleListFilter]:
    """A filter over the stable codes of a field, in words."""

    class ByCode(SimpleListFilter):
        title = title_
        parameter_name = code_field

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
            return list(words.items())

        def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
            return queryset.filter(**{code_field: self.value()}) if self.value() else queryset

    return ByCode
