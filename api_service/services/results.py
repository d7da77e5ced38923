"""Plain dicts for callers, from what the typed layer beneath returned or raised.

Found: the provider's record flat, `success` True, and `cache`: what the cache said, where the answer came from, its
age in seconds. Otherwise `success` False with a `Failure`'s fields; a negative answer also has `reason` and `cache`.
`code` is stable and never translated; `error` and `next_step` are for people, in the language that is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypedDict

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.services.budget import BudgetExhausted
from api_service.services.errors import UpstreamError, UpstreamNotAsked
from api_service.services.failures import TROUBLE, Trouble
from api_service.services.outcomes import Lookup, Source
from api_service.services.ruc import FORMATO_INVALIDO, NO_EXISTE_SUNAT
from api_service.services.translated import translated

# The provider's own fields are kept whole, so no TypedDict can name them all
Result: TypeAlias = dict[str, Any]

NOT_FOUND: Final = "not_found"
MALFORMED: Final = "malformed"
BUDGET_EXHAUSTED: Final = BudgetExhausted.code
DATABASE_UNAVAILABLE: Final = "database_unavailable"
BUSY: Final = "busy"

_MESSAGES: Final = {
    "upstream_error": gettext_lazy("APIMIGO could not answer."),
    "upstream_timeout": gettext_lazy("APIMIGO did not answer in time."),
    "upstream_unreachable": gettext_lazy("APIMIGO cannot be reached."),
    "upstream_rate_limited": gettext_lazy("APIMIGO asks for fewer queries a minute."),
    "upstream_server_error": gettext_lazy("APIMIGO has a failure of its own."),
    "upstream_bad_answer": gettext_lazy("APIMIGO's answer cannot be read."),
    "upstream_auth_refused": gettext_lazy("APIMIGO refuses the token or the plan."),
    "upstream_malformed": gettext_lazy("APIMIGO does not accept the form of the query."),
    "upstream_refused": gettext_lazy("APIMIGO refused the query."),
    "upstream_not_offered": gettext_lazy("This version of APIMIGO has no such query."),
    "upstream_circuit_open": gettext_lazy("APIMIGO has failed too often and is left alone for a moment."),
    "upstream_not_asked": gettext_lazy("The query was not made: a limit was reached before."),
}


class CacheInfo(TypedDict):
    """`outcome`: hit, stale, negative, miss or outage; `source`: cache, store, validation or upstream.

    `age` is in seconds. `stale` is True for an answer past its life; `stale_because` says why no newer one came:
    "refreshing" while that is under way, else the code of the failure. None for an answer that is not old.
    """

    outcome: str
    source: str
    age: float
    stale: bool
    stale_because: str | None


class Failure(TypedDict):
    """`retry_after` is in seconds, None when nobody said; `permanent` means that asking again cannot help."""

    error: str
    code: str
    permanent: bool
    retry_after: float | None
    next_step: str


def of_lookup(found: Lookup) -> Result:
    """The dict of an answer, positive or negative."""
    cache = CacheInfo(
        outcome=found.cache.value,
        source=found.source.value,
        age=round(found.age, 3),
        stale=found.is_stale,
        stale_because=found.stale_because or None,
    )
    if found.data is not None:
        return {**found.data, "success": True, "cache": cache}
    reason = found.reason or NO_EXISTE_SUNAT
    failure = malformed() if found.source is Source.VALIDATION else _negative(reason)
    return {"success": False, **failure, "reason": reason, "cache": cache}


def of_trouble(trouble: Trouble) -> Result:
    """The dict of an answer that could not be had. Nothing is said about the thing asked for: `reason` is None."""
    return {"success": False, **failure_of(trouble), "reason": None}


def of_answer(answer: Lookup | Trouble) -> Result:
    """The dict of either, as a look-up of many hands them out."""
    return of_lookup(answer) if isinstance(answer, Lookup) else of_trouble(answer)


def failure_of(trouble: Trouble) -> Failure:
    if isinstance(trouble, UpstreamNotAsked) and isinstance(trouble.__cause__, TROUBLE):
        return failure_of(trouble.__cause__)
    if isinstance(trouble, UpstreamError):
        text = _MESSAGES.get(trouble.code, _MESSAGES["upstream_error"])
        return Failure(
            error=f"{text} ({translated(trouble.message)})",
            code=trouble.code,
            permanent=trouble.permanent,
            retry_after=trouble.retry_after,
            next_step=_(trouble.next_step),  # marked where it is written
        )
    if isinstance(trouble, BudgetExhausted):
        return _budget(trouble)
    if isinstance(trouble, TimeoutError):
        return _passing(_("Another query for the same is taking too long."), BUSY, _("Try again in a moment."))
    return _passing(
        _("The database does not answer, and without it no query can be paid within the limits."),
        DATABASE_UNAVAILABLE,
        _("Check the database; answers in the cache are still served."),
    )


def text_of(code: str) -> str:
    """What a `code` means, without the facts of the one case; the code itself where it is of nothing known here."""
    others = {
        NOT_FOUND: _("There is no such record."),
        MALFORMED: _("The number does not have a valid form."),
        BUDGET_EXHAUSTED: _("A limit of paid queries is reached."),
        BUSY: _("Another query for the same is taking too long."),
        DATABASE_UNAVAILABLE: _("The database does not answer, and without it no query can be paid within the limits."),
    }
    return str(_MESSAGES.get(code) or others.get(code, code))


def malformed(message: str | None = None) -> Failure:
    """The number or date asked for cannot exist: nothing was asked and nothing paid."""
    return Failure(
        error=message or _("The number does not have a valid form."),
        code=MALFORMED,
        permanent=True,
        retry_after=None,
        next_step=_(
            "Correct it: a RUC has 11 digits, the last of them a check digit; a DNI has 8; dates are YYYY-MM-DD."
        ),
    )


def refused(failure: Failure) -> Result:
    return {"success": False, **failure, "reason": FORMATO_INVALIDO if failure["code"] == MALFORMED else None}


def worst(failures: Mapping[str, Failure]) -> Failure:
    """One failure for many: that of the longest wait, permanent only if all are."""
    chosen = max(failures.values(), key=lambda failure: failure["retry_after"] or 0.0)
    return {**chosen, "permanent": all(failure["permanent"] for failure in failures.values())}


def _negative(reason: str) -> Failure:
    known = reason == NO_EXISTE_SUNAT
    return Failure(
        error=_("There is no such record.") if known else _("There is no such record (%s).") % reason,
        code=NOT_FOUND,
        permanent=True,
        retry_after=None,
        next_step=_(
            "Check the number or the date with whoever gave it; new registrations appear after a day, "
            "exchange rates when SUNAT publishes them."
        ),
    )


def _budget(trouble: BudgetExhausted) -> Failure:
    texts = {
        "rate": _("The limit of %d paid queries a minute is reached."),
        "hour": _("The limit of %d paid queries an hour is reached."),
        "day": _("The limit of %d paid queries a day is reached."),
        "month": _("The limit of %d paid queries a month is reached."),
        "minute": _("The cache is down, and until it is back %d paid queries a minute are the limit; it is reached."),
        "run": _("The budget of %d paid queries of this run is used up."),
    }
    return Failure(
        error=texts[trouble.period] % trouble.cap,
        code=trouble.code,
        permanent=trouble.permanent,
        retry_after=trouble.retry_after,
        next_step=_("Wait for the next period, or raise its limit (MIGO_MAX_PER_… or OUTAGE_MAX_PER_MINUTE)."),
    )


def _passing(error: str, code: str, next_step: str) -> Failure:
    return Failure(error=error, code=code, permanent=False, retry_after=None, next_step=next_step)
