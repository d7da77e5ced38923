"""Errors as problem+json (RFC 9457): what went wrong, in which code, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar

import orjson
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from api_service import request_ids
from api_service.problems import retry_headers, status_of
from api_service.services.results import MALFORMED, Failure
from api_service.services.translated import translated

R = TypeVar("R", bound=HttpResponseBase)

CONTENT_TYPE: Final = "application/problem+json"
# Nobody has to follow it: the code after it is what programs go by
TYPE: Final = "urn:cache-worker:problem:"


@dataclass(frozen=True)
class Problem:
    """`code` is stable, `detail` and `next_step` are for people in the active language. `more`: members of its kind."""

    status: int
    code: str
    detail: str
    next_step: str
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "type": TYPE + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "next_step": self.next_step,
            "request_id": request_ids.current(),
            **self.more,
        }


class Refused(Exception):
    """A request that ends in this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def respond(problem: Problem) -> HttpResponse:
    response = HttpResponse(orjson.dumps(problem.as_json()), status=problem.status, content_type=CONTENT_TYPE)
    return with_headers(response, {"Cache-Control": "private, no-cache", **problem.headers})


def with_headers(response: R, headers: Mapping[str, str]) -> R:
    for name, value in headers.items():
        response.headers[name] = value
    return response


def of_failure(failure: Failure, *, reason: str | None = None, headers: Mapping[str, str] | None = None) -> Problem:
    """What a look-up failed with. A negative answer has its `reason`."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY if failure["code"] == MALFORMED else status_of(failure["code"])
    more = {"permanent": failure["permanent"], "retry_after": failure["retry_after"]}
    return Problem(
        status,
        failure["code"],
        failure["error"],
        failure["next_step"],
        more if reason is None else {**more, "reason": reason},
        {**(headers or {}), **retry_headers(failure["retry_after"])},
    )


def not_found() -> Problem:
    text = _("There is nothing at this address.")
    return Problem(404, "not_found", text, _("The addresses are listed at /api/v1/docs."))


def method_not_allowed(method: str | None, allowed: str) -> Problem:
    text = _("This address does not take %s.") % method
    return Problem(405, "method_not_allowed", text, _("Use %s.") % allowed, headers={"Allow": allowed})


def no_database() -> Problem:
    text = _("The database does not answer.")
    return Problem(503, "database_unavailable", text, _("Try again in a moment; if it lasts, tell the operators."))


def no_broker() -> Problem:
    text = _("The broker did not take the task: nothing was started.")
    return Problem(503, "broker_unavailable", text, _("Try again in a moment; if it lasts, tell the operators."))


def internal() -> Problem:
    text = _("This should not have happened, and it has been noted.")
    step = _("Tell the operators the request_id; a second attempt may help.")
    return Problem(500, "internal_error", text, step)


def invalid(errors: list[dict[str, Any]]) -> Problem:
    """`errors`: those of the validation, with where each of them is."""
    found = [{"where": ".".join(map(str, error["loc"])), "what": str(error["msg"])} for error in errors]
    text = "; ".join(f"{item['where']}: {item['what']}" for item in found)
    step = _("Correct what is named and send it again: nothing was done.")
    return Problem(422, "invalid_request", _("The request is not understood: %s") % text, step, {"errors": found})


def bad_value(what: object) -> Problem:
    """What the service behind it refused."""
    step = _("Correct what is named and send it again: nothing was done.")
    return Problem(422, "invalid_request", _("The request is not understood: %s") % translated(str(what)), step)
