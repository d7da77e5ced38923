"""The parts of the page as htmx asks for them again, and the URLs of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from api_service.admin.dashboard import page
from api_service.admin.dashboard.periods import PERIODS, Period, chosen

View = Callable[[HttpRequest], HttpResponse]
FOLDER = "api_service/admin/dashboard"


def part(view: View) -> View:
    """For staff. Where the session has ended the page loads itself again: a log-in inside a tile helps nobody."""

    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if not admin.site.has_permission(request):
            return HttpResponse(status=403, headers={"HX-Refresh": "true"})
        return view(request)

    return never_cache(require_GET(answer))


@part
def now(request: HttpRequest) -> HttpResponse:
    return render(request, f"{FOLDER}/now.html", now_context(request))


@part
def runs(request: HttpRequest) -> HttpResponse:
    return render(request, f"{FOLDER}/runs.html", {"runs": page.runs_of(request.user, timezone.now())})


@part
def charts(request: HttpRequest) -> HttpResponse:
    period = chosen(request.GET)
    context = {"charts": page.charts_of(request.user, period, timezone.now()), "period": period}
    return render(request, f"{FOLDER}/charts.html", context)


def now_context(request: HttpRequest) -> dict[str, Any]:
    """Of the part that the page has from the beginning."""
    moment, period = timezone.now(), chosen(request.GET)
    return {
        "now": page.now_of(request.user, period, moment),
        "read_at": timezone.localtime(moment),
        "period": period,
        "periods": tuple(_choice(one, period) for one in PERIODS.values()),
    }


def _choice(one: Period, of: Period) -> dict[str, object]:
    return {"name": one.name, "title": one.title, "is_chosen": one is of}


urlpatterns = [
    path("now/", now, name="dashboard_now"),
    path("runs/", runs, name="dashboard_runs"),
    path("charts/", charts, name="dashboard_charts"),
]
