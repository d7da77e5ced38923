"""The facts of a node in a health run, as columns of a list and fields of a page."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.display import Tone
from api_service.models import NodeSample


class NodeColumns:
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
        return format_html("{} {}", self.state_badge(row), display.error_if_any(row.error))

    @admin.display(description=_("error"))
    def error_text(self, row: NodeSample) -> SafeString | str:
        return display.error(row.error)

    @admin.display(description=_("latency"))
    def median(self, row: NodeSample) -> str:
        return _milliseconds(row.latency_ms)

    @admin.display(description=_("latency"))
    def latency(self, row: NodeSample) -> str:
        """The median, and the worst where it is another."""
        median, worst = _milliseconds(row.latency_ms), _milliseconds(row.latency_worst_ms)
        if worst in (display.NOTHING, median):
            return median
        return gettext("%(median)s, worst %(worst)s") % {"median": median, "worst": worst}

    @admin.display(description=_("memory"))
    def memory(self, row: NodeSample) -> str:
        if row.bytes_used is None:
            return display.NOTHING
        used = display.size(row.bytes_used)
        if not row.bytes_limit:
            return used
        facts = {"share": display.share(row.bytes_used, row.bytes_limit), "limit": display.size(row.bytes_limit)}
        return gettext("%(share)s of %(limit)s") % facts

    @admin.display(description=_("memory"))
    def memory_share(self, row: NodeSample) -> str:
        return display.share(row.bytes_used, row.bytes_limit) if row.bytes_limit else display.size(row.bytes_used)

    @admin.display(description=_("items"))
    def items_text(self, row: NodeSample) -> str:
        return display.number(row.items)

    @admin.display(description=_("evictions since its boot"))
    def evictions_text(self, row: NodeSample) -> str:
        return display.number(row.evictions)

    @admin.display(description=_("evictions a minute"))
    def evictions_since(self, row: NodeSample) -> str:
        return display.number(row.evictions_per_minute)

    @admin.display(description=_("expired unread since its boot"))
    def expired_text(self, row: NodeSample) -> str:
        return display.number(row.expired_unfetched)

    @admin.display(description=_("expired unread a minute"))
    def expired_since(self, row: NodeSample) -> str:
        return display.number(row.expired_unfetched_per_minute)

    @admin.display(description=_("hits"))
    def hits_since(self, row: NodeSample) -> str:
        """Since the run before."""
        return display.share(row.hit_ratio, 1)

    @admin.display(description=_("hits since its boot"))
    def hits_of_boot(self, row: NodeSample) -> str:
        return display.share(row.hits, (row.hits or 0) + (row.misses or 0))

    @admin.display(description=_("rejected connections"))
    def rejected_text(self, row: NodeSample) -> str:
        return display.number(row.rejected_connections)

    @admin.display(description=_("details"))
    def of_redis(self, row: NodeSample) -> SafeString | str:
        """What only Redis says, and why a first attempt failed. PostgreSQL keeps no order of names."""
        known = [name for name in words.NODE_DETAILS if name in row.details]
        names = [*known, *sorted(row.details.keys() - words.NODE_DETAILS.keys())]
        named = ((words.word(words.NODE_DETAILS, name), display.error(str(row.details[name]))) for name in names)
        return format_html_join("; ", "{}:&nbsp;{}", named) or display.NOTHING

    @admin.display(description=_("connections"))
    def connections_text(self, row: NodeSample) -> str:
        of = f" / {display.number(row.max_connections)}" if row.max_connections else ""
        return display.number(row.connections) + of

    @admin.display(description=_("booted"))
    def booted(self, row: NodeSample) -> str:
        return display.age(row.booted_at, timezone.now())


def _milliseconds(value: float | None) -> str:
    return display.number(value, " ms", 1 if value is None or value >= 1 else 2)
