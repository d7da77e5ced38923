"""The stored health runs over HTTP: for staff who may view them, and for whoever has `OPERATIONS_TOKEN`.

GET /health/cache/history?hours=24               the runs of the last hours, oldest first
GET /health/cache/history?hours=24&until=<time>  those of the hours before that time (ISO 8601)

Two days back every run is there, then the worst of each hour. A page has the newest 1,000; the older ones are at
`older`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.vary import vary_on_headers

from api_service.health_page import node_json
from api_service.models import HealthSample
from api_service.operations_token import bearer, is_right, unauthorized
from api_service.problems import problem, reply
from api_service.services import health_history
from api_service.views import no_database, only, staff_may

SEEING: Final = "api_service.view_healthsample"
DEFAULT_HOURS: Final = 24
# Before it no calendar of ours has the hours to look back for
FIRST_YEAR: Final = 2000


@dataclass(frozen=True, slots=True)
class Asked:
    hours: int
    until: datetime


@only("GET", "HEAD")
@vary_on_headers("Authorization", "Cookie")
def history(request: HttpRequest) -> HttpResponse:
    try:
        if refusal := _refused(request):
            return refusal
        asked = _asked(request, timezone.now())
        return reply(_page(asked))
    except ValueError as error:
        step = _("Use ?hours=24, and &until=2026-01-28T12:00:00Z for what was before that time.")
        return problem(400, "bad_parameter", str(error), step)
    except DatabaseTrouble:
        return no_database()


def _refused(request: HttpRequest) -> HttpResponse | None:
    """None for who may read it: the nodes' addresses are in it."""
    if (token := bearer(request)) is not None:
        return None if is_right(token) else unauthorized()
    if not request.user.is_authenticated:
        return unauthorized()
    if not staff_may(request.user, SEEING):
        text = _("This account may not do that.")
        return problem(403, "not_allowed", text, _("Ask for the permission %s.") % SEEING)
    return None


def _asked(request: HttpRequest, now: datetime) -> Asked:
    return Asked(_hours(request.GET.get("hours", str(DEFAULT_HOURS))), _until(request.GET.get("until"), now))


def _hours(text: str) -> int:
    most = settings.HEALTH_RETENTION_DAYS * 24
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= most):
        raise ValueError(_("hours is not a whole number from 1 to %d.") % most)
    return int(text)


def _until(text: str | None, now: datetime) -> datetime:
    """The future has no runs, and a time without its zone is Lima's."""
    newest = now + timedelta(seconds=1)
    if text is None:
        return newest
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.year < FIRST_YEAR:
        raise ValueError(_("until is not a time."))
    return min(newest, moment if timezone.is_aware(moment) else timezone.make_aware(moment))


def _page(asked: Asked) -> dict[str, Any]:
    since = asked.until - timedelta(hours=asked.hours)
    samples, more = health_history.between(since, asked.until)
    page = {
        "success": True,
        "since": timezone.localtime(since).isoformat(),
        "until": timezone.localtime(asked.until).isoformat(),
        "samples": [_sample(sample) for sample in samples],
    }
    return page | {"older": _older(since, samples) if more else None}


def _older(since: datetime, samples: Iterable[HealthSample]) -> str:
    """What of the same time did not fit; hours are whole, so that it may reach back a little further."""
    until = next(iter(samples)).taken_at
    hours = -((since - until) // timedelta(hours=1))
    return f"{reverse('health-cache-history')}?{urlencode({'hours': hours, 'until': until.isoformat()})}"


def _sample(sample: HealthSample) -> dict[str, Any]:
    return {
        "taken_at": timezone.localtime(sample.taken_at).isoformat(),
        "status": sample.status,
        "hourly": sample.hourly,
        "duration_ms": sample.duration_ms,
        "findings": sample.findings,
        "unknown": sample.unknown,
        "nodes": [node_json(row) for row in sample.nodes.all()],
    }
