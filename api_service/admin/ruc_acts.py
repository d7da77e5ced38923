"""What a person may do to one RUC: each on a page of its own that says what it does and what it costs, then by POST."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import audit, ruc_marks, spending, styling
from api_service.admin.ruc_links import ruc_url
from api_service.services import durations, ruc, ruc_acts
from api_service.services.outcomes import Outcome
from api_service.services.ruc_acts import Marked, Removed
from api_service.services.ruc_rules import RucFacts

logger = logging.getLogger(__name__)

CHANGE: Final = "api_service.change_storedanswer"
DELETE: Final = "api_service.delete_storedanswer"
LONGEST_HOURS: Final = 30 * 24


@dataclass(frozen=True, slots=True)
class Said:
    """What is told to the person, and written down of it: `done` in codes, whatever the language (`ruc_marks`)."""

    text: str
    done: str
    level: int = messages.SUCCESS


class NothingToSay(forms.Form):
    """The act needs a confirmation and no more."""


class MarkForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=50,
        initial=ruc.NO_EXISTE_SUNAT,
        validators=[
            RegexValidator(r"\A[A-Z][A-Z0-9_]*\Z", gettext_lazy("A code: capital letters, digits and _, no spaces."))
        ],
        help_text=gettext_lazy("A code that callers get as the reason, such as NO_EXISTE_SUNAT or DADO_DE_BAJA."),
    )
    hours = forms.IntegerField(
        label=gettext_lazy("Hours"),
        min_value=1,
        max_value=LONGEST_HOURS,
        help_text=gettext_lazy("After so many it is taken off the list by itself."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["hours"].initial = max(1, settings.CACHE_TTL_INVALID_RUC // 3600)


@dataclass(frozen=True)
class Act:
    """`explain` says on the act's page what it does and costs; `carry_out` gets what the form said."""

    label: Promise
    permission: str
    explain: Callable[[], Sequence[str]]
    carry_out: Callable[[str, dict[str, Any]], Said]
    fits: Callable[[RucFacts], bool]
    form: type[forms.Form] = NothingToSay
    # Of a RUC that cannot exist there is nothing to fetch and nothing to forget
    needs_valid: bool = True
    # Written down before, too: a process that ends after the paid query would leave no trace of who asked
    pays: bool = False


def offered(request: HttpRequest, facts: RucFacts) -> list[tuple[str, str, Promise]]:
    """Name, address and label of what this person may do to it now."""
    return [
        (name, reverse("ruc:act", args=[facts.ruc, name]), act.label)
        for name, act in ACTS.items()
        if request.user.has_perm(act.permission) and (facts.can_exist or not act.needs_valid) and act.fits(facts)
    ]


def act_page(request: HttpRequest, number: str, act: str) -> HttpResponse:
    """GET asks, POST does it and goes back to the RUC with a word on what became of it."""
    wanted = ACTS.get(act)
    if wanted is None:
        raise Http404
    if not request.user.has_perm(wanted.permission):
        raise PermissionDenied
    if not (ruc.is_valid(number) if wanted.needs_valid else ruc.is_eleven_digits(number)):
        text = _("No such RUC can exist: its check digit or its beginning is wrong. Nothing was changed.")
        messages.error(request, text)
        return HttpResponseRedirect(ruc_url(number) if ruc.is_eleven_digits(number) else reverse("ruc:search"))
    form = wanted.form(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        if wanted.pays:
            audit.note(request, ruc_marks.logged_as(number), f"{act}: asked")
        return _done(request, number, wanted.carry_out(number, form.cleaned_data))
    return _question(request, number, wanted, form)


def _done(request: HttpRequest, number: str, said: Said) -> HttpResponse:
    audit.note(request, ruc_marks.logged_as(number), said.done)
    logger.info("RUC %s: %s, by %s", number, said.done, request.user.get_username())
    messages.add_message(request, said.level, said.text)
    return HttpResponseRedirect(ruc_url(number))


def _question(request: HttpRequest, number: str, act: Act, form: forms.Form) -> HttpResponse:
    styling.dress(form)
    context = {
        **admin.site.each_context(request),
        "title": f"{act.label}: RUC {number}",
        "number": number,
        "act": act,
        "explained": act.explain(),
        "form": form,
        "submit_label": act.label,
        "list_url": ruc_url(number),
    }
    return TemplateResponse(request, "api_service/admin/ruc_act.html", context)


# -- refresh


def _refresh_explained() -> list[str]:
    return [
        _("It asks APIMIGO for a new answer: one paid query, and one more for each retry after a failure."),
        _("Nothing is asked where a limit of paid queries is reached."),
        _(
            "The answer replaces a mark as invalid, one by hand too: a record ends it, and what APIMIGO does not know "
            "is listed for %(life)s from then, with its reason."
        )
        % {"life": durations.short(settings.CACHE_TTL_INVALID_RUC)},
        *spending.lines(),
    ]


def _refresh(number: str, _said: dict[str, Any]) -> Said:
    result = ruc_acts.refresh(number)
    if result["success"]:
        return Said(_("APIMIGO has answered: this is the newest record."), "refresh: found")
    if result["reason"] is not None:
        text = _("APIMIGO has answered: it knows no such RUC, which is listed as invalid now.")
        return Said(text, f"refresh: {result['reason']}", messages.WARNING)
    text = _("Nothing was changed. %(error)s %(next_step)s") % result
    return Said(text, f"refresh: failed, {result['code']}", messages.ERROR)


# -- forget


def _forget_explained() -> list[str]:
    return [
        _("The answer is removed from the cache and from the answer store."),
        _("The next look-up of it is paid for. A mark as invalid stays."),
    ]


def _forget(number: str, _said: dict[str, Any]) -> Said:
    forgotten = ruc_acts.forget(number, timezone.now().timestamp())
    done = f"forget: cache {forgotten.cached.value}, store {'yes' if forgotten.stored else 'nothing_there'}"
    if forgotten.cached is Removed.UNREACHABLE:
        text = _("Its node of the cache does not answer: the stored answer is gone, what the node holds is not.")
        return Said(text, done, messages.ERROR)
    if forgotten.cached is Removed.NOTHING_THERE and not forgotten.stored:
        return Said(_("There was nothing to forget."), done, messages.WARNING)
    return Said(_("It is forgotten: the next look-up asks APIMIGO."), done)


# -- the list of invalid RUCs


def _mark_explained() -> list[str]:
    return [
        _("Every look-up is told that there is no such record, with this reason, and nothing is paid for it."),
        _("The answer is removed from the cache; the stored one stays, and is used again when the mark ends."),
        _(
            "The mark is one key in the cache. A newer answer or a clearing ends it before its time, and so does a "
            "node that restarts or runs out of memory. The page of the RUC says so where no newer answer is known."
        ),
    ]


def _mark(number: str, said: dict[str, Any]) -> Said:
    reason, hours = said["reason"], said["hours"]
    marked = ruc_acts.mark(number, reason, hours)
    if marked is Marked.NO:
        text = _("Its node of the cache does not take the mark: nothing was changed. Try again when it answers.")
        return Said(text, f"mark: failed, reason={reason} hours={hours}", messages.ERROR)
    if marked is Marked.BESIDE_AN_ANSWER:
        text = _(
            "It is listed as invalid, but the node of its answer does not reply: once it does, look-ups find that"
            " answer again until it ends. Forget it then."
        )
        return Said(text, f"mark: {marked.value}, reason={reason} hours={hours}", messages.WARNING)
    return Said(_("It is listed as invalid."), f"mark: reason={reason} hours={hours}")


def _unmark_explained() -> list[str]:
    return [_("It is looked up again like any other: from the answer store, or for one paid query.")]


def _unmark(number: str, _said: dict[str, Any]) -> Said:
    removed = ruc_acts.unmark(number)
    done = f"unmark: {removed.value}"
    if removed is Removed.UNREACHABLE:
        text = _("Its node of the cache does not answer: the mark is still there. Try again when it does.")
        return Said(text, done, messages.ERROR)
    if removed is Removed.NOTHING_THERE:
        return Said(_("It was not on the list."), done, messages.WARNING)
    return Said(_("It is off the list of invalid RUCs."), done)


def _is_listed(facts: RucFacts) -> bool:
    return facts.negative.outcome is Outcome.HIT


ACTS: Final[dict[str, Act]] = {
    "refresh": Act(
        *(gettext_lazy("Refresh now"), CHANGE, _refresh_explained, _refresh, lambda _facts: True),
        pays=True,
    ),
    "forget": Act(gettext_lazy("Forget"), DELETE, _forget_explained, _forget, lambda _facts: True),
    "mark": Act(
        *(gettext_lazy("Mark as invalid"), CHANGE, _mark_explained, _mark, lambda facts: not _is_listed(facts)),
        form=MarkForm,
        needs_valid=False,
    ),
    "unmark": Act(
        *(gettext_lazy("Take off the invalid list"), CHANGE, _unmark_explained, _unmark, _is_listed),
        needs_valid=False,
    ),
}
