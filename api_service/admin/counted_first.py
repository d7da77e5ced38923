"""Runs that a form begins by counting, and that a person then confirms, resumes or stops on their page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from api_service.admin.run_by_hand import RunByHand

M = TypeVar("M", bound=Model)
# Gets the run that it acts on
Act = Callable[[HttpRequest, M], HttpResponse]


class CountedFirst(RunByHand, Generic[M]):
    """Mix-in of a ModelAdmin; its pages know what a person may do with the run next."""

    def next_steps(self, request: HttpRequest, row: M) -> dict[str, Any]:
        """What the template of the page is told."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = self.next_steps(request, row) if row else {}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def action_path(self, action: str, act: Act[M]) -> URLPattern:
        """A page that only takes what a button of the run's page posts, from who may start runs."""

        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            if not self.has_run_permission(request):
                raise PermissionDenied
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return act(request, self.found(request, object_id))

        name = f"{self.opts.app_label}_{self.opts.model_name}_{action}"
        return path(f"<path:object_id>/{action}/", self.admin_site.admin_view(view), name=name)

    def found(self, request: HttpRequest, object_id: str) -> M:
        row: M | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def url_of(self, page: str, row: Model, *more: str) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=[row.pk, *more])

    def _form_page(self, request: HttpRequest, form: Form) -> HttpResponse:
        page = super()._form_page(request, form)
        if isinstance(page, TemplateResponse) and page.context_data is not None:
            page.context_data["submit_label"] = _("Count first")
        return page
