"""The token of whoever operates the service: what it opens, API_TOKEN, which is for look-ups, does not."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from api_service.problems import problem


def bearer(request: HttpRequest) -> str | None:
    """None without one: another scheme is a proxy's in front of us, and the session counts."""
    scheme, _blank, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def is_right(token: str) -> bool:
    """An empty setting opens nothing. The comparison takes as long for a wrong token as for the right one."""
    right = hmac.compare_digest(token.encode(), settings.OPERATIONS_TOKEN.encode())
    return right and bool(settings.OPERATIONS_TOKEN)


def unauthorized() -> HttpResponse:
    return problem(
        401,
        "unauthorized",
        _("The token of operations is missing or wrong; API_TOKEN is for look-ups only."),
        _("Send the header Authorization: Bearer with the value of OPERATIONS_TOKEN, or log in to the admin."),
        {"WWW-Authenticate": 'Bearer realm="operations"'},
    )
