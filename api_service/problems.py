"""JSON answers of the HTTP interface: every failure has `error`, `code` and `next_step`, and its status."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from django.http import JsonResponse

from api_service.services.results import BUDGET_EXHAUSTED, BUSY, DATABASE_UNAVAILABLE, MALFORMED, NOT_FOUND

# What the failure of a look-up is in HTTP: whose fault it is, and whether asking again may help
STATUSES: Final[Mapping[str, int]] = {
    MALFORMED: 400,
    NOT_FOUND: 404,
    BUDGET_EXHAUSTED: 429,
    "upstream_rate_limited": 429,
    "upstream_server_error": 503,
    "upstream_unreachable": 503,
    "upstream_circuit_open": 503,
    "upstream_not_asked": 503,
    DATABASE_UNAVAILABLE: 503,
    BUSY: 503,
    "upstream_timeout": 504,
}
OTHER_UPSTREAM: Final = 502


def status_of(code: str) -> int:
    return STATUSES.get(code, OTHER_UPSTREAM)


def reply(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """Kept by no shared cache: look-ups are paid for and behind a token, health is of this moment."""
    response = JsonResponse(body, status=status, json_dumps_params={"ensure_ascii": False})
    for name, value in {"Cache-Control": "private, no-cache", **(headers or {})}.items():
        response.headers[name] = value
    return response


def problem(
    status: int, code: str, error: str, next_step: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    return reply({"success": False, "error": error, "code": code, "next_step": next_step}, status, headers)


def retry_headers(seconds: float | None) -> dict[str, str]:
    """Whole seconds, rounded up: never an invitation to come too early."""
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}
