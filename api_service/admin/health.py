"""What the health checks saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.base import RowsInline, TableAdmin
from api_service.admin.filters import ByHealthNode
from api_service.admin.node_columns import NodeColumns
from api_service.admin.row_names import NamedRows
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.models import HealthSample, NodeSample, OperationReads
from api_service.services.finding_states import EVERY_NODE
from api_service.services.translated import translated


def findings_table(findings: Iterable[Mapping[str, Any]]) -> SafeString | str:
    """What is wrong, worst first."""
    rows = [
        (
            display.badge(one["severity"], words.word(words.SEVERITIES, one["severity"])),
            words.word(words.FINDINGS, one["code"]),
            words.place(one["code"], one.get("node", "")) or display.NOTHING,
            measured(one.get("value", "")),
            measured(one.get("limit", "")),
            _since(one),
        )
        for one in sorted(findings, key=lambda one: one["severity"] != "unhealthy")
    ]
    return display.table((_("severity"), _("what"), _("node"), _("value"), _("limit"), _("since")), rows)


def measured(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: display.NOTHING, True: gettext("yes"), False: gettext("no")}[value]
    if isinstance(value, int | float):
        return display.number(int(value) if value == int(value) else value)
    return translated(str(value)) or display.NOTHING


def _since(finding: Mapping[str, Any]) -> SafeString | str:
    """One that has not been seen often enough is told by nobody yet."""
    if not finding.get("counts", True):
        return gettext("does not count yet")
    since = finding.get("since")
    return display.age(parse_datetime(since), timezone.now()) if since else display.NOTHING


def findings_words(findings: Iterable[Mapping[str, Any]]) -> str:
    """The findings in a line, for a list."""
    return ", ".join(dict.fromkeys(map(_in_words, findings))) or display.NOTHING


def _in_words(finding: Mapping[str, Any]) -> str:
    """Beside a status that it has no part in, a finding has to say so."""
    text = words.trouble(finding["code"], finding.get("node", ""))
    return text if finding.get("counts", True) else f"{text} ({gettext('does not count yet')})"


def unknown_table(unknown: Iterable[Mapping[str, str]] | None) -> SafeString | str:
    """What could be judged neither way: a row a finding, however many nodes it is of."""
    if unknown is None:
        return gettext("not kept by the version that made this run")
    nodes: dict[str, list[str]] = {}
    for one in unknown:
        where = gettext("all") if one["node"] == EVERY_NODE else words.place(one["code"], one["node"])
        nodes.setdefault(one["code"], []).append(where)
    rows = [
        (words.word(words.FINDINGS, code), ", ".join(names).strip() or display.NOTHING) for code, names in nodes.items()
    ]
    return display.table((_("what"), _("nodes")), rows)


def around_table(around: Mapping[str, Any]) -> SafeString | str:
    """What was read beside the nodes, whatever its depth: a row a reading, a line a value."""
    rows = [
        (words.word(words.READINGS, reading), "\n".join(f"{fact}: {measured(value)}" for fact, value in _flat(facts)))
        for reading, facts in sorted(around.items())
    ]
    return display.table((_("reading"), _("facts")), rows)


def _flat(facts: object, path: str = "") -> Iterator[tuple[str, object]]:
    """`{"queues": {"health": {"length": 3}}}` → `("queues.health.length", 3)`; a list in one line."""
    if isinstance(facts, Mapping):
        # PostgreSQL keeps no order of names
        for name, value in sorted(facts.items()):
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, ", ".join(map(str, facts)) if isinstance(facts, list) else facts


class NodesInline(NodeColumns, RowsInline[NodeSample, HealthSample]):
    model = NodeSample
    fields = (
        *("node", "state_with_error", "latency", "memory", "items_text", "hits_since"),
        *("evictions_since", "expired_since", "connections_text", "booted", "of_redis"),
    )


@admin.register(HealthSample)
class HealthSampleAdmin(RunByHand, TableAdmin[HealthSample]):
    run = Run(
        task="workers.tasks.monitor_cache_health",
        button=_("Check now"),
    )
    list_display = ("taken", "status_badge", "what", "duration", "backend")
    list_filter = ("status",)
    ordering = ("-taken_at",)
    fields = (
        *("taken", "status_badge", "backend", "duration", "checks_table", "findings_rows", "unknown_rows"),
        "around_table",
        *("kept", "judged"),
    )
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
        rows = [(words.word(words.CHECKS, name), display.error(text)) for name, text in row.checks.items()]
        return display.table((_("check"), _("result")), rows)

    @admin.display(description=_("findings"))
    def findings_rows(self, row: HealthSample) -> SafeString | str:
        return findings_table(row.findings)

    @admin.display(description=_("not judged"))
    def unknown_rows(self, row: HealthSample) -> SafeString | str:
        return unknown_table(row.unknown)

    @admin.display(description=_("around the cache"))
    def around_table(self, row: HealthSample) -> SafeString | str:
        return around_table(row.around)

    @admin.display(description=_("kept"), boolean=False)
    def kept(self, row: HealthSample) -> str:
        return str(_("the worst of its hour") if row.hourly else _("every run of the last two days"))

    @admin.display(description=_("judged by the alert rules"))
    def judged(self, row: HealthSample) -> str:
        return display.age(row.judged_at, timezone.now())


@admin.register(NodeSample)
class NodeSampleAdmin(NamedRows, NodeColumns, TableAdmin[NodeSample]):
    list_display = ("node", "taken", "state_badge", "median", "memory_share", "hits_since", "evictions_since")
    list_filter = (ByHealthNode,)
    list_select_related = ("sample",)
    ordering = ("-id",)
    fields = (
        *("sample", "node", "state_badge", "error_text", "latency", "version", "pid", "booted", "items_text", "memory"),
        *("hits_since", "hits_of_boot", "evictions_since", "evictions_text", "expired_since", "expired_text"),
        *("connections_text", "rejected_text", "of_redis"),
    )

    def row_name(self, row: NodeSample) -> str:
        return f"{row.node}: {gettext('reachable') if row.reachable else gettext('no answer')}"

    @admin.display(description=_("taken"))
    def taken(self, row: NodeSample) -> str:
        return display.age(row.sample.taken_at, timezone.now())


@admin.register(OperationReads)
class OperationReadsAdmin(TableAdmin[OperationReads]):
    list_display = ("node", "operation", "began", "hits_text", "misses_text", "took")
    list_filter = ("operation",)
    ordering = ("-id",)
    fields = ("node", "operation", "began", "took", "before_text", "after_text", "hits_text", "misses_text")

    @admin.display(description=_("began"))
    def began(self, row: OperationReads) -> str:
        return display.age(row.began_at, timezone.now())

    @admin.display(description=_("duration"))
    def took(self, row: OperationReads) -> str:
        """Of what goes on, or was killed, the end is not known."""
        return display.NOTHING if row.hits_after is None else display.period(row.began_at, row.over_by)

    @admin.display(description=_("hits before"))
    def before_text(self, row: OperationReads) -> str:
        return display.number(row.hits_before)

    @admin.display(description=_("hits after"))
    def after_text(self, row: OperationReads) -> str:
        return display.number(row.hits_after)

    @admin.display(description=_("own hits"))
    def hits_text(self, row: OperationReads) -> str:
        return display.number(row.hits)

    @admin.display(description=_("own misses"))
    def misses_text(self, row: OperationReads) -> str:
        return display.number(row.misses)
