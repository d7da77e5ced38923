"""The cache as its monitor and its inventory last saw it. Nothing here asks a node."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Query, Router
from pydantic import Field

from api_service import selectors
from api_service.api.access import Token
from api_service.api.operation_schemas import Health, HistoryPage, KeyPage, Stats
from api_service.api.paging import Paging, Rows, newest_first, page, place_of
from api_service.api.problems import Problem, Refused
from api_service.api.schemas import ServiceName
from api_service.health_page import NEVER, STALE_SECONDS, age_of, node_json
from api_service.models import ServiceSnapshot, TrackedKey
from api_service.services.outcomes import Outcome
from api_service.services.token_rules import Scope

router = Router(tags=["Cache"], auth=Token(Scope.OPERATIONS_READ))

DAY = timedelta(hours=24)


class KeyFilter(Paging):
    service: ServiceName
    state: Literal["active", "expired", "removed", "unknown"] = Field(
        "active", description="Unknown: its node did not answer the last inventory."
    )
    kind: str | None = Field(None, pattern=r"^[!-~]{1,50}$", description="Such as ruc; every kind without it.")
    node: str | None = Field(None, pattern=r"^[!-~]{1,255}$", description="host:port; every node without it.")


class HistoryFilter(Paging):
    service: ServiceName | None = None


@router.get("/cache/health", response={200: Health, 404: None}, summary="Health of the cache")
def health(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """The stored result of the last check with its age. It is a 200 whatever the verdict: read `status` and `stale`."""
    sample, now = selectors.latest_sample(), timezone.now()
    if sample is None:
        text = _("The cache has not been checked yet.")
        raise Refused(Problem(404, NEVER, text, _("Check that Beat and a worker of the queue health run.")))
    age = age_of(sample, now)
    return {
        "status": sample.status,
        "stale": age > STALE_SECONDS,
        "taken_at": sample.taken_at,
        "age": age,
        "backend": sample.backend,
        "checks": sample.checks,
        "findings": sample.findings,
        "unknown": sample.unknown,
        "nodes": [node_json(row) for row in sample.nodes.all()],
    }


@router.get("/cache/stats", response=Stats, summary="Keys, look-ups and paid queries")
def stats(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """Keys and bytes by service, look-ups of 24 hours by outcome, today's paid queries by purpose."""
    now = timezone.now()
    run, lookups = selectors.last_inventory(), selectors.lookups_by_outcome(now - DAY)
    total, known = sum(lookups.values()), lookups.get(Outcome.HIT, 0) + lookups.get(Outcome.NEGATIVE, 0)
    return {
        "taken_at": run.started_at if run else None,
        "services": [_service(row) for row in run.services.select_related("run").order_by("service")] if run else [],
        "lookups": lookups,
        "hit_ratio": round(known / total, 4) if total else None,
        "paid": selectors.paid_by_purpose(timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)),
    }


@router.get("/cache/keys", response=KeyPage, summary="Keys of a service")
def keys(request: HttpRequest, wanted: Query[KeyFilter]) -> Rows:  # noqa: ARG001 - ninja passes it
    """As the last inventory saw them, in the order of their names. There may be a million: page by page."""
    after = place_of(wanted.cursor, str, str) if wanted.cursor is not None else None
    rows = selectors.keys_of(
        wanted.service, wanted.state, kind=wanted.kind, node=wanted.node, after=after, most=wanted.limit + 1
    )
    return page(rows, wanted.limit, _key, lambda row: [row.key, row.node])


@router.get("/cache/history", response=HistoryPage, summary="History of the services")
def history(request: HttpRequest, wanted: Query[HistoryFilter]) -> Rows:  # noqa: ARG001 - ninja passes it
    """Keys, bytes and flows of each service: every inventory for 2 days, then one an hour, then one a day."""
    rows = ServiceSnapshot.objects.select_related("run")
    return newest_first(rows.filter(service=wanted.service) if wanted.service else rows, wanted, _service)


def _service(row: ServiceSnapshot) -> dict[str, Any]:
    names = ("service", "keys", "bytes", "reads", "created", "removed", "expired", "expired_unread", "lives")
    return {"taken_at": row.run.started_at, **{name: getattr(row, name) for name in names}}


def _key(row: TrackedKey) -> dict[str, Any]:
    return {
        "key": row.key,
        "kind": row.kind,
        "identifier": row.identifier,
        "node": row.node,
        "bytes": row.size,
        "state": row.state,
        "expires_at": row.expires_at,
        "first_seen_at": row.created_at,
        "last_seen_at": None if row.state == TrackedKey.State.ACTIVE else row.seen_at,
        "last_read_at": row.last_read_at,
        "reads": row.reads,
    }
