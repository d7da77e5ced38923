"""What was written to or taken from the cache of late, other than by look-ups: a line each for the first page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from api_service.admin import display
from api_service.admin.dashboard.links import User, may_see
from api_service.models import ClearRun, CopyRun, RefillRun, Run

LATELY = timedelta(days=1)
# Of each kind: a person needs the last ones, the lists have the others
MOST = 3


class Line(NamedTuple):
    badge: SafeString
    url: str
    text: str
    age: SafeString | str
    error: SafeString


def lines(user: User, now: datetime) -> tuple[Line, ...]:
    """Newest first, of those that the person may see. Three queries."""
    return tuple(_line(run, now) for run in sorted(_runs(user, now), key=attrgetter("started_at"), reverse=True))


def _runs(user: User, now: datetime) -> Iterator[Run]:
    for rows in (RefillRun.objects, ClearRun.objects, CopyRun.objects):
        if may_see(user, rows.model):
            yield from rows.filter(started_at__gt=now - LATELY).order_by("-started_at")[:MOST]


def _line(run: Run, now: datetime) -> Line:
    url = reverse(f"admin:api_service_{run._meta.model_name}_change", args=[run.pk])
    badge = display.badge(run.state, Run.State(run.state).label)
    return Line(badge, url, _text(run), display.age(run.started_at, now), display.error_if_any(run.error))


def _text(run: Run) -> str:
    match run:
        case RefillRun():
            text = ngettext(
                "Refill of %(node)s: %(count)s answer written",
                "Refill of %(node)s: %(count)s answers written",
                run.written,
            )
            return text % {"node": run.node, "count": display.number(run.written)}
        case ClearRun(dry_run=True):
            text = ngettext(
                "Dry run of a clearing of %(what)s: %(count)s key found",
                "Dry run of a clearing of %(what)s: %(count)s keys found",
                run.found,
            )
            return text % {"what": _cleared(run), "count": display.number(run.found)}
        case ClearRun():
            text = ngettext(
                "Clearing of %(what)s: %(count)s key removed",
                "Clearing of %(what)s: %(count)s keys removed",
                run.removed,
            )
            return text % {"what": _cleared(run), "count": display.number(run.removed)}
        case CopyRun():
            text = ngettext(
                "Copy to %(target)s: %(count)s key copied", "Copy to %(target)s: %(count)s keys copied", run.copied
            )
            return text % {"target": run.target, "count": display.number(run.copied)}
    raise TypeError(run)


def _cleared(run: ClearRun) -> str:
    """As a key begins: `migo:ruc_20*`."""
    return run.service + (f":{run.kind or '*'}_{run.pattern or '*'}" if run.kind or run.pattern else "")
