"""Billing runs: a list is uploaded, its cost seen and confirmed, its checking watched, its result taken away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import get_valid_filename
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import TableAdmin
from api_service.admin.counted_first import CountedFirst
from api_service.admin.display import Tone
from api_service.admin.ruc_links import linked
from api_service.admin.run_by_hand import Run
from api_service.models import BillingRow, BillingRun
from api_service.services import billing_export, billing_rows, billing_runs, billing_upload
from api_service.services.task_sending import BrokerDown

logger = logging.getLogger(__name__)

State = BillingRun.State
MOST_PAID = 1_000_000
ROWS_SHOWN = 10
CONTENT_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True)
class Upload:
    name: str
    lines: list[billing_upload.Line]


class UploadForm(forms.Form):
    """Read to the end here: a file that cannot be used changes nothing."""

    file = forms.FileField(
        label=_("File"),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.xlsx"}),
        help_text=_(
            "CSV or .xlsx with a column RUC: 10,000 lines and 5 MB at most. "
            "What it would cost is shown first; nothing is paid before you confirm."
        ),
    )

    def clean_file(self) -> Upload:
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        try:
            return Upload(str(file.name), billing_upload.read(file.read(billing_upload.MOST_BYTES + 1)))
        except billing_upload.BadUpload as error:
            raise forms.ValidationError(str(error)) from error


class BeginForm(forms.Form):
    """What a run may cost; empty is no limit of its own."""

    budget = forms.IntegerField(required=False, min_value=0, max_value=MOST_PAID)


@admin.register(BillingRun)
class BillingRunAdmin(ClosesAbandoned, CountedFirst[BillingRun], TableAdmin[BillingRun]):
    run = Run(
        task=billing_runs.TASK,
        button=_("Check a list"),
        form=UploadForm,
    )
    change_form_template = "api_service/admin/billing_run.html"
    list_display = ("uploaded", "file_name", "state_badge", "progress", "fit_count", "unfit_count", "paid_text", "who")
    list_filter = ("state", "via")
    ordering = ("-uploaded_at",)
    fields = (
        *("file_name", "uploaded", "who", "state_badge", "cost_table", "paid_text", "progress", "fit_count"),
        *("unfit_count", "failed_count", "reasons_table", "rows_table", "error_text"),
    )

    # -- pages

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_result"
        result = path("<path:object_id>/result<str:form>", self.admin_site.admin_view(self.result_view), name=name)
        own = [self.action_path("begin", self._begin), self.action_path("cancel", self._cancel), result]
        return [*own, *super().get_urls()]

    def close_abandoned(self, now: datetime) -> None:
        billing_runs.close_abandoned(now)

    def next_steps(self, request: HttpRequest, row: BillingRun) -> dict[str, Any]:
        allowed = self.has_run_permission(request)
        return {
            "row": row,
            "is_open": row.state in billing_runs.OPEN,
            "can_begin": allowed and row.state in billing_runs.RESUMABLE,
            "can_cancel": allowed and row.state not in {State.DONE, State.CANCELLED},
            "is_new": row.state == State.PLANNED,
            # What was counted, unless somebody has said otherwise: no surprise in the bill
            "proposed": row.to_pay if row.budget is None and row.started_at is None else row.budget,
            "begin_url": self.url_of("begin", row),
            "cancel_url": self.url_of("cancel", row),
            "downloads": [(form.removeprefix(".").upper(), self.url_of("result", row, form)) for form in CONTENT_TYPES],
        }

    # -- what is started, stopped and taken away

    def _start(self, request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
        upload: Upload = kwargs["file"]
        who = request.user.get_username()
        row = billing_runs.plan(upload.lines, file_name=upload.name, via=BillingRun.Via.ADMIN, requested_by=who)
        self.log_addition(request, row, [{"added": {}}])
        return HttpResponseRedirect(self.url_of("change", row))

    def _begin(self, request: HttpRequest, row: BillingRun) -> HttpResponse:
        """The first time, or on with one that was stopped."""
        form = BeginForm(request.POST)
        if not form.is_valid():
            self.message_user(request, gettext("Paid queries at most: a whole number, or empty."), messages.ERROR)
        else:
            self._submit(request, row, form.cleaned_data["budget"])
        return HttpResponseRedirect(self.url_of("change", row))

    def _submit(self, request: HttpRequest, row: BillingRun, budget: int | None) -> None:
        try:
            began = billing_runs.submit(row, budget)
        except BrokerDown as error:
            logger.warning("a billing run: the broker did not take it: %s", error)
            self.message_user(request, gettext("Nothing was started: the task broker does not answer."), messages.ERROR)
            return
        if began:
            self.log_change(request, row, f"begun, budget {budget}")
            self.message_user(request, str(self.run.sent), messages.SUCCESS)

    def _cancel(self, request: HttpRequest, row: BillingRun) -> HttpResponse:
        if billing_runs.cancel(row):
            self.log_change(request, row, "cancelled")
        return HttpResponseRedirect(self.url_of("change", row))

    def result_view(self, request: HttpRequest, object_id: str, form: str) -> HttpResponse:
        """As far as it is: lines without a verdict have a question mark."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.found(request, object_id)
        if form not in CONTENT_TYPES:
            raise Http404
        answer = HttpResponse(billing_export.WRITERS[form](row), content_type=CONTENT_TYPES[form])
        stem = get_valid_filename(f"{row.file_name.rpartition('.')[0] or row.file_name}-{row.pk}".strip(".") or "list")
        answer.headers["Content-Disposition"] = f'attachment; filename="{_ascii(stem)}{form}"'
        return answer

    # -- columns

    @admin.display(description=_("uploaded"))
    def uploaded(self, row: BillingRun) -> str:
        return display.age(row.uploaded_at, timezone.now())

    @admin.display(description=_("requested by"))
    def who(self, row: BillingRun) -> str:
        return f"{row.requested_by} ({row.get_via_display()})"

    @admin.display(description=_("state"))
    def state_badge(self, row: BillingRun) -> SafeString:
        return display.badge(row.state, row.get_state_display())

    @admin.display(description=_("what it costs"))
    def cost_table(self, row: BillingRun) -> SafeString | str:
        counts = (row.lines, row.distinct, row.cached, row.stored, row.to_pay)
        headings = (_("lines"), _("distinct RUCs"), _("in the cache"), _("in the answer store"), _("to be paid"))
        return display.table(headings, [[display.number(count) for count in counts]])

    @admin.display(description=_("paid queries"))
    def paid_text(self, row: BillingRun) -> str:
        paid = display.number(row.paid + row.paying)
        return paid if row.budget is None else f"{paid} / {display.number(row.budget)}"

    @admin.display(description=_("lines checked"))
    def progress(self, row: BillingRun) -> SafeString:
        text = f"{display.number(row.checked)} / {display.number(row.lines)}"
        return format_html("{}{}", text, display.bar(row.checked, row.lines))

    @admin.display(description=_("fit"))
    def fit_count(self, row: BillingRun) -> str:
        return display.number(row.fit)

    @admin.display(description=_("not fit"))
    def unfit_count(self, row: BillingRun) -> str:
        return display.number(row.unfit)

    @admin.display(description=_("without an answer"))
    def failed_count(self, row: BillingRun) -> SafeString | str:
        return display.toned(Tone.BAD, display.number(row.failed)) if row.failed else "0"

    @admin.display(description=_("reasons"))
    def reasons_table(self, row: BillingRun) -> SafeString | str:
        reasons = [(billing_rows.code_text(code), display.number(number)) for code, number in row.reasons.items()]
        return display.table((_("reason"), _("lines")), reasons)

    @admin.display(description=_("result"))
    def rows_table(self, row: BillingRun) -> SafeString | str:
        """The first lines; the list has them all, page by page."""
        first = BillingRow.objects.filter(run=row).order_by("line")[:ROWS_SHOWN]
        url = f"{reverse(f'{self.admin_site.name}:api_service_billingrow_changelist')}?run__id__exact={row.pk}"
        cells = [
            (line.line, linked(line.ruc or line.given), fit_badge(line), _sentences(line), line.name or display.NOTHING)
            for line in first
        ]
        table = display.table((_("line"), "RUC", _("fit"), _("reasons and warnings"), _("name")), cells)
        return format_html('{}<p><a href="{}">{}</a></p>', table, url, gettext("All lines"))

    @admin.display(description=_("error"))
    def error_text(self, row: BillingRun) -> SafeString | str:
        return display.error(row.error)


@admin.register(BillingRow)
class BillingRowAdmin(TableAdmin[BillingRow]):
    list_display = ("line", "ruc_text", "fit_text", "reasons_text", "warnings_text", "name", "source_text", "checked")
    list_filter = ("fit", "state")
    list_display_links = ("line",)
    ordering = ("-pk",)
    ordering_of_filter = (("run__id__exact", ("line",)),)
    fields = (
        *("run", "line", "given", "ruc_text", "state", "fit_text", "reasons_text", "warnings_text", "name"),
        *("taxpayer_state", "taxpayer_condition", "source_text", "checked"),
    )

    @admin.display(description="RUC")
    def ruc_text(self, row: BillingRow) -> SafeString | str:
        return linked(row.ruc or row.given)

    @admin.display(description=_("fit for invoicing"))
    def fit_text(self, row: BillingRow) -> SafeString:
        return fit_badge(row)

    @admin.display(description=_("reasons"))
    def reasons_text(self, row: BillingRow) -> str:
        return " ".join(billing_rows.reason_texts(row)) or display.NOTHING

    @admin.display(description=_("warnings"))
    def warnings_text(self, row: BillingRow) -> str:
        return " ".join(billing_rows.warning_texts(row)) or display.NOTHING

    @admin.display(description=_("source"))
    def source_text(self, row: BillingRow) -> str:
        return billing_rows.source_text(row.source) or display.NOTHING

    @admin.display(description=_("checked"))
    def checked(self, row: BillingRow) -> SafeString | str:
        return display.age(row.checked_at, timezone.now())


def fit_badge(row: BillingRow) -> SafeString:
    tone = {True: Tone.GOOD, False: Tone.BAD, None: Tone.QUIET}[row.fit]
    return display.toned(tone, billing_rows.fit_text(fit=row.fit))


def _sentences(row: BillingRow) -> str:
    return "\n".join([*billing_rows.reason_texts(row), *billing_rows.warning_texts(row)]) or display.NOTHING


def _ascii(name: str) -> str:
    """What every browser takes as a file's name, and no header can be broken with."""
    return name.encode("ascii", "ignore").decode() or "list"
