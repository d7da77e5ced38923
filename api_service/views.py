"""The HTTP interface: look-ups behind a token, and the health of this process and of the cache.

GET  /api/v1/ruc/<ruc>  the answer, where it came from and its age; `Authorization: Bearer API_TOKEN`.
                        `?max_stale=SECONDS`: how far past its life it may be; `?refresh=true`: paid for anew
GET  /health/live       this process answers; no I/O
GET  /health/ready      the database is there and migrated; the cache is reported, and is no condition
GET  /health/cache      the stored result of the last health run with its age, for everybody; nodes for who may see them
POST /health/cache      starts a health run; for who may add one
GET  /health/beat       whether each schedule is sent in time and succeeds: the dead man's switch
GET  /health/cache/history  the stored runs: see `history_views`
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.db import Error as DatabaseTrouble
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.vary import vary_on_headers

from api_service import beat_page, health_page, selectors
from api_service.problems import problem, reply, retry_headers, status_of
from api_service.services import beat_watch
from api_service.services.migo_service import MigoAPIService
from api_service.services.task_sending import BrokerDown, send

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

CHECKING, SEEING_NODES = "api_service.add_healthsample", "api_service.view_nodesample"
MONITOR_TASK = "workers.tasks.monitor_cache_health"


def only(*methods: str) -> Callable[[View[P]], View[P]]:
    """405 in JSON for every other method."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method in methods:
                return view(request, *args, **kwargs)
            allowed = ", ".join(methods)
            text = _("This address does not take %s.") % request.method
            return problem(405, "method_not_allowed", text, _("Use %s.") % allowed, {"Allow": allowed})

        return checked

    return decorate


def with_token(view: View[P]) -> View[P]:
    """401 without the bearer token of the settings."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if _has_token(request):
            return view(request, *args, **kwargs)
        return problem(
            401,
            "unauthorized",
            _("The token is missing or wrong."),
            _("Send the header Authorization: Bearer with the value of API_TOKEN."),
            {"WWW-Authenticate": 'Bearer realm="look-ups"'},
        )

    return checked


def _has_token(request: HttpRequest) -> bool:
    """An empty setting opens nothing. The comparison takes as long for a wrong token as for the right one."""
    scheme, _blank, token = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(token.strip().encode(), settings.API_TOKEN.encode())
    return right and bool(settings.API_TOKEN) and scheme.lower() == "bearer"


# The token is no cookie that a foreign page could make a browser send
@csrf_exempt
@only("GET", "HEAD")
@vary_on_headers("Authorization")
@with_token
def ruc(request: HttpRequest, ruc: str) -> HttpResponse:
    try:
        max_stale, refresh = _max_stale(request), _refresh(request)
    except ValueError as error:
        return problem(
            400, "bad_parameter", str(error), _("Use ?max_stale=SECONDS and ?refresh=true, or leave them out.")
        )
    result = MigoAPIService().consultar_ruc(ruc, refresh, max_stale=max_stale)
    headers = {"Age": str(int(result["cache"]["age"]))} if "cache" in result else {}
    if result["success"]:
        return reply(result, 200, headers)
    return reply(result, status_of(result["code"]), headers | retry_headers(result["retry_after"]))


def _max_stale(request: HttpRequest) -> float | None:
    text = request.GET.get("max_stale")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(_("max_stale is not a whole number of seconds."))
    return float(text)


def _refresh(request: HttpRequest) -> bool:
    text = request.GET.get("refresh", "false").lower()
    if text not in {"true", "1", "false", "0"}:
        raise ValueError(_("refresh is neither true nor false."))
    return text in {"true", "1"}


@only("GET", "HEAD")
def live(_request: HttpRequest) -> HttpResponse:
    return reply({"status": "alive"})


@only("GET", "HEAD")
def ready(_request: HttpRequest) -> HttpResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        missing = selectors.missing_migrations()
    except DatabaseTrouble:
        return no_database()
    if missing:
        text = _("%d migrations have not been applied.") % len(missing)
        return problem(503, "not_migrated", text, _("Run manage.py migrate."))
    return reply({"status": "ready", "database": "ok", "cache": health_page.cache_in_short(timezone.now())})


@only("GET", "HEAD", "POST")
def cache_health(request: HttpRequest) -> HttpResponse:
    try:
        if request.method == "POST":
            return _start_run() if staff_may(request.user, CHECKING) else _not_allowed()
        nodes = staff_may(request.user, SEEING_NODES)
        return health_page.of_sample(selectors.latest_sample(), timezone.now(), nodes=nodes)
    except DatabaseTrouble:
        return no_database()


@only("GET", "HEAD")
def beat_health(_request: HttpRequest) -> HttpResponse:
    """It asks the database once, and neither Celery nor the broker: it answers also when all of those hang."""
    try:
        return beat_page.of_schedules(beat_watch.look_recently(timezone.now()))
    except DatabaseTrouble:
        return no_database()


def staff_may(user: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    """As in the admin: a permission is worth nothing to who is not staff."""
    return bool(getattr(user, "is_staff", False) and isinstance(user, PermissionsMixin) and user.has_perm(permission))


def _start_run() -> HttpResponse:
    try:
        task = send(MONITOR_TASK, {})
    except BrokerDown:
        return problem(
            503,
            "broker_unavailable",
            _("The broker did not take the task: nothing was started."),
            _("Check the broker (CELERY_BROKER_URL); manage.py check_cache checks without it."),
        )
    return reply({"success": True, "task": task, "next_step": _("Read the result here in a few seconds.")}, 202)


def _not_allowed() -> HttpResponse:
    text = _("Only who has the permission %s may start a health run.") % CHECKING
    return problem(403, "staff_only", text, _("Log in to the admin as an operator, and try again."))


def no_database() -> HttpResponse:
    return problem(
        503,
        "database_unavailable",
        _("The database does not answer."),
        _("Check that it runs and that DATABASE_URL is right."),
    )
