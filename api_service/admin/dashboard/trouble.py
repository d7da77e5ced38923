"""What is wrong now and what to do about it: open incidents, alerts that did not arrive, schedules that are late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from api_service.admin import display, schedules, words
from api_service.admin.dashboard import links
from api_service.admin.display import Tone
from api_service.models import Delivery, Incident, ScheduleRun, Status
from api_service.services import advice
from api_service.services.beat_rules import Watched, late

# What a person reads at a glance; the list has the others
INCIDENTS_SHOWN = 6
# Counted no further: beyond it nobody counts either
INCIDENTS_READ = 200
UNDELIVERED_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class Open:
    """One open incident; `runbook` is "" or an address, `code` the runbook's heading."""

    url: str
    badge: SafeString
    title: str
    code: str
    since: SafeString | str
    state: str
    next_step: str
    runbook: str


@dataclass(frozen=True)
class Incidents:
    url: str
    count: str
    tone: Tone
    shown: tuple[Open, ...]
    more: str


@dataclass(frozen=True)
class Schedule:
    name: str
    badge: SafeString
    succeeded: SafeString | str
    due: SafeString | str
    error: SafeString


@dataclass(frozen=True)
class Schedules:
    url: str
    tone: Tone
    text: str
    warning: str
    rows: tuple[Schedule, ...]


# -- incidents


def open_incidents() -> list[Incident]:
    """The newest of them, worst first. One query, along the index of those that are open."""
    rows = Incident.objects.filter(resolved_at=None).order_by("-opened_at")[:INCIDENTS_READ]
    return sorted(rows, key=lambda row: row.current != Status.UNHEALTHY)


def incidents(rows: Sequence[Incident], now: datetime) -> Incidents:
    url = links.list_of(Incident, "?open=yes")
    count = display.number(len(rows)) + ("+" if len(rows) == INCIDENTS_READ else "")
    left = len(rows) - INCIDENTS_SHOWN
    more = ngettext("and %(count)s more", "and %(count)s more", max(left, 0)) % {"count": display.number(left)}
    tone = Tone.GOOD if not rows else _tone(rows[0])
    shown = tuple(_open(row, now) for row in rows[:INCIDENTS_SHOWN])
    return Incidents(url, count, tone, shown, more if left > 0 else "")


def _tone(row: Incident) -> Tone:
    return display.TONES.get(row.current, Tone.WARNING)


def _open(row: Incident, now: datetime) -> Open:
    known = advice.of(row.code, row.node, row.value, row.limit)
    title = words.trouble(row.code, row.node)
    return Open(
        url=links.page_of(Incident, row.pk),
        badge=display.badge(row.current, row.get_current_display()),
        title=title,
        code=row.code,
        since=display.age(row.since, now),
        state=_state(row, now),
        next_step=known.next_step if known else "",
        runbook=known.runbook if known else "",
    )


def _state(row: Incident, now: datetime) -> str:
    if row.muted_until is not None and row.muted_until > now:
        return _("muted by %(name)s") % {"name": row.muted_by}
    if row.acknowledged_at is not None:
        return _("acknowledged by %(name)s") % {"name": row.acknowledged_by}
    return _("comes and goes") if row.flapping_since is not None else ""


def undelivered(now: datetime) -> str:
    """How many alerts somebody should have got and has not; "" when all arrived. One query."""
    state = Delivery.State
    failed = Q(state=state.FAILED, created_at__gt=now - UNDELIVERED_WITHIN)
    waiting = Q(state=state.PENDING, attempts__gt=0)
    number = Delivery.objects.filter(failed | waiting).aggregate(number=Count("pk"))["number"]
    text = ngettext("%(count)s alert has not arrived", "%(count)s alerts have not arrived", number)
    return text % {"count": display.number(number)} if number else ""


# -- schedules


def schedules_of(watched: Sequence[Watched], now: datetime) -> Schedules:
    url = links.list_of(ScheduleRun)
    if not watched:
        return Schedules(url, Tone.WARNING, _("none is on"), _("Beat has not started here."), ())
    found = late(watched)
    ordered = [*found, *(one for one in watched if one not in found)]
    rows = tuple(_schedule(one, now) for one in ordered)
    if not found:
        text = ngettext("%(count)s on time", "%(count)s on time", len(watched)) % {"count": len(watched)}
        return Schedules(url, Tone.GOOD, text, "", rows)
    text = ngettext("%(count)s late", "%(count)s late", len(found)) % {"count": len(found)}
    return Schedules(url, Tone.BAD, text, "", rows)


def _schedule(one: Watched, now: datetime) -> Schedule:
    seen = one.seen
    return Schedule(
        name=seen.name,
        badge=schedules.badge(one, now),
        succeeded=display.age(seen.succeeded_at, now),
        due=display.age(seen.next_due, now),
        error=display.error_if_any(seen.error),
    )
