"""When an old answer may be shown, and what a failure is told as in another process."""

import pytest
from django.db import OperationalError

from api_service.services.budget import BudgetExhausted
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotOffered,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from api_service.services.failures import as_note, from_note
from api_service.services.freshness import Wish, code_of, shown_on, shown_while_refreshing
from api_service.services.outcomes import MISS, CacheRead, Outcome

NOW = 1_795_362_562.0
OLD = CacheRead(Outcome.STALE, {"ruc": "20100038146"}, NOW - 3700, NOW - 100)


@pytest.mark.parametrize(("allowed", "shown"), [(0, False), (99, False), (100, True), (900, True)])
def test_an_answer_is_shown_as_long_past_its_end_as_is_allowed(allowed: float, shown: bool) -> None:
    assert shown_while_refreshing(OLD, NOW, allowed) is shown


@pytest.mark.parametrize("read", [MISS, CacheRead(Outcome.HIT, {}, NOW, NOW + 60), CacheRead(Outcome.OUTAGE)])
def test_only_what_is_past_its_end_is_shown_as_old(read: CacheRead) -> None:
    assert not shown_while_refreshing(read, NOW, 1e9)


@pytest.mark.parametrize(
    ("wish", "refreshing", "failing"),
    [
        (Wish(), 900, 86_400),
        (Wish(max_stale=0), 0, 0),
        (Wish(max_stale=60), 60, 60),
        (Wish(max_stale=1e6), 900, 1e6),
        (Wish(refresh=True), 0, 0),
        (Wish(refresh=True, max_stale=60), 0, 60),
    ],
)
def test_a_caller_narrows_what_the_settings_allow(wish: Wish, refreshing: float, failing: float) -> None:
    assert (wish.while_refreshing(900), wish.on_failure(86_400)) == (refreshing, failing)


def test_a_wrong_question_is_not_made_right_by_an_old_answer() -> None:
    down = [UpstreamTimeout("x"), UpstreamAuthRefused("x"), BudgetExhausted("hour", 5, 60), TimeoutError()]
    wrong = [UpstreamMalformed("x"), UpstreamNotOffered("x")]
    assert all(shown_on(failure, 60) for failure in down)
    assert not any(shown_on(failure, 60) for failure in wrong)
    assert not shown_on(UpstreamTimeout("x"), 0)


def test_every_failure_has_a_code() -> None:
    failures = [UpstreamTimeout("x"), BudgetExhausted("day", 1, 1), TimeoutError(), OperationalError()]
    expected = ["upstream_timeout", "budget_exhausted", "busy", "database_unavailable"]
    assert [code_of(failure) for failure in failures] == expected


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamRateLimited("slower", status=429, retry_after=7.0),
        UpstreamError("odd", permanent=True),
        UpstreamAuthRefused("no token"),
    ],
)
def test_a_failure_comes_back_from_its_note_as_it_was(failure: UpstreamError) -> None:
    note = as_note(failure)
    assert note is not None
    again = from_note(note)
    assert type(again) is type(failure)
    assert isinstance(again, UpstreamError)
    assert again.facts() == failure.facts()


def test_a_budget_comes_back_and_what_is_this_process_alone_is_not_told() -> None:
    note = as_note(BudgetExhausted("hour", 5, 60.0))
    assert note is not None
    again = from_note(note)
    assert isinstance(again, BudgetExhausted)
    assert (again.period, again.cap, again.retry_after) == ("hour", 5, 60.0)
    assert as_note(OperationalError()) is None
    assert type(from_note({**note, "code": "of a later version"})) is UpstreamError
