"""What the inventories found: whole runs, their nodes, and the history of each service."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import RowsInline, TableAdmin
from api_service.admin.display import Tone
from api_service.admin.filters import ByInventoryNode, ByService
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.admin.run_page import RunPage
from api_service.admin.runs import RunColumns
from api_service.models import NodeListing, ServiceSnapshot, TrackRun
from api_service.services import track_runs


class SnapshotColumns:
    """Mix-in: a service at one inventory as columns."""

    @admin.display(description=_("inventory"))
    def taken(self, row: ServiceSnapshot) -> str:
        return display.age(row.run.started_at, timezone.now())

    @admin.display(description=_("keys"))
    def keys_text(self, row: ServiceSnapshot) -> str:
        return display.number(row.keys)

    @admin.display(description=_("size"))
    def size_text(self, row: ServiceSnapshot) -> str:
        return display.size(row.bytes)

    @admin.display(description=_("reads"))
    def reads_text(self, row: ServiceSnapshot) -> str:
        return display.number(row.reads)

    # With a context: the single "created" and "removed" of a row are other forms in Spanish
    @admin.display(description=pgettext_lazy("keys", "created"))
    def created_text(self, row: ServiceSnapshot) -> str:
        return display.number(row.created)

    @admin.display(description=pgettext_lazy("keys", "removed"))
    def removed_text(self, row: ServiceSnapshot) -> str:
        return display.number(row.removed)

    @admin.display(description=pgettext_lazy("keys", "expired"))
    def expired_text(self, row: ServiceSnapshot) -> str:
        return display.number(row.expired)

    @admin.display(description=_("expired unread"))
    def unread_text(self, row: ServiceSnapshot) -> str:
        if not row.expired:
            return display.number(row.expired_unread)
        return f"{display.number(row.expired_unread)} ({display.share(row.expired_unread, row.expired)})"

    @admin.display(description=_("time left"))
    def lives_table(self, row: ServiceSnapshot) -> SafeString | str:
        """How many keys end how soon."""
        total = sum(row.lives.values())
        known = [name for name in words.LIVES if name in row.lives]
        rows = [
            (words.word(words.LIVES, name), display.number(keys), display.share(keys, total), display.bar(keys, total))
            for name in [*known, *(row.lives.keys() - words.LIVES.keys())]
            for keys in [row.lives[name]]
        ]
        return display.table((_("at most"), _("keys"), _("share"), display.spoken(_("share"))), rows)


class SnapshotsInline(SnapshotColumns, RowsInline[ServiceSnapshot, TrackRun]):
    model = ServiceSnapshot
    fields = (
        *("service", "keys_text", "size_text", "reads_text", "created_text"),
        *("removed_text", "expired_text", "unread_text"),
    )
    ordering = ("service",)


class ListingColumns:
    """Mix-in: one node's part of an inventory as columns."""

    @admin.display(description=_("state"))
    def state_badge(self, row: NodeListing) -> SafeString:
        if row.retired:
            return display.toned(Tone.QUIET, gettext("no longer in CACHE_URL"))
        return display.badge(row.state, row.get_state_display())

    @admin.display(description=_("listed"))
    def listed(self, row: NodeListing) -> str:
        return display.age(row.listed_at, timezone.now())

    @admin.display(description=_("duration"))
    def took(self, row: NodeListing) -> str:
        return display.period(row.listed_at, row.finished_at) if row.listed_at else display.NOTHING

    @admin.display(description=_("keys"))
    def keys_text(self, row: NodeListing) -> str:
        return display.number(row.keys)

    @admin.display(description=_("keys by service"))
    def services_text(self, row: NodeListing) -> SafeString | str:
        return display.counts((name, facts.get("keys", 0)) for name, facts in sorted(row.services.items()))

    @admin.display(description=_("services"))
    def services_table(self, row: NodeListing) -> SafeString | str:
        rows = [
            (name, display.number(facts.get("keys", 0)), display.size(facts.get("bytes", 0)))
            for name, facts in sorted(row.services.items())
        ]
        return display.table((_("service"), _("keys"), _("size")), rows)

    @admin.display(description=_("foreign keys"))
    def foreign_text(self, row: NodeListing) -> SafeString | str:
        return foreign_counts(row.foreign)

    @admin.display(description=_("error"))
    def error_text(self, row: NodeListing) -> SafeString | str:
        return display.error(row.error)


class ListingsInline(ListingColumns, RowsInline[NodeListing, TrackRun]):
    model = NodeListing
    fields = ("node", "state_badge", "keys_text", "services_text", "took", "error_text")
    ordering = ("node",)


def foreign_counts(foreign: dict[str, int]) -> SafeString | str:
    """Keys that are not ours by their prefix, most first."""
    return display.counts(sorted(foreign.items(), key=lambda one: -one[1]))


@admin.register(TrackRun)
class TrackRunAdmin(ClosesAbandoned, RunColumns, RunPage, RunByHand, TableAdmin[TrackRun]):
    run = Run(
        task="workers.tasks.track_keys",
        button=_("Track now"),
    )
    list_display = ("started", "state_badge", "keys_text", "nodes_text", "took", "error_text")
    list_filter = ("state",)
    ordering = ("-started_at",)
    fields = ("started", "state_badge", "took", "keys_text", "nodes_table", "foreign_text", "error_text")
    inlines = (ListingsInline, SnapshotsInline)

    def close_abandoned(self, now: datetime) -> None:
        track_runs.close_abandoned(now)

    def get_fields(self, request: HttpRequest, obj: TrackRun | None = None) -> tuple[Any, ...]:
        """The rows of the nodes say more than what the run keeps of them; the oldest runs have none."""
        listed = obj is not None and obj.listings.exists()
        return tuple(name for name in self.fields if not (listed and name == "nodes_table"))

    @admin.display(description=_("keys"))
    def keys_text(self, row: TrackRun) -> str:
        return display.number(row.keys_seen)

    @admin.display(description=_("nodes listed"))
    def nodes_text(self, row: TrackRun) -> str:
        return f"{sum(node['ok'] for node in row.nodes.values())} / {len(row.nodes)}" if row.nodes else display.NOTHING

    @admin.display(description=_("nodes"))
    def nodes_table(self, row: TrackRun) -> SafeString | str:
        rows = [
            (name, _listed(node["ok"]), display.number(node["keys"]), display.error(node["error"]))
            for name, node in sorted(row.nodes.items())
        ]
        return display.table((_("node"), _("state"), _("keys"), _("error")), rows)

    @admin.display(description=_("foreign keys"))
    def foreign_text(self, row: TrackRun) -> SafeString | str:
        return foreign_counts(row.foreign)


def _listed(complete: bool) -> SafeString:
    return display.toned(Tone.GOOD, gettext("complete")) if complete else display.toned(Tone.BAD, gettext("not listed"))


@admin.register(NodeListing)
class NodeListingAdmin(ListingColumns, TableAdmin[NodeListing]):
    list_display = ("node", "state_badge", "listed", "keys_text", "services_text", "took", "error_text")
    list_filter = (ByInventoryNode,)
    ordering = ("-id",)
    ordering_of_filter = (("node", ("-listed_at", "-id")),)
    fields = (
        *("run", "node", "state_badge", "listed", "took", "keys_text", "services_table", "foreign_text"),
        *("worker", "attempts", "error_text"),
    )


@admin.register(ServiceSnapshot)
class ServiceSnapshotAdmin(SnapshotColumns, TableAdmin[ServiceSnapshot]):
    list_display = (
        *("service", "taken", "keys_text", "size_text", "reads_text"),
        *("created_text", "removed_text", "expired_text", "unread_text"),
    )
    list_filter = (ByService,)
    list_select_related = ("run",)
    ordering = ("-id",)
    fields = (
        *("run", "service", "keys_text", "size_text", "reads_text"),
        *("created_text", "removed_text", "expired_text", "unread_text", "lives_table"),
    )
