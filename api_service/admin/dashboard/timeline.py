"""Incidents on a time line: a row for each trouble, and when it was open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from api_service.admin import display, words
from api_service.admin.dashboard import links
from api_service.admin.dashboard.history import Axis
from api_service.admin.dashboard.periods import Buckets
from api_service.admin.dashboard.sums import Bucket
from api_service.models import Incident, Status

ROWS_SHOWN = 12
# What is drawn is no finer than this
WIDTH = 1000
# A short trouble must be seen, too
NARROWEST = 3
# The database makes one of the incidents of a kind that began within one of so many steps
STEPS = 250


@dataclass(frozen=True)
class Trouble:
    """`count` incidents of one kind that began close together; `end` is that of the last, None while one is open."""

    code: str
    is_bad: bool
    start: datetime
    end: datetime | None
    count: int = 1
    open: int = 0


@dataclass(frozen=True)
class Bar:
    """`x` and `width` in thousandths of the time shown; `tone` is "bad" or "warning"."""

    x: int
    width: int
    tone: str


@dataclass(frozen=True)
class Row:
    name: str
    words: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Timeline:
    """`ticks` are the names of its beginning, middle and end."""

    title: str
    url: str
    rows: tuple[Row, ...]
    more: str
    ticks: tuple[str, ...]
    empty: str


def troubles(start: datetime, end: datetime) -> list[Trouble]:
    """Those that were open at some time between. One query, and some hundred rows, however many incidents."""
    step = max((end - start) // STEPS, timedelta(seconds=1))
    rows = Incident.objects.filter(Q(resolved_at=None) | Q(resolved_at__gte=start), since__lt=end)
    grouped = rows.values_list("code", "severity", Bucket("since", Buckets(start, step, STEPS))).annotate(
        first=Min("since"), last=Max("resolved_at"), count=Count("pk"), open=Count("pk", filter=Q(resolved_at=None))
    )
    return [
        Trouble(code, severity == Status.UNHEALTHY, first, None if still_open else last, count, still_open)
        for code, severity, _step, first, last, count, still_open in grouped
    ]


def timeline(on: Axis, found: Sequence[Trouble], now: datetime) -> Timeline:
    start = on.buckets.start
    by_code: dict[str, list[Trouble]] = {}
    for one in found:
        by_code.setdefault(one.code, []).append(one)
    ordered = sorted(by_code.items(), key=lambda item: (-sum(one.count for one in item[1]), item[0]))
    rows = tuple(_row(code, of, start, now) for code, of in ordered[:ROWS_SHOWN])
    return Timeline(
        title=_("Incidents"),
        url=links.list_of(Incident),
        rows=rows,
        more=_more(len(ordered) - len(rows)),
        ticks=(on.heads[0], on.heads[len(on.heads) // 2], _("now")),
        empty=_("No incident in this time."),
    )


def _more(kinds_left: int) -> str:
    if kinds_left <= 0:
        return ""
    return ngettext("and %(count)s kind more", "and %(count)s kinds more", kinds_left) % {"count": kinds_left}


def _row(code: str, of: Sequence[Trouble], start: datetime, now: datetime) -> Row:
    count, still_open = sum(one.count for one in of), sum(one.open for one in of)
    text = ngettext("%(count)s incident", "%(count)s incidents", count) % {"count": display.number(count)}
    if still_open:
        text += ", " + ngettext("%(count)s open", "%(count)s open", still_open) % {"count": display.number(still_open)}
    return Row(words.word(words.INCIDENTS, code), text, tuple(_merged(_bar(one, start, now) for one in of)))


def _bar(one: Trouble, start: datetime, now: datetime) -> Bar:
    """What began earlier is drawn from the beginning on."""
    left, right = (_place(moment, start, now) for moment in (one.start, one.end or now))
    return Bar(min(left, WIDTH - NARROWEST), max(right - left, NARROWEST), "bad" if one.is_bad else "warning")


def _place(moment: datetime, start: datetime, now: datetime) -> int:
    return min(WIDTH, max(0, round(WIDTH * ((moment - start) / (now - start)))))


def _merged(bars: Iterable[Bar]) -> list[Bar]:
    """Bars of one colour that touch become one: what is drawn does not grow with the number of incidents."""
    found: list[Bar] = []
    for bar in sorted(bars, key=lambda one: (one.tone, one.x)):
        last = found[-1] if found else None
        if last and last.tone == bar.tone and bar.x <= last.x + last.width:
            found[-1] = Bar(last.x, max(last.width, bar.x + bar.width - last.x), last.tone)
        else:
            found.append(bar)
    # What is bad lies on top
    return sorted(found, key=lambda one: one.tone != "warning")
