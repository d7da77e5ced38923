"""Warming: started, looked at, and tried out on an access log."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import File, Form, Path, Query, Router, Schema
from ninja.files import UploadedFile
from ninja.responses import Status
from pydantic import Field

from api_service.api import replays
from api_service.api.access import Token, grant_of
from api_service.api.operation_schemas import Replay, TaskAccepted, WarmRequest, WarmRunPage
from api_service.api.operation_schemas import WarmRun as WarmRunSchema
from api_service.api.paging import Paging, Rows, newest_first
from api_service.api.problems import Problem, Refused, bad_value
from api_service.api.schemas import RowNumber
from api_service.models import WarmRun
from api_service.services import warming
from api_service.services.leases import close_seen
from api_service.services.task_sending import send
from api_service.services.token_rules import Scope
from api_service.services.warm_comparison import Report

router = Router(tags=["Warming"])

LOOKING = Token(Scope.OPERATIONS_READ, Scope.WARMING_RUN)
RUNNING = Token(Scope.WARMING_RUN)


class ReplayOptions(Schema):
    """Seconds that an answer lives, seconds between two runs, and the calls a run may pay for."""

    ttl: Annotated[int, Field(ge=1, le=31_536_000)] = 3600
    period: Annotated[int, Field(ge=1, le=31_536_000)] = 300
    learn_days: Annotated[int | None, Field(ge=0, le=3650, description="Days that only teach; else half the log.")] = (
        None
    )
    budgets: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5}){0,7}$")] = "1,2,4,8"
    break_even: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 0.0


@router.post("/warming/runs", response={202: TaskAccepted}, auth=RUNNING, summary="Warm now")
def start(request: HttpRequest, asked: WarmRequest) -> Status[dict[str, Any]]:
    """A worker loads RUCs before they are asked for: from the store for free, else paid for within `budget`."""
    said = {**asked.dict(exclude_none=True), "requested_by": grant_of(request).name}
    try:
        warming.request(**said)
    except ValueError as error:
        raise Refused(bad_value(error)) from error
    step = _("Read /api/v1/warming/runs: a row with the name of your token appears when a worker takes it.")
    return Status(202, {"task": send(warming.TASK, said), "next_step": step})


@router.get("/warming/runs", response=WarmRunPage, auth=LOOKING, summary="Warm runs")
def runs(request: HttpRequest, paging: Query[Paging]) -> Rows:  # noqa: ARG001 - ninja passes it
    """What each looked at, refreshed and paid; later, what of that was read in time."""
    close_seen(warming.close_abandoned, timezone.now())
    return newest_first(WarmRun.objects.all(), paging, _as_json)


@router.get("/warming/runs/{number}", response={200: WarmRunSchema, 404: None}, auth=LOOKING, summary="One warm run")
def one(request: HttpRequest, number: Path[RowNumber]) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """How far it is, and what came of it."""
    close_seen(warming.close_abandoned, timezone.now())
    run = WarmRun.objects.filter(pk=number).first()
    if run is None:
        text = _("There is no warm run %d.") % number
        raise Refused(Problem(404, "not_found", text, _("Runs are listed at /api/v1/warming/runs.")))
    return _as_json(run)


@router.post("/warming/replays", response={200: Replay, 413: None}, auth=RUNNING, summary="Replay an access log")
def replay(
    request: HttpRequest,  # noqa: ARG001 - ninja passes it
    log: File[UploadedFile],
    options: Form[ReplayOptions],
) -> Report:
    """What each budget would have brought on your own traffic: `log` has lines of `timestamp,key` in order of time.

    Nothing is looked up and nothing paid. A log is 5 MB at most and takes 30 s at most, one at a time; for larger ones
    there is `manage.py replay_warming`.
    """
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.dict(exclude_none=True).items()]
    return replays.replay(log, arguments, settings.BASE_DIR)


def _as_json(run: WarmRun) -> dict[str, Any]:
    names = ("state", "started_at", "finished_at", "dry_run", "limit", "budget", "candidates", "from_store")
    more = ("refreshed", "paid", "failed", "skipped", "useful", "wasted", "error", "requested_by")
    return {"run": run.pk, **{name: getattr(run, name) for name in (*names, *more)}}
