"""A button on a change list that starts the task whose runs the table holds, and a page that waits for the new row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import audit, styling
from api_service.models import Run as AnyRun
from api_service.services.task_sending import EXPIRES_SECONDS, BrokerDown, send

if TYPE_CHECKING:
    Base = ModelAdmin[Any]
else:
    Base = object

logger = logging.getLogger(__name__)

IN_QUEUE = gettext_lazy("It is in its queue: a worker begins it in a moment.")
# A worker that is there takes a task within a second or two
LATE_SECONDS = 30
# What a column of keys holds, and what `datetime` reckons with on every platform
LAST_KEY, LAST_SECOND = 2**63 - 1, 2**33


@dataclass(frozen=True)
class Run:
    """`task` is sent to its queue; `sent` tells the operator what happens next.

    With a `form` the button leads to it, and `kwargs` makes the task's arguments of what it says. `by_whom`: the task
    is told who asks, and the row that it writes has it as `requested_by`. `explain` says above the form what it costs.
    """

    task: str
    button: Promise
    sent: Promise = IN_QUEUE
    form: type[Form] | None = None
    kwargs: Callable[[dict[str, Any]], dict[str, Any]] = dict
    by_whom: bool = False
    explain: Callable[[], Sequence[str]] = tuple


@dataclass(frozen=True)
class Wait:
    """Until a row beyond `after` (a primary key: no two clocks are compared) appears; since `at`, Unix seconds."""

    after: int
    at: int

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Wait:
        """Http404 for an address that no button leads to."""
        try:
            wait = cls(int(said["after"]), int(said["at"]))
        except (KeyError, ValueError) as error:
            raise Http404 from error
        if not (0 <= wait.after <= LAST_KEY and 0 <= wait.at <= LAST_SECOND):
            raise Http404
        return wait


class RunByHand(Base):
    """Mix-in of a ModelAdmin. Who may add a row of the table may start the run that adds it."""

    run: Run

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}")

    def get_urls(self) -> list[URLPattern]:
        run, wait = self.admin_site.admin_view(self.run_view), self.admin_site.admin_view(self.wait_view)
        own = [path("run/", run, name=self._run_url_name()), path("run/wait/", wait, name=self._wait_url_name())]
        return [*own, *super().get_urls()]

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
        """To where the row will appear; without a broker back to the list."""
        by = {"requested_by": request.user.get_username()} if self.run.by_whom else {}
        newest = self._newest(request)
        try:
            task_id = send(self.run.task, {**kwargs, **by})
        except BrokerDown as error:
            logger.warning("%s started by hand: the broker did not take it: %s", self.run.task, error)
            self.message_user(request, _("Nothing was started: the task broker does not answer."), messages.ERROR)
            return HttpResponseRedirect(self._admin_url(self._list_url_name()))
        logger.info("%s started by hand by %s: task %s", self.run.task, request.user.get_username(), task_id)
        audit.note(request, self.run.task, kwargs, self.model)
        said = urlencode({"after": newest, "at": int(time()), **self.awaited(kwargs)}, doseq=True)
        return HttpResponseRedirect(f"{self._admin_url(self._wait_url_name())}?{said}")

    # -- until its row is there

    def wait_view(self, request: HttpRequest) -> HttpResponse:
        """Leads on to the row as soon as a worker has written it."""
        if not (self.has_view_permission(request) or self.has_run_permission(request)):
            raise PermissionDenied
        wait = Wait.of(request.GET)
        if row := self.begun(request, wait.after):
            return HttpResponseRedirect(self._page_of(row))
        return TemplateResponse(request, "api_service/admin/run_wait.html", self._wait_context(request, wait))

    def awaited(self, kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - for those who wait for something else
        """What the address of the page that waits says beyond `Wait`."""
        return {}

    def awaited_rows(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows of which the awaited one will be, and of which no two are at work at a time."""
        return self.get_queryset(request)

    def begun(self, request: HttpRequest, after: int) -> Model | None:
        """The row of the run that was asked for: the first one since then, of this person where rows tell."""
        rows = self.awaited_rows(request).filter(pk__gt=after).order_by("pk")
        if self.run.by_whom:
            rows = rows.filter(requested_by=request.user.get_username())
        first: Model | None = rows.first()
        return first

    def in_the_way(self, request: HttpRequest, since: int) -> AnyRun | None:
        """Another run that is, or was since then (Unix seconds), at work: what was asked for does nothing meanwhile."""
        if not issubclass(self.model, AnyRun):
            return None
        ended = Q(finished_at__gte=datetime.fromtimestamp(since, UTC))
        rows = self.awaited_rows(request).filter(Q(state=AnyRun.State.RUNNING) | ended)
        row: AnyRun | None = rows.order_by("-pk").first()
        return row

    def _wait_context(self, request: HttpRequest, wait: Wait) -> dict[str, Any]:
        waited, other = time() - wait.at, self.in_the_way(request, wait.at)
        is_dropped = waited > EXPIRES_SECONDS
        return {
            **self.admin_site.each_context(request),
            "title": self.run.button,
            "opts": self.opts,
            "media": self.media,
            "sent": self.run.sent,
            "is_open": not is_dropped,
            "is_dropped": is_dropped,
            "is_late": not is_dropped and waited > LATE_SECONDS,
            "other": other,
            "other_is_over": other is not None and other.state != AnyRun.State.RUNNING,
            "other_url": self._page_of(other) if other else "",
            "list_url": self._admin_url(self._list_url_name()),
        }

    def _newest(self, request: HttpRequest) -> int:
        pk = self.get_queryset(request).order_by("-pk").values_list("pk", flat=True).first()
        return int(pk or 0)

    def _page_of(self, row: Model) -> str:
        return self._admin_url(f"{self.opts.app_label}_{self.opts.model_name}_change", row.pk)

    def _admin_url(self, name: str, *args: Any) -> str:
        return reverse(f"{self.admin_site.name}:{name}", args=args)

    def _form_page(self, request: HttpRequest, form: Form) -> HttpResponse:
        styling.dress(form)
        context = {
            **self.admin_site.each_context(request),
            "title": self.run.button,
            "opts": self.opts,
            "explained": self.run.explain(),
            "form": form,
            "media": self.media + form.media,
            "list_url": reverse(f"{self.admin_site.name}:{self._list_url_name()}"),
        }
        return TemplateResponse(request, "api_service/admin/run_form.html", context)

    def _run_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_run"

    def _list_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_changelist"

    def _wait_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_wait"
