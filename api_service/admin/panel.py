"""The state of everything in a few tiles: what the first page of the admin shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from api_service.admin import display
from api_service.admin.display import Tone
from api_service.admin.health import findings_words
from api_service.admin.recent import Line, lines
from api_service.models import (
    Delivery,
    HealthSample,
    Incident,
    LookupHour,
    NodeSample,
    Run,
    SpendHour,
    TrackRun,
    WarmRun,
)
from api_service.services.outcomes import Outcome

# Two runs of the schedule missed, and some
LATE = {"health": timedelta(minutes=12), "warm": timedelta(minutes=12), "track": timedelta(minutes=25)}
UNDELIVERED_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class Tile:
    title: str
    url: str
    value: SafeString | str
    notes: tuple[SafeString | str, ...] = ()
    warning: str = ""


@dataclass(frozen=True)
class Panel:
    health: Tile
    nodes: tuple[tuple[str, SafeString, str], ...]
    tiles: tuple[Tile, ...]
    recent: tuple[Line, ...]


def panel(now: datetime) -> Panel:
    """Twelve queries."""
    sample = HealthSample.objects.order_by("-taken_at").prefetch_related("nodes").first()
    return Panel(
        health=_health(sample, now),
        nodes=tuple(_node(row) for row in sample.nodes.all()) if sample else (),
        tiles=(_lookups(now), _spend(now), _alerts(now), _tracked(now), _warmed(now)),
        recent=lines(now),
    )


def is_late(last: datetime, allowed: timedelta, now: datetime) -> bool:
    return now - last > allowed


def _health(sample: HealthSample | None, now: datetime) -> Tile:
    title, url = _("Cache"), _list("healthsample")
    if sample is None:
        return Tile(title, url, display.toned(Tone.WARNING, _("never checked")), (), _no_run())
    notes = [format_html(_("checked {age}"), age=display.age(sample.taken_at, now)), sample.backend]
    counting = [finding for finding in sample.findings if finding.get("counts", True)]
    notes += [findings_words(counting)] if counting else []
    badge = display.badge(sample.status, sample.get_status_display())
    late = is_late(sample.taken_at, LATE["health"], now)
    return Tile(title, url, badge, tuple(notes), _no_run() if late else "")


def _node(row: NodeSample) -> tuple[str, SafeString, str]:
    if not row.reachable:
        return row.node, display.toned(Tone.BAD, _("no answer")), row.error
    facts = [display.number(row.latency_ms, " ms", 1), display.share(row.bytes_used, row.bytes_limit)]
    tone, word = (Tone.WARNING, _("restarted")) if row.restarted else (Tone.GOOD, _("answers"))
    return row.node, display.toned(tone, word), " · ".join(fact for fact in facts if fact != display.NOTHING)


def _lookups(now: datetime) -> Tile:
    rows = LookupHour.objects.filter(hour__gt=now - timedelta(hours=24)).values_list("outcome")
    counts = dict(rows.annotate(total=Sum("count")))
    total, title, url = sum(counts.values()), _("Answered by the cache, 24 h"), _list("lookuphour")
    if not total:
        return Tile(title, url, display.NOTHING, (_("no look-ups"),))
    known = counts.get(Outcome.HIT, 0) + counts.get(Outcome.NEGATIVE, 0)
    text = ngettext("of %(count)s look-up", "of %(count)s look-ups", total) % {"count": display.number(total)}
    outages = counts.get(Outcome.OUTAGE, 0)
    warning = ngettext("%(count)s while the cache was down", "%(count)s while the cache was down", outages)
    return Tile(title, url, display.share(known, total), (text,), warning % {"count": outages} if outages else "")


def _spend(now: datetime) -> Tile:
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = SpendHour.objects.filter(hour__gte=midnight).values_list("purpose")
    counts = dict(rows.annotate(total=Sum("queries")))
    warmed = _("%(count)s of them by warming") % {"count": display.number(counts.get("warm", 0))}
    return Tile(_("Paid queries today"), _list("spendhour"), display.number(sum(counts.values())), (warmed,))


def _alerts(now: datetime) -> Tile:
    opened = list(Incident.objects.filter(resolved_at=None).order_by("opened_at").values_list("opened_at", flat=True))
    title, url = _("Open incidents"), _list("incident")
    since = (_("for %(age)s") % {"age": display.period(opened[0], now)},) if opened else (_("all is well"),)
    value = display.toned(Tone.BAD if opened else Tone.GOOD, len(opened))
    return Tile(title, url, value, since, _undelivered(now))


def _undelivered(now: datetime) -> str:
    state = Delivery.State
    failed = Q(state=state.FAILED, created_at__gt=now - UNDELIVERED_WITHIN)
    waiting = Q(state=state.PENDING, attempts__gt=0)
    number = Delivery.objects.filter(failed | waiting).aggregate(number=Count("pk"))["number"]
    text = ngettext("%(count)s alert has not arrived", "%(count)s alerts have not arrived", number)
    return text % {"count": number} if number else ""


def _tracked(now: datetime) -> Tile:
    run = TrackRun.objects.order_by("-started_at").first()
    notes = _listed(run) if run else ()
    return _run(_("Key inventory"), run or TrackRun, notes, LATE["track"], now)


def _listed(run: TrackRun) -> tuple[str, ...]:
    """Keys and nodes; those of a run that is under way come from its nodes, as far as they are."""
    state, nodes = Run.State, list(run.listings.filter(retired=False).values_list("state", "keys"))
    keys = run.keys_seen if run.state == state.DONE else sum(keys for _state, keys in nodes)
    text = _("%(keys)s keys") % {"keys": display.number(keys)}
    if not nodes:
        return (text,)
    facts = {"done": sum(one == state.DONE for one, _keys in nodes), "all": len(nodes)}
    return text, _("%(done)s of %(all)s nodes listed") % facts


def _warmed(now: datetime) -> Tile:
    run = WarmRun.objects.order_by("-started_at").first()
    notes: tuple[str, ...] = ()
    if run:
        facts = {"loaded": display.number(run.from_store + run.refreshed), "paid": display.number(run.paid)}
        notes = (_("%(loaded)s loaded again, %(paid)s paid") % facts,)
    return _run(_("Warming"), run or WarmRun, notes, LATE["warm"], now)


def _run(title: str, run: Run | type[Run], notes: tuple[str, ...], late: timedelta, now: datetime) -> Tile:
    """The class stands for a run that never was."""
    url = _list(str(run._meta.model_name))
    if not isinstance(run, Run):
        return Tile(title, url, display.toned(Tone.WARNING, _("never ran")), (), _no_run())
    value = display.badge(run.state, Run.State(run.state).label)
    warning = _no_run() if is_late(run.started_at, late, now) else run.error
    return Tile(title, url, value, (display.age(run.started_at, now), *notes), warning)


def _no_run() -> str:
    return _("No recent run: do worker and beat run?")


def _list(model: str) -> str:
    return reverse(f"admin:api_service_{model}_changelist")
