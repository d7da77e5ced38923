"""What the health checks saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import RowsInline, TableAdmin
from api_service.admin.display import Tone
from api_service.admin.filters import ByHealthNode
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.models import HealthSample, NodeSample


def findings_table(findings: Iterable[Mapping[str, Any]]) -> SafeString | str:
    """What is wrong, worst first."""
    rows = [
        (
            display.badge(one["severity"], words.word(words.SEVERITIES, one["severity"])),
            words.word(words.FINDINGS, one["code"]),
            one.get("node") or display.NOTHING,
            measured(one.get("value", "")),
            measured(one.get("limit", "")),
        )
        for one in sorted(findings, key=lambda one: one["severity"] != "unhealthy")
    ]
    return display.table((_("severity"), _("what"), _("node"), _("value"), _("limit")), rows)


def measured(value: object) -> str:
    if isinstance(value, int | float):
        return display.number(int(value) if value == int(value) else value)
    return str(value) or display.NOTHING


def findings_words(findings: Iterable[Mapping[str, Any]]) -> str:
    """The findings in a line, for a list."""
    texts = dict.fromkeys(
        f"{words.word(words.FINDINGS, one['code'])} {one.get('node', '')}".strip() for one in findings
    )
    return ", ".join(texts) or display.NOTHING


class NodeFacts:
    """Mix-in: the facts of a node as columns."""

    @admin.display(description=_("state"))
    def state_badge(self, row: NodeSample) -> SafeString:
        if not row.reachable:
            return display.toned(Tone.BAD, gettext("no answer"))
        return (
            display.toned(Tone.WARNING, gettext("restarted"))
            if row.restarted
            else display.toned(Tone.GOOD, gettext("answers"))
        )

    @admin.display(description=_("state"))
    def state_with_error(self, row: NodeSample) -> SafeString:
        return format_html("{} {}", self.state_badge(row), row.error)

    @admin.display(description=_("error"))
    def error_text(self, row: NodeSample) -> str:
        return row.error or display.NOTHING

    @admin.display(description=_("latency"))
    def latency(self, row: NodeSample) -> str:
        return display.number(row.latency_ms, " ms", 1)

    @admin.display(description=_("memory"))
    def memory(self, row: NodeSample) -> str:
        if row.bytes_used is None:
            return display.NOTHING
        used = display.size(row.bytes_used)
        if not row.bytes_limit:
            return used
        facts = {"share": display.share(row.bytes_used, row.bytes_limit), "limit": display.size(row.bytes_limit)}
        return gettext("%(share)s of %(limit)s") % facts

    @admin.display(description=_("items"))
    def items_text(self, row: NodeSample) -> str:
        return display.number(row.items)

    @admin.display(description=_("evictions"))
    def evictions_text(self, row: NodeSample) -> str:
        return display.number(row.evictions)

    @admin.display(description=_("hits"))
    def hit_ratio(self, row: NodeSample) -> str:
        """Since the node's boot."""
        return display.share(row.hits, (row.hits or 0) + (row.misses or 0))

    @admin.display(description=_("connections"))
    def connections_text(self, row: NodeSample) -> str:
        of = f" / {display.number(row.max_connections)}" if row.max_connections else ""
        return display.number(row.connections) + of

    @admin.display(description=_("booted"))
    def booted(self, row: NodeSample) -> str:
        return display.age(row.booted_at, timezone.now())


class NodesInline(NodeFacts, RowsInline[NodeSample, HealthSample]):
    model = NodeSample
    fields = ("node", "state_with_error", "latency", "memory", "items_text", "hit_ratio", "evictions_text", "booted")


@admin.register(HealthSample)
class HealthSampleAdmin(RunByHand, TableAdmin[HealthSample]):
    run = Run(
        task="workers.tasks.monitor_cache_health",
        button=_("Check now"),
        sent=_(
            "The health check is in its queue: reload this list in a few seconds. "
            "No new row after a minute means that no worker runs."
        ),
    )
    list_display = ("taken", "status_badge", "what", "duration", "backend")
    list_filter = ("status",)
    ordering = ("-taken_at",)
    fields = ("taken", "status_badge", "backend", "duration", "checks_table", "findings_rows", "judged")
    inlines = (NodesInline,)

    @admin.display(description=_("taken"))
    def taken(self, row: HealthSample) -> str:
        return display.age(row.taken_at, timezone.now())

    @admin.display(description=_("status"))
    def status_badge(self, row: HealthSample) -> SafeString:
        return display.badge(row.status, row.get_status_display())

    @admin.display(description=_("findings"))
    def what(self, row: HealthSample) -> str:
        return findings_words(row.findings)

    @admin.display(description=_("duration"))
    def duration(self, row: HealthSample) -> str:
        return display.number(row.duration_ms, " ms", 1)

    @admin.display(description=_("checks"))
    def checks_table(self, row: HealthSample) -> SafeString | str:
        rows = [(words.word(words.CHECKS, name), text) for name, text in row.checks.items()]
        return display.table((_("check"), _("result")), rows)

    @admin.display(description=_("findings"))
    def findings_rows(self, row: HealthSample) -> SafeString | str:
        return findings_table(row.findings)

    @admin.display(description=_("judged by the alert rules"))
    def judged(self, row: HealthSample) -> str:
        return display.age(row.judged_at, timezone.now())


@admin.register(NodeSample)
class NodeSampleAdmin(NodeFacts, TableAdmin[NodeSample]):
    list_display = ("node", "taken", "state_badge", "latency", "memory", "hit_ratio", "evictions_text")
    list_filter = (ByHealthNode,)
    list_select_related = ("sample",)
    ordering = ("-id",)
    fields = (
        *("sample", "node", "state_badge", "error_text", "latency", "version", "pid", "booted"),
        *("items_text", "memory", "evictions_text", "hit_ratio", "connections_text"),
    )

    @admin.display(description=_("taken"))
    def taken(self, row: NodeSample) -> str:
        return display.age(row.sample.taken_at, timezone.now())
