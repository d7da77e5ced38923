"""Is the cache healthy, since when, and each of its nodes: by the last health run, unless that is too old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import display
from api_service.admin.dashboard import links
from api_service.admin.display import Tone
from api_service.admin.health import findings_words
from api_service.models import HealthSample, NodeSample, Status

# Two runs missed, and some
LATE_PERIODS = 2.4
HEADLINES: dict[str, tuple[Tone, Promise]] = {
    Status.HEALTHY: (Tone.GOOD, gettext_lazy("The cache is healthy")),
    Status.WARNING: (Tone.WARNING, gettext_lazy("The cache works, with warnings")),
    Status.UNHEALTHY: (Tone.BAD, gettext_lazy("The cache has failures")),
}
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Node:
    """`memory` is the share used in per cent, for a bar; None where it is not known."""

    name: str
    badge: SafeString
    error: SafeString
    latency: str
    memory: float | None
    memory_text: str
    hit_ratio: str
    items: str


@dataclass(frozen=True)
class Health:
    """A change of `headline` is announced, nothing else. `since` is "" where it is not known."""

    tone: Tone
    headline: str
    since: SafeString | str
    checked: SafeString | str
    backend: str
    findings: str
    warning: str
    url: str
    nodes: tuple[Node, ...]


def last_sample() -> HealthSample | None:
    """The newest with its nodes, and as `status_since` when the status became what it is. Two queries.

    Older than two days there is the worst sample of each hour: there it is true to the hour.
    """
    other = HealthSample.objects.exclude(status=OuterRef(OuterRef("status"))).order_by("-taken_at").values("taken_at")
    same = HealthSample.objects.filter(taken_at__gt=Coalesce(Subquery(other[:1]), Value(_BEGINNING)))
    since = Subquery(same.order_by("taken_at").values("taken_at")[:1])
    rows = HealthSample.objects.order_by("-taken_at").annotate(status_since=since)
    return rows.prefetch_related("nodes").first()


def look(sample: HealthSample | None, now: datetime, period: timedelta) -> Health:
    """Of what `last_sample` found; `period` is the time between two health runs."""
    url = links.list_of(HealthSample)
    if sample is None:
        never = _("The cache was never checked")
        return Health(Tone.WARNING, never, "", display.NOTHING, "", "", no_run(), url, ())
    tone, headline = HEADLINES[sample.status]
    counting = [finding for finding in sample.findings if finding.get("counts", True)]
    old = is_late(sample.taken_at, period, now)
    return Health(
        tone=Tone.WARNING if old else tone,
        headline=_("Not known: the last check is too old") if old else str(headline),
        since="" if old else display.period(getattr(sample, "status_since"), now),  # noqa: B009 - an annotation
        checked=display.age(sample.taken_at, now),
        backend=sample.backend,
        findings=findings_words(counting) if counting else "",
        warning=no_run() if old else "",
        url=url,
        nodes=tuple(_node(row) for row in sorted(sample.nodes.all(), key=lambda row: (row.reachable, row.node))),
    )


def _node(row: NodeSample) -> Node:
    tone, word = _state(row)
    return Node(
        name=row.node,
        badge=display.toned(tone, word),
        error=display.error_if_any(row.error),
        latency=display.number(row.latency_ms, " ms", 1),
        memory=100 * row.bytes_used / row.bytes_limit if row.bytes_used is not None and row.bytes_limit else None,
        memory_text=display.share(row.bytes_used, row.bytes_limit),
        hit_ratio=display.share(row.hit_ratio, 1),
        items=display.number(row.items),
    )


def _state(row: NodeSample) -> tuple[Tone, str]:
    if not row.reachable:
        return Tone.BAD, _("no answer")
    return (Tone.WARNING, _("restarted")) if row.restarted else (Tone.GOOD, _("answers"))


def is_late(last: datetime, period: timedelta, now: datetime) -> bool:
    return now - last > LATE_PERIODS * period


def no_run() -> str:
    return _("No recent run: do worker and beat run?")
