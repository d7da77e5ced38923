"""A button on a change list that starts the task whose runs the table holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from api_service.admin import styling
from api_service.services.task_sending import BrokerDown, send

if TYPE_CHECKING:
    Base = ModelAdmin[Any]
else:
    Base = object

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """`task` is sent to its queue; `sent` tells the operator what happens next.

    With a `form` the button leads to it, and `kwargs` makes the task's arguments of what it says.
    """

    task: str
    button: Promise
    sent: Promise
    form: type[Form] | None = None
    kwargs: Callable[[dict[str, Any]], dict[str, Any]] = dict


class RunByHand(Base):
    """Mix-in of a ModelAdmin. Who may add a row of the table may start the run that adds it."""

    run: Run

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.run_view)
        return [path("run/", view, name=self._run_url_name()), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {})}
        if self.has_run_permission(request):
            url = reverse(f"{self.admin_site.name}:{self._run_url_name()}")
            context["run_by_hand"] = {"url": url, "button": self.run.button, "has_form": self.run.form is not None}
        return super().changelist_view(request, context)

    def run_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_run_permission(request):
            raise PermissionDenied
        if self.run.form is None:
            return self._start(request, {}) if request.method == "POST" else HttpResponseNotAllowed(["POST"])
        posted = request.method == "POST"
        form = self.run.form(request.POST if posted else None, request.FILES if posted else None)
        if form.is_bound and form.is_valid():
            return self._start(request, self.run.kwargs(form.cleaned_data))
        return self._form_page(request, form)

    def _start(self, request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
        """Back to the list, with a word on what happens now."""
        try:
            task_id = send(self.run.task, kwargs)
        except BrokerDown as error:
            logger.warning("%s started by hand: the broker did not take it: %s", self.run.task, error)
            self.message_user(request, _("Nothing was started: the task broker does not answer."), messages.ERROR)
        else:
            logger.info("%s started by hand by %s: task %s", self.run.task, request.user.get_username(), task_id)
            self.message_user(request, str(self.run.sent), messages.SUCCESS)
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:{self._list_url_name()}"))

    def _form_page(self, request: HttpRequest, form: Form) -> HttpResponse:
        styling.dress(form)
        context = {
            **self.admin_site.each_context(request),
            "title": self.run.button,
            "opts": self.opts,
            "form": form,
            "media": self.media + form.media,
            "list_url": reverse(f"{self.admin_site.name}:{self._list_url_name()}"),
        }
        return TemplateResponse(request, "api_service/admin/run_form.html", context)

    def _run_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_run"

    def _list_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_changelist"
