"""Copies of the keys to another cache: the one that is set is copied to from here, any other by the command."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import TableAdmin
from api_service.admin.refills import alarming
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.admin.run_page import RunPage
from api_service.admin.runs import RunColumns
from api_service.models import CopyRun
from api_service.services import copy_target, copying
from api_service.services.copy_checks import CannotCopy
from api_service.services.redaction import redact
from api_service.services.translated import translated

# An interrupted copy is gone on with in its old row: what was ended so long ago is no answer to a button
LATELY = timedelta(seconds=10)


class CopyForm(forms.Form):
    """Where to is a setting: its URL may hold a password, and a slip of the hand must not fill a stranger's cache."""

    target = forms.CharField(
        label=_("To"),
        required=False,
        disabled=True,
        help_text=_(
            "Named by COPY_CACHE_URL. Every live key goes there with what is left of its life; nothing is removed "
            "here, and nothing is paid. Afterwards all are looked for there, and some are compared."
        ),
    )
    replace = forms.BooleanField(
        label=_("Overwrite what is there"),
        required=False,
        help_text=_("Newer answers there too. Without it an answer there is replaced by a newer one only."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["target"].initial = copy_target.label() or _("none is set")

    def clean(self) -> dict[str, Any]:
        """What the service refuses never reaches a worker."""
        try:
            copy_target.check_in_time(copy_target.job())
        except CannotCopy as error:
            raise forms.ValidationError(translated(redact(str(error)))) from error
        return self.cleaned_data


def arguments(data: dict[str, Any]) -> dict[str, Any]:
    return {"replace": data["replace"]}


@admin.register(CopyRun)
class CopyRunAdmin(ClosesAbandoned, RunColumns, RunPage, RunByHand, TableAdmin[CopyRun]):
    run = Run(
        task=copy_target.TASK,
        button=_("Copy to another cache"),
        form=CopyForm,
        kwargs=arguments,
        by_whom=True,
    )
    list_display = (
        *("started", "target", "state_badge", "copied_text", "missing_text", "differing_text", "skipped_total"),
        *("there_text", "purpose", "took"),
    )
    list_filter = ("state",)
    ordering = ("-started_at",)
    fields = (
        *("started", "purpose", "requested_by", "source", "target", "state_badge", "took", "found_text"),
        *("copied_text", "there_text", "skipped_text", "missing_text", "checked_text", "differing_text"),
        *("nodes_table", "error_text"),
    )

    def close_abandoned(self, now: datetime) -> None:
        copying.close_abandoned(now)

    def begun(self, request: HttpRequest, after: int) -> Model | None:
        """Also one that had been interrupted, and goes on in the row that it has."""
        goes_on = Q(state=CopyRun.State.RUNNING) | Q(finished_at__gt=timezone.now() - LATELY)
        own = self.get_queryset(request).filter(requested_by=request.user.get_username())
        row: Model | None = own.filter(Q(pk__gt=after) | goes_on).order_by("-pk").first()
        return row

    @admin.display(description=_("found"))
    def found_text(self, row: CopyRun) -> str:
        return display.number(row.found)

    @admin.display(description=_("copied"))
    def copied_text(self, row: CopyRun) -> str:
        return f"{display.number(row.copied)} / {display.number(row.found)}"

    @admin.display(description=_("already there"))
    def there_text(self, row: CopyRun) -> str:
        return display.number(row.already_there)

    @admin.display(description=_("not copied"))
    def skipped_total(self, row: CopyRun) -> str:
        return display.number(sum(row.skipped.values()))

    @admin.display(description=_("not copied"))
    def skipped_text(self, row: CopyRun) -> SafeString | str:
        return display.counts((words.word(words.NOT_COPIED, reason), number) for reason, number in row.skipped.items())

    @admin.display(description=_("not there afterwards"))
    def missing_text(self, row: CopyRun) -> SafeString | str:
        return alarming(row.missing)

    @admin.display(description=_("values compared"))
    def checked_text(self, row: CopyRun) -> str:
        return display.number(row.checked)

    @admin.display(description=_("values that differ"))
    def differing_text(self, row: CopyRun) -> SafeString | str:
        return alarming(row.differing)

    @admin.display(description=_("nodes"))
    def nodes_table(self, row: CopyRun) -> SafeString | str:
        rows = [
            (
                name,
                display.badge(facts.get("state", ""), words.word(words.STATES, facts.get("state", ""))),
                display.number(facts.get("found")),
                display.number(facts.get("copied")),
                display.error_cell(facts.get("error")),
            )
            for name, facts in sorted(row.nodes.items())
        ]
        return display.table((_("node"), _("state"), _("found"), _("copied"), _("error")), rows)
