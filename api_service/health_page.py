"""What /health says of the cache: the stored result of the last run. Nothing here asks the cache itself.

A page that probed at every request would let anybody load the cache's nodes. Addresses of nodes, and the texts that
may name them, are for staff; the others learn which check failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypedDict

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from api_service import selectors
from api_service.models import HealthSample, NodeSample, Status
from api_service.problems import problem, reply
from api_service.services.health import BROKEN, UNKNOWN

# Three runs of the schedule: the monitor itself has stopped
STALE_SECONDS: Final = 900.0
NEVER: Final = "never_checked"
STALE: Final = "stale"
OF_A_NODE: Final = (
    *("node", "reachable", "error", "restarted", "latency_ms", "latency_worst_ms", "version", "items"),
    *("bytes_used", "bytes_limit", "evictions", "evictions_per_minute", "expired_unfetched_per_minute"),
    *("hit_ratio", "connections", "max_connections", "rejected_connections", "details"),
)


class CacheInShort(TypedDict):
    """`status` is that of the last run, `stale` when it is too old to go by, or `never_checked`."""

    status: str
    age: float | None


class Page(TypedDict, total=False):
    """`age` in seconds. `nodes`, `findings` and `unknown` are there for staff only."""

    success: bool
    status: str
    checks: Mapping[str, str]
    taken_at: str
    age: float
    backend: str
    findings: list[dict[str, Any]]
    unknown: list[dict[str, str]] | None
    nodes: list[dict[str, Any]]
    error: str
    code: str
    next_step: str


def cache_in_short(now: datetime) -> CacheInShort:
    sample = selectors.latest_sample()
    if sample is None:
        return {"status": NEVER, "age": None}
    age = age_of(sample, now)
    return {"status": STALE if age > STALE_SECONDS else sample.status, "age": age}


def of_sample(sample: HealthSample | None, now: datetime, *, nodes: bool) -> HttpResponse:
    """200 while the last run is recent and its verdict is not "unhealthy", else 503."""
    if sample is None:
        text = _("The cache has not been checked yet.")
        return problem(503, NEVER, text, _next_step_of_monitor())
    page = _page(sample, age_of(sample, now), nodes=nodes)
    return reply(page, 200 if page["success"] else 503)


def age_of(sample: HealthSample, now: datetime) -> float:
    return round(max(0.0, (now - sample.taken_at).total_seconds()), 1)


def _page(sample: HealthSample, age: float, *, nodes: bool) -> Page:
    page: Page = {
        "success": True,
        "status": sample.status,
        "checks": sample.checks if nodes else {name: _anonymous(text) for name, text in sample.checks.items()},
        "taken_at": timezone.localtime(sample.taken_at).isoformat(),
        "age": age,
        "backend": sample.backend,
    }
    if nodes:
        page["findings"] = sample.findings
        page["unknown"] = sample.unknown
        page["nodes"] = [node_json(row) for row in sample.nodes.all()]
    return page | _trouble(sample, age)


def _trouble(sample: HealthSample, age: float) -> Page:
    if age > STALE_SECONDS:
        text = _("The last check of the cache is %d minutes old: the monitor has stopped.") % (age // 60)
        return {"success": False, "error": text, "code": STALE, "next_step": _next_step_of_monitor()}
    if sample.status == Status.UNHEALTHY:
        step = _("Look at the nodes in the admin, or run manage.py check_cache.")
        return {"success": False, "error": _("The cache is unhealthy."), "code": "unhealthy", "next_step": step}
    return {}


def _next_step_of_monitor() -> str:
    return _("Check that Beat and a worker of the queue health run.")


def _anonymous(text: str) -> str:
    """Only the sign of what is not well: the words after it name nodes."""
    return next((sign for sign in (BROKEN, UNKNOWN) if text.startswith(sign)), text)


def node_json(row: NodeSample) -> dict[str, Any]:
    """A node of a stored run, as staff and operators see it."""
    return {name: getattr(row, name) for name in OF_A_NODE}
