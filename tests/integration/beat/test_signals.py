"""What follows a run through Celery's signals: whoever fails here fails alone."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from celery import shared_task
from django.db import connection
from django.db.utils import OperationalError
from django.forms import model_to_dict

from api_service.models import ScheduleRun
from api_service.services import schedule_runs
from tests.brokers import celery_broker
from workers.watch import Run, rows, signals

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEADERS = {signals.HEADER: "mine"}


@shared_task(name="tests.watched")
def watched(*, fails: bool = False) -> str:
    if fails:
        raise ValueError("token=very-secret")
    return "done"


class Seen:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bool]] = []

    def wanted(self) -> bool:
        return True

    def started(self, run: Run) -> None:
        self.told.append(("started", run.schedule, run.seconds is not None))

    def succeeded(self, run: Run) -> None:
        self.told.append(("succeeded", run.schedule, run.seconds is not None))

    def failed(self, run: Run, error: str) -> None:
        self.told.append((f"failed {error}", run.schedule, run.seconds is not None))

    def close(self) -> None:
        self.told.append(("closed", "", False))


class Broken(Seen):
    def started(self, run: Run) -> None:
        raise RuntimeError("an observer in trouble")

    succeeded = started


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Behind one that is broken."""
    observer = Seen()
    monkeypatch.setattr(signals, "watching", lambda: [Broken(), observer])
    return observer


def test_a_run_of_a_schedule_is_followed_from_its_start_to_its_end(seen: Seen) -> None:
    assert watched.apply(headers=HEADERS).get() == "done"
    watched.apply(kwargs={"fails": True}, headers=HEADERS)
    assert seen.told == [
        ("started", "mine", True),
        ("succeeded", "mine", True),
        ("started", "mine", True),
        ("failed ValueError: token=very-secret", "mine", True),
    ]


def test_a_run_by_hand_is_not(seen: Seen) -> None:
    assert watched.apply().get() == "done"
    assert seen.told == []


def test_an_observer_in_trouble_is_logged_and_costs_the_task_nothing(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert watched.apply(headers=HEADERS).get() == "done"
    assert caplog.text.count("mine: Broken has failed") == 2
    assert len(seen.told) == 2


@pytest.mark.django_db
def test_the_first_sent_since_the_last_success_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> dict[str, Any]:
        fields = ("waiting_since", "succeeded_at", "failed_at", "error")
        return model_to_dict(ScheduleRun.objects.get(name="mine"), fields)

    at = [NOON + timedelta(minutes=number) for number in range(6)]
    schedule_runs.sent("mine", "tests.watched", at[0])
    schedule_runs.sent("mine", "tests.watched", at[1])
    schedule_runs.failed("mine", "tests.watched", at[2], 0.5, "ValueError: no")
    assert row() == {"waiting_since": at[0], "succeeded_at": None, "failed_at": at[2], "error": "ValueError: no"}
    schedule_runs.succeeded("mine", "tests.watched", at[3], 0.5)
    assert row() == {"waiting_since": None, "succeeded_at": at[3], "failed_at": at[2], "error": ""}
    schedule_runs.sent("mine", "tests.watched", at[4])
    assert row()["waiting_since"] == at[4]


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hears_of_a_schedule_first_makes_its_row() -> None:
    rows.Rows().started(Run("new", "tests.watched", "1"))
    rows.Rows().failed(Run("new", "tests.watched", "1", 2.0), "x" * 1000)
    # Its thread has a connection of its own
    rows.Rows().close()
    row = ScheduleRun.objects.get(name="new")
    assert row.started_at is not None
    assert (row.duration, len(row.error)) == (2.0, 300)


@pytest.mark.django_db(transaction=True)
def test_a_database_in_trouble_does_not_keep_beat_from_sending(caplog: pytest.LogCaptureFixture) -> None:
    lost = OperationalError("could not connect")
    with celery_broker("memory://"):
        with patch.object(connection, "cursor", autospec=True, side_effect=lost):
            watched.apply_async(headers=HEADERS, queue="nobodys")
        assert "mine: not written down as sent" in caplog.text
        watched.apply_async(headers=HEADERS, queue="nobodys")
    assert ScheduleRun.objects.get(name="mine").waiting_since is not None
