"""Stored runs as they age, by a clock of the test's own."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.db.utils import OperationalError
from pytest_django.fixtures import Settings

from api_service.models import HealthSample, NodeSample
from api_service.services import health_history, retention

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 26, 12, 34, 56, tzinfo=UTC)
# The last hour that is two days old as a whole
OLD = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
DOWN = {"code": "node_down", "severity": "unhealthy", "node": "a"}


def run(at: datetime, status: str = "healthy", findings: int = 0) -> HealthSample:
    sample = HealthSample.objects.create(
        taken_at=at, status=status, backend="memcached", duration_ms=9.0, findings=[DOWN] * findings
    )
    NodeSample.objects.create(sample=sample, node="a", reachable=True)
    return sample


def every_five_minutes(start: datetime, hours: int) -> list[HealthSample]:
    return [run(start + timedelta(minutes=5 * number)) for number in range(12 * hours)]


def kept() -> list[tuple[datetime, str, bool]]:
    rows = HealthSample.objects.order_by("taken_at")
    return [(row.taken_at, row.status, row.hourly) for row in rows]


def test_the_last_two_days_keep_every_run() -> None:
    every_five_minutes(OLD + timedelta(hours=1), 2)

    assert health_history.thin(NOW) == 0
    assert [hourly for _at, _status, hourly in kept()] == [False] * 24


def test_an_older_hour_keeps_its_worst_run_with_its_nodes() -> None:
    for number, sample in enumerate(every_five_minutes(OLD - timedelta(hours=1), 2)):
        HealthSample.objects.filter(pk=sample.pk).update(status={7: "warning", 8: "unhealthy"}.get(number, "healthy"))

    assert health_history.thin(NOW) == 22
    assert kept() == [(OLD - timedelta(minutes=20), "unhealthy", True), (OLD, "healthy", True)]
    assert NodeSample.objects.count() == 2


@pytest.mark.parametrize(
    ("runs", "worst"),
    [
        ([("warning", 3), ("unhealthy", 1), ("healthy", 0)], 1),
        ([("warning", 1), ("warning", 2), ("warning", 2)], 1),
        ([("healthy", 0), ("healthy", 0)], 0),
    ],
)
def test_the_worst_is_by_verdict_then_by_how_much_was_wrong_then_the_first(
    runs: Sequence[tuple[str, int]], worst: int
) -> None:
    samples = [run(OLD + timedelta(minutes=number), *one) for number, one in enumerate(runs)]

    assert health_history.worst(samples[::-1]) == samples[worst]


def test_it_changes_nothing_when_it_is_done_again() -> None:
    every_five_minutes(OLD - timedelta(hours=5), 6)
    assert health_history.thin(NOW) == 66
    once = kept()

    assert health_history.thin(NOW) == 0
    assert health_history.thin(NOW + timedelta(minutes=20)) == 0
    assert kept() == once


def test_a_run_that_was_cut_off_goes_on_and_a_late_sample_finds_its_hour() -> None:
    every_five_minutes(OLD - timedelta(hours=2), 3)
    keep = health_history._keep_worst
    with (
        patch.object(health_history, "_keep_worst", autospec=True, side_effect=[keep(OLD), OperationalError("gone")]),
        pytest.raises(OperationalError),
    ):
        health_history.thin(NOW)
    assert health_history.thin(NOW) == 22
    run(OLD + timedelta(minutes=59), "unhealthy")

    assert health_history.thin(NOW) == 1
    assert kept()[-1] == (OLD + timedelta(minutes=59), "unhealthy", True)
    assert len(kept()) == 3


def test_more_than_a_batch_is_thinned_hour_by_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_history, "BATCH", 7)
    every_five_minutes(OLD - timedelta(hours=9), 10)

    assert health_history.thin(NOW) == 110
    assert [at for at, _status, _hourly in kept()] == [OLD - timedelta(hours=9 - number) for number in range(10)]


def test_a_clean_up_thins_and_drops_what_is_beyond_the_retention_whatever_it_was(settings: Settings) -> None:
    settings.HEALTH_RETENTION_DAYS = 90
    run(NOW - timedelta(days=90, seconds=1), "unhealthy")
    run(NOW - timedelta(days=89))
    run(NOW - timedelta(days=89, minutes=1))

    assert retention.prune(NOW)["health_samples"] == 2
    assert [at for at, _status, _hourly in kept()] == [NOW - timedelta(days=89, minutes=1)]


def test_a_page_of_the_history_has_its_newest_runs_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_history, "PAGE", 3)
    samples = every_five_minutes(OLD, 1)
    day = OLD - timedelta(hours=1), OLD + timedelta(hours=1)

    assert health_history.between(*day) == (samples[-3:], True)
    assert health_history.between(OLD, OLD + timedelta(minutes=11)) == (samples[:3], False)
    assert health_history.between(OLD + timedelta(minutes=5), OLD + timedelta(minutes=10)) == (samples[1:2], False)
