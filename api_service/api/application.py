"""The API put together: routers, the reference page, and what becomes of errors."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.core.signals import got_request_exception
from django.db import Error as DatabaseTrouble
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from ninja.errors import HttpError, ValidationError
from ninja.openapi.docs import Swagger

from api_service.api import problems
from api_service.api.access import standing
from api_service.api.batches import router as batches
from api_service.api.bodies import EachNameOnce
from api_service.api.cache import router as cache
from api_service.api.clearings import router as clearings
from api_service.api.document import Api
from api_service.api.incidents import router as incidents
from api_service.api.lookups import fresh
from api_service.api.lookups import router as lookups
from api_service.api.problems import Problem, Refused
from api_service.api.rendering import OrjsonRenderer
from api_service.api.schedules import router as schedules
from api_service.api.warming import router as warming
from api_service.services.task_sending import BrokerDown

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Look-ups of Peruvian public records, cached, and the cache itself: health, keys, clearing, warming, incidents.

Send `Authorization: Bearer TOKEN`; tokens are made in the admin. Every failure is problem+json (RFC 9457) with a stable
`code` and a `next_step`. Texts for people are in Spanish or English, as Accept-Language asks."""

api = Api(
    title="Cache worker",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    parser=EachNameOnce(),
    renderer=OrjsonRenderer(),
    # Its default sends the document to a validator on the internet
    docs=Swagger(settings={"validatorUrl": None, "docExpansion": "none", "displayRequestDuration": True}),
)
# The path of batches before the one of single RUCs, which would match it too
for router in (batches, lookups, cache, clearings, warming, incidents, schedules):
    api.add_router("", router)


# -- errors


@api.exception_handler(Refused)
def _refused(_request: HttpRequest, error: Refused) -> HttpResponse:
    return problems.respond(error.problem)


@api.exception_handler(ValidationError)
def _invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
    return problems.respond(problems.invalid(error.errors))


@api.exception_handler(HttpError)
def _unreadable(_request: HttpRequest, error: HttpError) -> HttpResponse:
    """Ninja's own: a body that is no JSON."""
    step = _("Send JSON, each name in it once, with Content-Type: application/json.")
    return problems.respond(Problem(error.status_code, "malformed_body", _("The body cannot be read."), step))


@api.exception_handler(SuspiciousOperation)
def _suspicious(_request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
    """Django's own limits of what a body may be."""
    too_large = isinstance(error, RequestDataTooBig | TooManyFilesSent)
    text = _("The body is too large.") if too_large else _("The body cannot be read.")
    code = "too_large" if too_large else "malformed_body"
    return problems.respond(Problem(413 if too_large else 400, code, text, _("Send less at once.")))


@api.exception_handler(DatabaseTrouble)
def _no_database(_request: HttpRequest, error: DatabaseTrouble) -> HttpResponse:
    logger.warning("the database does not answer: %s", error)
    return problems.respond(problems.no_database())


@api.exception_handler(BrokerDown)
def _no_broker(_request: HttpRequest, _error: BrokerDown) -> HttpResponse:
    return problems.respond(problems.no_broker())


@api.exception_handler(Http404)
def _nothing_there(_request: HttpRequest, _error: Http404) -> HttpResponse:
    return problems.respond(problems.not_found())


@api.exception_handler(Exception)
def _unforeseen(request: HttpRequest, error: Exception) -> HttpResponse:
    """Noted as Django notes it: the log, and Sentry by its signal."""
    got_request_exception.send(sender=None, request=request)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problems.respond(problems.internal())


@functools.cache
def _document() -> bytes:
    """Made once: it takes as long as fifty requests, and everybody may ask for it."""
    return orjson.dumps(api.get_openapi_schema(), option=orjson.OPT_NON_STR_KEYS)


def _openapi(request: HttpRequest) -> HttpResponse:
    return fresh(request, _document(), {})


@csrf_exempt
def nothing_here(_request: HttpRequest) -> HttpResponse:
    """Every other address below /api/v1/."""
    return problems.respond(problems.not_found())


# -- addresses


def _finished(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """What every answer has: its limits, no place in a shared cache. HEAD is GET; what is not taken is a problem."""

    @functools.wraps(view)
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        asked = request.method
        request.method = "GET" if asked == "HEAD" else asked
        response = view(request, *args, **kwargs)
        # By it the server knows that no body is to be sent
        request.method = asked
        if response.status_code == 405:
            allowed = response.headers["Allow"].split(", ")
            response = _not_taken(request, [*allowed, "HEAD"] if "GET" in allowed else allowed)
        if (limits := standing(request)) is not None:
            problems.with_headers(response, limits.headers())
        response.headers.setdefault("Cache-Control", "private, no-cache")
        patch_vary_headers(response, ["Authorization"])
        return response

    return handle


def _read_only(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Of the document and its page, which ninja would give for whatever is asked."""

    @functools.wraps(view)
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        taken = ["GET", "HEAD"]
        return view(request, *args, **kwargs) if request.method in taken else _not_taken(request, taken)

    return handle


def _not_taken(request: HttpRequest, allowed: list[str]) -> HttpResponse:
    return problems.respond(problems.method_not_allowed(request.method, ", ".join(sorted(allowed))))


# What we answer in ninja's place
_OWN: Final[dict[str, Callable[..., HttpResponseBase]]] = {"api-root": nothing_here, "openapi-json": _openapi}


def _urls() -> list[URLPattern | URLResolver]:
    patterns, _app, _namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            wrap = _read_only if pattern.name in {"openapi-json", "openapi-view"} else _finished
            view = _OWN.get(pattern.name or "", pattern.callback)
            pattern.callback = csrf_exempt(wrap(view))
    return patterns


urlpatterns = _urls()
app_name = "api"
