"""Clearings: counted first, started and resumed from here, seen while they go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import audit, display
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import TableAdmin
from api_service.admin.counted_first import CountedFirst
from api_service.admin.display import Tone
from api_service.admin.run_by_hand import Run
from api_service.admin.runs import RunColumns
from api_service.models import ClearRun
from api_service.services import clear_plan, clearing
from api_service.services.keys import KINDS
from api_service.services.task_sending import BrokerDown
from api_service.services.translated import translated

logger = logging.getLogger(__name__)

State = ClearRun.State
OPEN = {State.WAITING, State.RUNNING}


class ClearForm(forms.Form):
    """What to clear. It is counted first, whatever is said here."""

    service = forms.CharField(label=_("Service"), max_length=50, help_text=_("As the keys begin, such as migo."))
    kind = forms.CharField(
        label=_("Kind"),
        max_length=50,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": ", ".join(KINDS)}),
        help_text=_("Empty: every kind."),
    )
    pattern = forms.CharField(
        label=_("Identifiers like"),
        max_length=250,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "2010*", "spellcheck": "false"}),
        help_text=_("* is any text, ? is one character. Empty: every identifier."),
    )
    with_answers = forms.BooleanField(
        label=_("Stored answers too"),
        required=False,
        help_text=_(
            "Without it the stored answers stay, and inside their life time they are served again for free. "
            "With it the next look-up of each is paid."
        ),
    )

    def clean(self) -> dict[str, Any]:
        """The service has the last word: what it refuses never reaches a worker."""
        data = self.cleaned_data
        if not self.errors:
            try:
                clear_plan.selection(data["service"], data["kind"], data["pattern"])
            except ValueError as error:
                self.add_error(None, translated(str(error)))
        return data


@admin.register(ClearRun)
class ClearRunAdmin(ClosesAbandoned, RunColumns, CountedFirst[ClearRun], TableAdmin[ClearRun]):
    run = Run(
        task=clearing.TASK,
        button=_("Clear a service"),
        form=ClearForm,
    )
    change_form_template = "api_service/admin/clear_run.html"
    list_display = (
        *("started", "what", "removed_text", "requested_by", "state_badge", "dry_run", "found_text", "failed_text"),
        *("via", "worked"),
    )
    list_filter = ("state", "dry_run", "via")
    ordering = ("-started_at",)
    fields = (
        *("started", "state_badge", "service", "kind_text", "pattern_text", "dry_run", "requested_by", "via"),
        *(
            "found_text",
            "removed_text",
            "failed_text",
            "answers_text",
            "kinds_table",
            "nodes_table",
            "worked",
            "error_text",
        ),
    )

    # -- pages

    def get_urls(self) -> list[URLPattern]:
        own = [self.action_path("clear", self._clear), self.action_path("resume", self._resume)]
        return [*own, *super().get_urls()]

    def close_abandoned(self, now: datetime) -> None:
        clearing.close_abandoned(now)

    def next_steps(self, request: HttpRequest, row: ClearRun) -> dict[str, Any]:
        allowed, counted = self.has_run_permission(request), row.dry_run and row.state == State.DONE
        return {
            "row": row,
            "is_open": row.state in OPEN,
            "is_counted": counted,
            "can_clear": allowed and counted and bool(row.found or row.answers_found),
            "can_resume": allowed and row.state == State.FAILED,
            "clear_url": self.url_of("clear", row),
            "resume_url": self.url_of("resume", row),
        }

    # -- what is started

    def _start(self, request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
        counted = self._request(request, kwargs, dry_run=True)
        return self._submitted(request, "count", lambda: clearing.submit(counted), None)

    def _clear(self, request: HttpRequest, row: ClearRun) -> HttpResponse:
        """What was counted is cleared: the same selection, listed anew."""
        return self._submitted(request, "clear", lambda: clearing.submit(self._again(request, row)), row)

    def _resume(self, request: HttpRequest, row: ClearRun) -> HttpResponse:
        return self._submitted(request, "resume", lambda: _resumed(row), row)

    def _submitted(
        self, request: HttpRequest, act: str, submit: Callable[[], ClearRun], before: ClearRun | None
    ) -> HttpResponse:
        """To the page of the run; without a broker back to where the person came from."""
        try:
            row = submit()
        except BrokerDown as error:
            logger.warning("a clearing started by hand: the broker did not take it: %s", error)
            self.message_user(request, gettext("Nothing was started: the task broker does not answer."), messages.ERROR)
            name = f"{self.admin_site.name}:{self._list_url_name()}"
            return HttpResponseRedirect(self.url_of("change", before) if before else reverse(name))
        said = {name: getattr(row, name) for name in ("service", "kind", "pattern", "with_answers")}
        audit.note(request, f"clearing {row.pk}", f"{act} {audit.in_words(said)}", ClearRun, row.pk)
        self.message_user(request, str(self.run.sent), messages.SUCCESS)
        return HttpResponseRedirect(self.url_of("change", row))

    def _again(self, request: HttpRequest, row: ClearRun) -> clearing.ClearRequest:
        said = {name: getattr(row, name) for name in ("service", "kind", "pattern", "with_answers")}
        return self._request(request, said, dry_run=False)

    def _request(self, request: HttpRequest, said: dict[str, Any], *, dry_run: bool) -> clearing.ClearRequest:
        who = request.user.get_username()
        return clearing.request(**said, dry_run=dry_run, via=ClearRun.Via.ADMIN, requested_by=who)

    # -- columns

    @admin.display(description=_("selection"))
    def what(self, row: ClearRun) -> str:
        return str(clearing.selection_of(row))

    @admin.display(description=_("kind"))
    def kind_text(self, row: ClearRun) -> str:
        return row.kind or gettext("every one")

    @admin.display(description=_("identifiers like"))
    def pattern_text(self, row: ClearRun) -> str:
        return row.pattern or gettext("every one")

    @admin.display(description=_("keys found"))
    def found_text(self, row: ClearRun) -> str:
        return display.number(row.found)

    @admin.display(description=_("keys removed"))
    def removed_text(self, row: ClearRun) -> str:
        return display.NOTHING if row.dry_run else display.number(row.removed)

    @admin.display(description=_("failed"))
    def failed_text(self, row: ClearRun) -> SafeString | str:
        return display.toned(Tone.BAD, display.number(row.failed)) if row.failed else "0"

    @admin.display(description=_("stored answers"))
    def answers_text(self, row: ClearRun) -> str:
        if not row.with_answers:
            return gettext("they stay, and inside their life time they are served again for free")
        counts = {"found": display.number(row.answers_found), "removed": display.number(row.answers_removed)}
        if row.dry_run:
            return gettext("%(found)s would be forgotten") % counts
        return gettext("%(removed)s forgotten of %(found)s") % counts

    @admin.display(description=_("by kind"))
    def kinds_table(self, row: ClearRun) -> SafeString | str:
        kinds = clear_plan.by_kind(row.nodes.values()).items()
        return display.table((_("kind"), _("keys found")), [(kind, display.number(count)) for kind, count in kinds])

    @admin.display(description=_("by node"))
    def nodes_table(self, row: ClearRun) -> SafeString | str:
        rows = [
            (
                name,
                display.badge(node["state"], _node_state(node["state"])),
                display.number(node["found"]),
                display.NOTHING if row.dry_run else display.number(node["removed"]),
                display.error_cell(node["error"]),
            )
            for name, node in sorted(row.nodes.items())
        ]
        return display.table((_("node"), _("state"), _("keys found"), _("keys removed"), _("error")), rows)

    @admin.display(description=_("duration"))
    def worked(self, row: ClearRun) -> str:
        return display.number(row.seconds, " s", 1) if row.seconds else display.NOTHING


def _resumed(row: ClearRun) -> ClearRun:
    clearing.submit_again(row)
    return row


def _node_state(state: str) -> str:
    return gettext("not in CACHE_URL any more") if state == clear_plan.LEFT else str(State(state).label)
