"""The dicts that callers get: every failure has all its fields."""

import pytest
from django.db import OperationalError
from django.utils import translation

from api_service.services import results
from api_service.services.budget import BudgetExhausted
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamError,
    UpstreamNotAsked,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from api_service.services.failures import Trouble
from api_service.services.outcomes import Lookup, Outcome, Source

PERIODS = ("rate", "minute", "hour", "day", "month", "run")


def all_subclasses(root: type[UpstreamError]) -> set[type[UpstreamError]]:
    deeper = {kind for direct in root.__subclasses__() for kind in all_subclasses(direct)}
    return {kind for kind in {root} | deeper if kind.__module__ == UpstreamError.__module__}


@pytest.mark.parametrize("kind", sorted(all_subclasses(UpstreamError), key=str))
def test_every_failure_of_apimigo_has_words_of_its_own(kind: type[UpstreamError]) -> None:
    with translation.override("en"):
        failed = results.of_trouble(kind("details"))
        generic = results.of_trouble(UpstreamError("details"))
    assert failed["code"] == kind.code
    assert "details" in failed["error"]
    assert kind is UpstreamError or failed["error"] != generic["error"]


@pytest.mark.parametrize(
    "trouble",
    [
        UpstreamTimeout("x"),
        *(BudgetExhausted(period, 5, 60.0) for period in PERIODS),
        OperationalError("secret host"),
        TimeoutError(),
    ],
)
def test_every_failure_says_what_to_do_next_and_nothing_of_the_thing_asked_for(trouble: Trouble) -> None:
    failed = results.of_trouble(trouble)
    assert {"success", "error", "code", "permanent", "retry_after", "next_step", "reason"} == failed.keys()
    assert (failed["success"], failed["reason"], failed["permanent"]) == (False, None, False)
    assert failed["error"]
    assert failed["next_step"]
    assert "secret host" not in failed["error"]


def test_what_was_not_asked_because_of_the_cap_is_a_failure_of_the_cap() -> None:
    error = UpstreamNotAsked("the caller's limit forbade the call")
    error.__cause__ = BudgetExhausted("hour", 5, 60.0)
    failed = results.of_trouble(error)
    assert (failed["code"], failed["retry_after"]) == ("budget_exhausted", 60.0)


def test_the_failure_of_many_is_the_one_with_the_longest_wait_and_permanent_only_if_all_are() -> None:
    failures = {
        "a": results.failure_of(UpstreamAuthRefused("x")),
        "b": results.failure_of(UpstreamRateLimited("x", retry_after=30.0)),
    }
    worst = results.worst(failures)
    assert (worst["code"], worst["retry_after"], worst["permanent"]) == ("upstream_rate_limited", 30.0, False)


def test_a_number_that_cannot_be_differs_from_one_that_has_no_record() -> None:
    impossible = results.of_lookup(Lookup(Outcome.NEGATIVE, Source.VALIDATION, reason="FORMATO_INVALIDO"))
    unknown = results.of_lookup(Lookup(Outcome.NEGATIVE, Source.CACHE, reason="FORMATO_INVALIDO", age=3.25))
    assert (impossible["code"], unknown["code"]) == ("malformed", "not_found")
    assert unknown["cache"] == {
        "outcome": "negative",
        "source": "cache",
        "age": 3.25,
        "stale": False,
        "stale_because": None,
    }


def test_the_record_stays_whole_and_success_is_ours() -> None:
    found = results.of_lookup(Lookup(Outcome.HIT, Source.CACHE, data={"success": "1", "nuevo": [1]}))
    assert (found["success"], found["nuevo"]) == (True, [1])
