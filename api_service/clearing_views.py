"""Clearing a service's keys over HTTP: for staff with the permission, and for whoever has `OPERATIONS_TOKEN`.

POST /api/v1/cache/clear       {"service", "kind", "pattern", "with_answers", "dry_run"} → 202 with the run's number
GET  /api/v1/cache/clear/<id>  how far it is, and what came of it
POST /api/v1/cache/clear/<id>  goes on with one that failed

`dry_run` is true unless it is said to be false: a call without it counts and removes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseTrouble
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.vary import vary_on_headers
from pydantic import BaseModel, ConfigDict, ValidationError

from api_service.api import bodies
from api_service.models import ClearRun
from api_service.operations_token import bearer, is_right, unauthorized
from api_service.problems import problem, reply
from api_service.services import clearing
from api_service.services.task_sending import BrokerDown
from api_service.views import only, staff_may

P = ParamSpec("P")
# The last argument is who asks, for the record
Operation = Callable[Concatenate[HttpRequest, str, P], HttpResponse]

TOKEN_HOLDER = "OPERATIONS_TOKEN"  # noqa: S105 - the name of the setting, not its value
LOOKING, CLEARING = "api_service.view_clearrun", "api_service.add_clearrun"


class Asked(BaseModel):
    """The body. A field that does not exist is refused: a misspelt `pattern` would clear the whole service."""

    model_config = ConfigDict(strict=True, extra="forbid")

    service: str
    kind: str = ""
    pattern: str = ""
    with_answers: bool = False
    dry_run: bool = True


class _CsrfCheck(CsrfViewMiddleware):
    """Django's own, which says what is wrong instead of answering with a page."""

    def _reject(self, _request: HttpRequest, reason: str) -> HttpResponse:
        return problem(
            403,
            "csrf_failed",
            _("The request does not show that it comes from this site: %s") % reason,
            _("Send the cookie's value in the header X-CSRFToken, or use OPERATIONS_TOKEN."),
        )


def for_operators(view: Operation[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """The token of operations, or a session of staff with the permission; a session's POST is checked for CSRF."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            if (token := bearer(request)) is not None:
                return view(request, TOKEN_HOLDER, *args, **kwargs) if is_right(token) else unauthorized()
            return _refused(request) or view(request, request.user.get_username(), *args, **kwargs)
        except DatabaseTrouble:
            text, step = _("The database does not answer."), _("Check that it runs and that DATABASE_URL is right.")
            return problem(503, "database_unavailable", text, step)

    return checked


def _refused(request: HttpRequest) -> HttpResponse | None:
    """Why this session may not; None when it may."""
    if not request.user.is_authenticated:
        return unauthorized()
    permissions = [CLEARING] if request.method == "POST" else [CLEARING, LOOKING]
    if not any(staff_may(request.user, permission) for permission in permissions):
        text = _("This account may not do that.")
        return problem(403, "not_allowed", text, _("Ask for the permission %s.") % permissions[-1])
    # The view itself says that it is exempt: the check is given something that does not
    return _CsrfCheck(_unchecked).process_view(request, _unchecked, (), {})


def _unchecked(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


# The token is no cookie that a foreign page could make a browser send; sessions are checked in `for_operators`
@csrf_exempt
@only("POST")
@vary_on_headers("Authorization", "Cookie")
@for_operators
def start(request: HttpRequest, who: str) -> HttpResponse:
    try:
        said = Asked.model_validate_json(request.body)
        # Of two values for one name pydantic takes the last
        bodies.loads(request.body)
        asked = clearing.request(**said.model_dump(), via=ClearRun.Via.HTTP, requested_by=who)
    except RequestDataTooBig:
        return problem(413, "too_large", _("The body is too large."), _("Send one selection."))
    except ValidationError as error:
        return _malformed("; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in _items(error)))
    except ValueError as error:
        return _malformed(str(error))
    try:
        return _accepted(clearing.submit(asked))
    except BrokerDown:
        return _broker_down()


@csrf_exempt
@only("GET", "HEAD", "POST")
@vary_on_headers("Authorization", "Cookie")
@for_operators
def of_run(request: HttpRequest, _who: str, number: int) -> HttpResponse:
    try:
        run = clearing.find(number)
    except clearing.NoSuchClearing as error:
        return problem(404, "not_found", str(error), _("Use the number that the start of a clearing answers with."))
    if request.method != "POST":
        return reply({"success": run.state != ClearRun.State.FAILED, **clearing.as_json(run)})
    if run.state != ClearRun.State.FAILED:
        text = _("Clearing %d has not failed: there is nothing to go on with.") % run.pk
        return problem(409, "not_failed", text, _("Look at its state, or start another one."))
    try:
        clearing.submit_again(run)
    except BrokerDown:
        return _broker_down()
    return _accepted(run)


def _accepted(run: ClearRun) -> HttpResponse:
    url = reverse("cache-clear-run", args=[run.pk])
    body = {
        "success": True,
        "run": run.pk,
        "state": ClearRun.State.WAITING,
        "dry_run": run.dry_run,
        "url": url,
        "next_step": _("Read the result at this address in a few seconds."),
    }
    return reply(body, 202, {"Location": url})


def _items(error: ValidationError) -> list[Any]:
    return list(error.errors(include_input=False, include_url=False))


def _malformed(said: str) -> HttpResponse:
    return problem(
        400,
        "malformed",
        _("The body is not understood: %s") % said,
        _('Send JSON such as {"service": "migo", "kind": "ruc", "pattern": "2010*", "dry_run": true}.'),
    )


def _broker_down() -> HttpResponse:
    return problem(
        503,
        "broker_unavailable",
        _("The broker did not take the task: nothing was started."),
        _("Check the broker (CELERY_BROKER_URL); manage.py clear_cache clears without it."),
    )
