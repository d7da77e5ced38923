"""GET /metrics: what the web processes counted, and gauges from the database; `Authorization: Bearer METRICS_TOKEN`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from api_service.problems import problem
from api_service.services import metrics_page
from api_service.views import only


@only("GET", "HEAD")
def metrics(request: HttpRequest) -> HttpResponse:
    if metrics_page.is_closed():
        return problem(
            403,
            "metrics_closed",
            _("Metrics are closed: no token is set."),
            _("Set METRICS_TOKEN, and give it to Prometheus as credentials of the type Bearer."),
        )
    if not metrics_page.may_read(request.headers.get("Authorization", "")):
        return problem(
            401,
            "unauthorized",
            _("The token of metrics is missing or wrong."),
            _("Send the header Authorization: Bearer with the value of METRICS_TOKEN."),
            {"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    body, content_type = metrics_page.page(request.headers.get("Accept", ""), with_database=True)
    return HttpResponse(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
