"""One RUC: all that is known of it, where it lies, who reads it, when it is refreshed. Looking pays for nothing."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from api_service.admin import ruc_acts, ruc_marks, ruc_sections
from api_service.admin.ruc_links import ruc_url
from api_service.admin.ruc_marks import Mark
from api_service.services import hot_rucs, ruc, ruc_facts, ruc_rules, warm_outlook
from api_service.services.outcomes import Outcome
from api_service.services.ruc_rules import RucFacts
from api_service.services.warm_outlook import Outlook

VIEW = "api_service.view_storedanswer"
VIEW_LOG = "admin.view_logentry"
HOT_SHOWN = 50
ACTS_SHOWN = 10
LONGEST_SHOWN = 40


def search(request: HttpRequest) -> HttpResponse:
    """The box that leads to a RUC, and those that are asked for most."""
    _may_look(request)
    given = request.GET.get("q", "")
    number = ruc.normalise(given)
    if ruc.is_eleven_digits(number):
        return HttpResponseRedirect(ruc_url(number))
    return search_page(request, given)


def page(request: HttpRequest, number: str) -> HttpResponse:
    _may_look(request)
    wanted = ruc.normalise(number)
    if not ruc.is_eleven_digits(wanted):
        return search_page(request, number, status=404)
    if wanted != number:
        return HttpResponseRedirect(ruc_url(wanted))
    return TemplateResponse(request, "api_service/admin/ruc.html", _context(request, wanted))


def search_page(request: HttpRequest, given: str, status: int = 200) -> HttpResponse:
    """With `given`, what is wrong with it."""
    now = timezone.now()
    hot = hot_rucs.hottest(timezone.localdate(now), HOT_SHOWN)
    cached = ruc_facts.cached([one.ruc for one in hot], now.timestamp())
    context = {
        **admin.site.each_context(request),
        "title": _("RUCs"),
        "given": given[:LONGEST_SHOWN],
        "error": _("This is no RUC: it has 11 digits. Nothing was looked up and nothing was changed."),
        "hot": ruc_sections.hot_table(hot, cached, now),
    }
    return TemplateResponse(request, "api_service/admin/ruc_search.html", context, status=status)


def _may_look(request: HttpRequest) -> None:
    if not request.user.has_perm(VIEW):
        raise PermissionDenied


def _context(request: HttpRequest, number: str) -> dict[str, Any]:
    now = timezone.now()
    facts, lives = ruc_facts.of(number, now.timestamp()), ruc_facts.lives()
    shown = ruc_rules.newest(facts, lives)
    may_see_log = request.user.has_perm(VIEW_LOG)
    log = list(ruc_marks.done_to(number).select_related("user")[:ACTS_SHOWN]) if may_see_log else None
    return {
        **admin.site.each_context(request),
        "title": f"RUC {number}",
        "number": number,
        "name": ruc_sections.name_of(shown),
        "next": ruc_sections.next_words(ruc_rules.next_lookup(facts, now.timestamp(), lives)),
        "acts": ruc_acts.offered(request, facts),
        "sections": [
            ruc_sections.record(shown, can_exist=facts.can_exist),
            ruc_sections.freshness(facts, shown, now),
            ruc_sections.invalid(facts, _mark(facts) if may_see_log else None, now),
            ruc_sections.reads(ruc_facts.reads_by_day(number, timezone.localdate(now)), ruc_facts.habit(number), now),
            ruc_sections.warming(_outlook(facts, now.timestamp()), ruc_facts.warms(number), now),
            ruc_sections.places(facts),
            ruc_sections.tracked(ruc_facts.tracked(number)),
            *([] if log is None else [ruc_sections.done(log, now)]),
        ],
    }


def _outlook(facts: RucFacts, now: float) -> Outlook | None:
    """None for what no run would look at, or while the cache cannot tell."""
    unknown = Outcome.OUTAGE in {facts.answer.outcome, facts.negative.outcome}
    if not facts.can_exist or unknown:
        return None
    return warm_outlook.of_ruc(facts.ruc, _end(facts.answer), _end(facts.negative), now)


def _mark(facts: RucFacts) -> Mark | None:
    """A mark that is there speaks for itself, and on a node that does not answer nobody knows."""
    return ruc_marks.last(facts.ruc) if facts.negative.outcome not in {Outcome.HIT, Outcome.OUTAGE} else None


def _end(read: Any) -> float | None:
    if read.outcome is not Outcome.HIT:
        return None
    return float("inf") if read.expires_at is None else float(read.expires_at)
