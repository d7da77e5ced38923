import logging
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import StoredAnswer
from api_service.services import answers
from tests.rucs import REAL, record, valid_rucs

pytestmark = pytest.mark.django_db

NOW = 1_795_362_562.25


def save(*rucs: str, born_at: float = NOW) -> None:
    answers.save("migo", "ruc", {ruc: record(ruc) for ruc in rucs}, born_at)


def fresh(*rucs: str, life: float = 3600, now: float = NOW) -> dict[str, answers.Stored]:
    return answers.fresh("migo", "ruc", rucs, life, now)


def test_an_answer_comes_back_whole_with_the_time_it_was_made() -> None:
    save(REAL[0])

    (found,) = fresh(REAL[0], REAL[1]).values()
    assert found.data == record(REAL[0])
    assert found.born_at == pytest.approx(NOW, abs=0.001)


def test_an_answer_is_served_within_its_life_time_only() -> None:
    save(REAL[0])

    assert fresh(REAL[0], now=NOW + 3599.9)
    assert not fresh(REAL[0], now=NOW + 3600)
    assert StoredAnswer.objects.count() == 1


def test_a_newer_answer_takes_the_place_of_the_old_one() -> None:
    save(REAL[0], born_at=NOW - 5000)
    answers.save("migo", "ruc", {REAL[0]: {"ruc": "changed"}}, NOW)

    assert fresh(REAL[0])[REAL[0]].data == {"ruc": "changed"}
    assert StoredAnswer.objects.count() == 1


def test_answers_of_another_kind_or_service_are_other_answers() -> None:
    save(REAL[0])

    assert not answers.fresh("migo", "dni", [REAL[0]], 3600, NOW)
    assert not answers.fresh("nubefact", "ruc", [REAL[0]], 3600, NOW)


def test_more_identifiers_than_a_query_takes_are_all_found() -> None:
    """SQLite takes 250,000 parameters at most, often 32,766; a store that fails there would have all of them paid."""
    rucs = valid_rucs(1200)
    save(*rucs)

    assert set(fresh(*rucs, *(f"absent-{number}" for number in range(260_000)))) == set(rucs)


def test_what_turned_out_not_to_exist_is_dropped_alone() -> None:
    save(*REAL[:2])
    answers.forget("migo", "ruc", [REAL[0]], NOW + 1)

    assert set(fresh(*REAL)) == {REAL[1]}


def test_answers_beyond_their_retention_are_pruned(settings: Settings) -> None:
    settings.ANSWER_RETENTION_DAYS = 30
    now = timezone.now()
    save(REAL[0], born_at=(now - timedelta(days=30, seconds=1)).timestamp())
    save(REAL[1], born_at=(now - timedelta(days=29)).timestamp())

    assert answers.prune(now) == {"too_old": 1, "too_many": 0}
    assert [row.identifier for row in StoredAnswer.objects.all()] == [REAL[1]]


def test_a_database_that_is_down_is_logged_and_the_look_up_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("could not connect to server")

    with patch("django.db.backends.utils.CursorWrapper._execute_with_wrappers", down), caplog.at_level(logging.WARNING):
        assert fresh(REAL[0]) == {}
        save(REAL[0])
        answers.forget("migo", "ruc", [REAL[0]], NOW + 1)

    assert len(caplog.records) == 3
