"""Nodes that are filled again from the answer store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.abandoned import ClosesAbandoned
from api_service.admin.base import TableAdmin
from api_service.admin.display import Tone
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.admin.run_page import RunPage
from api_service.admin.runs import RunColumns
from api_service.models import RefillRun
from api_service.services import refill
from api_service.services.backends import adapter_for
from api_service.services.translated import translated


def nodes() -> list[tuple[str, str]]:
    """The nodes of `CACHE_URL` as choices; nothing is asked of them."""
    try:
        names = adapter_for().nodes()
    except ImproperlyConfigured:
        return []
    return [(name, name) for name in names]


class RefillForm(forms.Form):
    """One node, so that a slip of the hand fills one and not all."""

    node = forms.ChoiceField(
        label=_("Node"),
        choices=nodes,
        help_text=_(
            "It gets the stored answers that belong to it and are still inside their life time. "
            "What it holds already stays as it is, and nothing is paid."
        ),
    )

    def clean_node(self) -> str:
        """What the service refuses never reaches a worker."""
        node = str(self.cleaned_data["node"])
        try:
            refill.check_node(node)
        except ValueError as error:
            raise forms.ValidationError(translated(str(error))) from error
        return node


@admin.register(RefillRun)
class RefillRunAdmin(ClosesAbandoned, RunColumns, RunPage, RunByHand, TableAdmin[RefillRun]):
    run = Run(
        task="workers.tasks.refill_node",
        button=_("Refill a node"),
        form=RefillForm,
        by_whom=True,
    )
    list_display = (*("started", "node", "written_text", "hits_text", "state_badge", "reason_text", "refused_text"),)
    list_filter = ("state", "reason")
    ordering = ("-started_at",)
    fields = (
        *("started", "node", "reason_text", "booted", "requested_by", "state_badge", "took", "candidates_text"),
        *("written_text", "there_text", "refused_text", "ratios_table", "error_text"),
    )

    def close_abandoned(self, now: datetime) -> None:
        refill.close_abandoned(now)

    def awaited(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"node": kwargs["node"]}

    def awaited_rows(self, request: HttpRequest) -> QuerySet[RefillRun]:
        """Each node has a lock of its own."""
        rows = self.get_queryset(request)
        return rows.filter(node=request.GET["node"]) if "node" in request.GET else rows

    @admin.display(description=_("reason"))
    def reason_text(self, row: RefillRun) -> str:
        return row.get_reason_display()

    @admin.display(description=_("node booted"))
    def booted(self, row: RefillRun) -> str:
        return display.age(row.booted_at, timezone.now())

    @admin.display(description=_("candidates"))
    def candidates_text(self, row: RefillRun) -> str:
        return display.number(row.candidates)

    @admin.display(description=_("written"))
    def written_text(self, row: RefillRun) -> str:
        return display.number(row.written)

    @admin.display(description=_("already there"))
    def there_text(self, row: RefillRun) -> str:
        return display.number(row.already_there)

    @admin.display(description=_("refused"))
    def refused_text(self, row: RefillRun) -> SafeString | str:
        return alarming(row.refused)

    @admin.display(description=_("hit ratio"))
    def hits_text(self, row: RefillRun) -> str:
        """Before, during and after."""
        ratios = (row.hit_ratio_before, row.hit_ratio_during, row.hit_ratio_after)
        return " → ".join(display.share(ratio, 1) for ratio in ratios)

    @admin.display(description=_("hit ratio"))
    def ratios_table(self, row: RefillRun) -> SafeString | str:
        rows = [
            (_("before"), display.share(row.hit_ratio_before, 1)),
            (_("during"), display.share(row.hit_ratio_during, 1)),
            (_("after"), display.share(row.hit_ratio_after, 1)),
        ]
        return display.table((_("when"), _("hit ratio")), rows)


def alarming(number: int) -> SafeString | str:
    """A number that should be 0."""
    return display.toned(Tone.BAD, display.number(number)) if number else "0"
