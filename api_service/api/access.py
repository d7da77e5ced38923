"""Who may: a bearer token with the scope that an operation asks for, within its requests a minute."""

from __future__ import annotations

import hmac
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja.security.base import AuthBase

from api_service.api import rate_limits
from api_service.api.problems import Problem, Refused
from api_service.api.rate_limits import Standing
from api_service.services import api_tokens
from api_service.services.token_rules import Grant, Scope

# The tokens of the settings open what they opened before there were others, and have no limit
_BUILT_IN: Final = {
    "API_TOKEN": frozenset({Scope.LOOKUP}),
    "OPERATIONS_TOKEN": frozenset({Scope.CACHE_CLEAR}),
}


class Token(AuthBase):
    """Ninja's authentication of an operation: any one of `scopes` opens it."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, *scopes: Scope) -> None:
        super().__init__()
        self.scopes = frozenset(scopes)

    def __call__(self, request: HttpRequest) -> Grant:
        grant = _grant(request)
        if not self.scopes & grant.scopes:
            raise Refused(_lacks(self.scopes))
        _charge(request, grant, 1)
        return grant


def grant_of(request: HttpRequest) -> Grant:
    """Whom `Token` has let in."""
    grant: Grant = request.auth  # type: ignore[attr-defined]  # ninja sets it
    return grant


def charge_more(request: HttpRequest, cost: int) -> None:
    """For what is worth more than the one request that it was let in as. What is worth more than a minute takes all of
    it."""
    grant = grant_of(request)
    if (rest := min(cost, grant.per_minute - 1)) > 0:
        _charge(request, grant, rest, taken=1)


def standing(request: HttpRequest) -> Standing | None:
    found: Standing | None = getattr(request, "_rate_standing", None)
    return found


def _charge(request: HttpRequest, grant: Grant, cost: int, *, taken: int = 0) -> None:
    now = rate_limits.charge(grant, cost, taken=taken)
    request._rate_standing = now  # type: ignore[attr-defined]  # noqa: SLF001 - kept for the headers of the answer
    if now is not None and now.wait:
        raise Refused(_too_many(now))


def _grant(request: HttpRequest) -> Grant:
    scheme, _blank, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip(" ")
    found = (_built_in(token) or api_tokens.recognise(token, timezone.now())) if token else None
    if found is None or scheme.lower() != "bearer":
        raise Refused(_unauthorized())
    return found


def _built_in(token: str) -> Grant | None:
    """An empty setting opens nothing. The comparison takes as long for a wrong token as for the right one."""
    found = None
    for name, scopes in _BUILT_IN.items():
        value: str = getattr(settings, name)
        if hmac.compare_digest(token.encode(), value.encode()) and value:
            found = Grant(name, name, scopes)
    return found


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        _("The token is missing, wrong, expired or revoked."),
        _("Send the header Authorization: Bearer with a token that the admin has made (API tokens)."),
        headers={"WWW-Authenticate": 'Bearer realm="cache-worker"'},
    )


def _lacks(scopes: frozenset[Scope]) -> Problem:
    names = " | ".join(sorted(scopes))
    return Problem(
        403,
        "scope_missing",
        _("This token may not do that: it lacks %s.") % names,
        _("Ask the operators for a token with this scope."),
        headers={"WWW-Authenticate": f'Bearer realm="cache-worker", error="insufficient_scope", scope="{names}"'},
    )


def _too_many(now: Standing) -> Problem:
    return Problem(
        429,
        "too_many_requests",
        _("The limit of this token, %d requests a minute, is reached.") % now.limit,
        _("Wait as many seconds as Retry-After says; POST /api/v1/rucs/batch takes up to 1,000 RUCs at once."),
        {"retry_after": now.wait},
        now.headers(),
    )
