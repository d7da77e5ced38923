"""What an operator may tell a warm run."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from api_service.admin import display, spending
from api_service.services import ruc as rules
from api_service.services import warming
from api_service.services.translated import translated

SHOWN = 5
LARGEST = 100_000


class WarmForm(forms.Form):
    """Empty fields mean what the schedule does: the most frequent RUCs, the limits of the settings."""

    rucs = forms.CharField(
        label=gettext_lazy("RUCs"),
        required=False,
        strip=True,
        max_length=120_000,
        widget=forms.Textarea(attrs={"rows": 8, "cols": 16, "inputmode": "numeric", "spellcheck": "false"}),
        help_text=gettext_lazy("One per line. Empty: those that are asked for most."),
    )
    limit = forms.IntegerField(
        label=gettext_lazy("Limit"),
        required=False,
        min_value=0,
        max_value=LARGEST,
        help_text=gettext_lazy("RUCs refreshed at most."),
    )
    budget = forms.IntegerField(
        label=gettext_lazy("Budget"),
        required=False,
        min_value=0,
        max_value=LARGEST,
        help_text=gettext_lazy("Paid queries at most; 0 uses the stored answers only."),
    )
    dry_run = forms.BooleanField(
        label=gettext_lazy("Dry run"),
        required=False,
        help_text=gettext_lazy("Only count what would be done: nothing is changed, nothing is paid."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, default in (("limit", settings.WARM_LIMIT), ("budget", settings.WARM_BUDGET)):
            self.fields[name].widget.attrs["placeholder"] = default

    def clean_rucs(self) -> list[str]:
        lines = (rules.normalise(line) for line in self.cleaned_data["rucs"].splitlines())
        rucs = list(dict.fromkeys(line for line in lines if line))
        wrong = [ruc for ruc in rucs if not rules.is_valid(ruc)]
        if wrong:
            raise forms.ValidationError(_wrong(wrong))
        return rucs

    def clean(self) -> dict[str, Any]:
        """The service has the last word: what it refuses never reaches a worker."""
        data = self.cleaned_data
        if not self.errors:
            try:
                warming.request(data["limit"], data["budget"], data["rucs"] or None, dry_run=data["dry_run"])
            except ValueError as error:
                self.add_error(None, translated(str(error)))
        return data


def explained() -> list[str]:
    """What it costs, before it is started."""
    return [
        _("It pays for as many queries as the budget says at most; what the answer store has is loaded for free."),
        _("Warming may use %(share)s of each limit. A dry run says first how many RUCs it would be.")
        % {"share": display.share(settings.WARM_SHARE, 1)},
        *spending.lines(),
    ]


def _wrong(rucs: list[str]) -> str:
    text = ngettext(
        "Not a valid RUC (11 digits with check digit): %(rucs)s",
        "%(count)s are not valid RUCs (11 digits with check digit): %(rucs)s",
        len(rucs),
    )
    more = _(" and others") if len(rucs) > SHOWN else ""
    return text % {"count": len(rucs), "rucs": ", ".join(rucs[:SHOWN]) + more}


def arguments(data: dict[str, Any]) -> dict[str, Any]:
    """The task's arguments: only what was said, so that Flower shows what was asked for."""
    said = {name: data[name] for name in ("limit", "budget") if data[name] is not None}
    return {**said, **({"rucs": data["rucs"]} if data["rucs"] else {}), "dry_run": data["dry_run"]}
