"""What a browser may do with our answers: a Content-Security-Policy and a Permissions-Policy on each.

The API, the health pages and whatever else is no page may load nothing at all. The admin and the reference page of the
API may load what is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from csp.constants import HEADER, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase


def _policy(directives: dict[str, Any]) -> str:
    """In one order in all processes: `build_policy` has that of a set."""
    return "; ".join(sorted(build_policy(directives).split("; ")))


_OURS: Final[dict[str, Any]] = {
    "default-src": [SELF],
    "script-src": [SELF],
    "object-src": [NONE],
    "base-uri": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    # unfold writes its colours into the page, htmx and Swagger theirs, Alpine widths into attributes; none is of a row
    "style-src": [SELF, UNSAFE_INLINE],
}
# Whoever made an answer of these look like a page would have a page that does nothing
CLOSED: Final = _policy({"default-src": [NONE], "base-uri": [NONE], "form-action": [NONE], "frame-ancestors": [NONE]})
# Alpine, which unfold's menus are made with, compiles what stands in attributes
ADMIN: Final = _policy({**_OURS, "script-src": [SELF, UNSAFE_EVAL]})
# Swagger's style sheet has its arrows in it
REFERENCE: Final = _policy({**_OURS, "img-src": [SELF, "data:"]})
_REFERENCE_VIEW: Final = "api:openapi-view"
# Nothing here asks for any of them
PERMISSIONS: Final = ", ".join(
    f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)
# Django's own while DEBUG is on, with styles and scripts in them
_PAGES_OF_DEBUG: Final = {404, 500}


def policy_of(request: HttpRequest) -> str:
    """By what answers it; what nothing answers is closed."""
    found = request.resolver_match
    if found is None:
        return CLOSED
    if found.route.startswith("admin/"):
        return ADMIN
    return REFERENCE if found.view_name == _REFERENCE_VIEW else CLOSED


def middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """django-csp's own builds the policy anew for each answer: 60 µs, of a few hundred for a look-up from the cache."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        if not (settings.DEBUG and response.status_code in _PAGES_OF_DEBUG):
            response.headers.setdefault(HEADER, policy_of(request))
        return response

    return handle
