import logging
import re
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import StoredAnswer
from api_service.services import answer_rows, answers
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


def test_beyond_the_maximum_the_oldest_are_pruned_some_at_a_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_rows, "PRUNED_AT_ONCE", 4)
    settings.ANSWER_MAX_ROWS = 3
    now = timezone.now()
    rucs = valid_rucs(15)
    for age, ruc in enumerate(rucs):
        save(ruc, born_at=(now - timedelta(days=3 * age)).timestamp())

    assert answers.prune(now) == {"too_old": 4, "too_many": 8}
    assert set(StoredAnswer.objects.values_list("identifier", flat=True)) == set(rucs[:3])
    assert answers.prune(now) == {"too_old": 0, "too_many": 0}
    settings.ANSWER_MAX_ROWS = 0
    save(*rucs[3:9], born_at=now.timestamp())
    assert answers.prune(now) == {"too_old": 0, "too_many": 0}


def test_an_answer_that_no_row_can_take_does_not_keep_the_others_out(
    caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    too_long = "x" * 251
    answers.save("migo", "ruc", {REAL[0]: {"a": 1}, too_long: {"a": 1}, REAL[1]: {"text": "\x00 ñ \u2028"}}, NOW)

    assert fresh(REAL[1])[REAL[1]].data == {"text": "\x00 ñ \u2028"}
    assert set(fresh(*REAL)) == set(REAL[:2])
    if connection.vendor == "postgresql":
        assert "fits into no row" in caplog.text


def test_reading_and_writing_go_by_the_index_and_not_through_the_table() -> None:
    rucs = valid_rucs(12_000)
    save(*rucs)
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as queries:
        cursor.execute("ANALYZE")
        fresh(*rucs[:100])
        answers.forget("migo", "ruc", rucs[:100], NOW + 1)
    plans = [plan(query["sql"]) for query in queries if query["sql"].startswith(("SELECT", "DELETE"))]
    assert len(plans) == 2
    assert [line for lines in plans for line in lines if WHOLE_TABLE.search(line)] == []


WHOLE_TABLE = re.compile(r"SCAN (kept|api_service_storedanswer)(?! USING INDEX)|Seq Scan on \w*storedanswer")


def plan(statement: str) -> list[str]:
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {statement}".replace("%", "%%"))
        return [str(row[-1]) for row in cursor.fetchall()]


def test_a_database_that_is_down_is_logged_and_the_look_up_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("could not connect to server")

    with patch("django.db.backends.utils.CursorWrapper._execute_with_wrappers", down), caplog.at_level(logging.WARNING):
        assert fresh(REAL[0]) == {}
        save(REAL[0])
        answers.forget("migo", "ruc", [REAL[0]], NOW + 1)

    assert len(caplog.records) == 3


@pytest.mark.parametrize("odd", ["\ud83d", 2**64])
def test_an_answer_that_is_no_json_costs_the_others_nothing(odd: object, caplog: pytest.LogCaptureFixture) -> None:
    """Half of a surrogate pair, or a number beyond 64 bits: the provider's JSON may hold both."""
    answers.save("migo", "ruc", {REAL[0]: {"a": odd}, REAL[1]: {"a": 1}}, NOW)

    assert list(StoredAnswer.objects.values_list("identifier", "data")) == [(REAL[1], '{"a":1}')]
    assert "cannot be kept" in caplog.text
