"""Clearings: counted first, carried out by a worker, on record."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Path, Query, Router
from ninja.responses import Status

from api_service.api.access import Token, grant_of
from api_service.api.operation_schemas import Clearing, ClearingAccepted, ClearingPage, ClearingRequest
from api_service.api.paging import Paging, Rows, newest_first
from api_service.api.problems import Problem, Refused, bad_value
from api_service.api.schemas import RowNumber
from api_service.models import ClearRun
from api_service.services import clearing
from api_service.services.leases import close_seen
from api_service.services.token_rules import Scope

router = Router(tags=["Clearing"])

LOOKING = Token(Scope.OPERATIONS_READ, Scope.CACHE_CLEAR)
CLEARING = Token(Scope.CACHE_CLEAR)


@router.post("/cache/clearings", response={202: ClearingAccepted}, auth=CLEARING, summary="Clear a service")
def start(request: HttpRequest, asked: ClearingRequest, response: HttpResponse) -> Status[dict[str, Any]]:
    """Counts, and removes nothing, unless `dry_run` is false. A worker does it: read the result at `url`."""
    try:
        wanted = clearing.request(**asked.dict(), via=ClearRun.Via.HTTP, requested_by=grant_of(request).name)
    except ValueError as error:
        raise Refused(bad_value(error)) from error
    return _accepted(clearing.submit(wanted), response)


@router.get("/cache/clearings", response=ClearingPage, auth=LOOKING, summary="Clearings on record")
def runs(request: HttpRequest, paging: Query[Paging]) -> Rows:  # noqa: ARG001 - ninja passes it
    """Who removed which keys, how many, how long it took; dry runs too."""
    close_seen(clearing.close_abandoned, timezone.now())
    return newest_first(ClearRun.objects.all(), paging, _as_json)


@router.get(
    "/cache/clearings/{number}",
    response={200: Clearing, 404: None},
    auth=LOOKING,
    summary="One clearing",
    url_name="clearing",
)
def one(request: HttpRequest, number: Path[RowNumber]) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """How far it is, and what came of it."""
    return _as_json(_find(number))


@router.post(
    "/cache/clearings/{number}/resume",
    response={202: ClearingAccepted, 404: None, 409: None},
    auth=CLEARING,
    summary="Go on with a clearing that failed",
)
def resume(request: HttpRequest, number: Path[RowNumber], response: HttpResponse) -> Status[dict[str, Any]]:  # noqa: ARG001
    """What was removed stays removed; the nodes that are not done are listed anew."""
    run = _find(number)
    if run.state != ClearRun.State.FAILED:
        text = _("Clearing %d has not failed: there is nothing to go on with.") % run.pk
        raise Refused(Problem(409, "not_failed", text, _("Look at its state, or start another one.")))
    clearing.submit_again(run)
    return _accepted(run, response)


def _find(number: int) -> ClearRun:
    try:
        return clearing.find(number)
    except clearing.NoSuchClearing as error:
        step = _("Use the number that the start of a clearing answers with.")
        raise Refused(Problem(404, "not_found", str(error), step)) from error


def _accepted(run: ClearRun, response: HttpResponse) -> Status[dict[str, Any]]:
    url = reverse("api:clearing", args=[run.pk])
    response.headers["Location"] = url
    step = _("Read the result at this address in a few seconds.")
    return Status(202, {"run": run.pk, "dry_run": run.dry_run, "url": url, "next_step": step})


def _as_json(run: ClearRun) -> dict[str, Any]:
    own = ("requested_by", "started_at", "finished_at")
    return {**clearing.as_json(run), **{name: getattr(run, name) for name in own}}
