"""The site of the admin, apart from the package `api_service.admin`: Django asks for it while that one registers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from api_service.login_form import LoginForm

if TYPE_CHECKING:
    Base = AdminSite
else:
    # unfold has no types
    from unfold.sites import UnfoldAdminSite as Base


class OperationsSite(Base):
    site_header = _("Cache operations")
    site_title = _("Cache operations")
    index_title = _("Overview")
    # As `display.NOTHING`: one sign for what is not there
    empty_value_display = "–"
    # There is no public site behind the admin
    site_url = None
    index_template = "api_service/admin/index.html"
    login_form = LoginForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """429 for who has to wait, so that programs notice too."""
        response = super().login(request, extra_context)
        context = response.context_data if isinstance(response, TemplateResponse) else None
        if wait := getattr((context or {}).get("form"), "wait", 0.0):
            response.status_code = 429
            response.headers["Retry-After"] = str(math.ceil(wait))
        return response

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002
        """unfold's search of tables, which no page offers: it keeps its results in the cache that is watched here."""
        raise Http404

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Ours as it is: unfold would copy it, and compare each link with every tab."""
        from api_service.admin import navigation

        return navigation.sidebar(request)

    def get_tabs_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        from api_service.admin import navigation

        return navigation.tabs(request)
