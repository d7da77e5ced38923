"""The readings of one run, side by side: one that hangs, is late or fails costs only itself."""

from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event, current_thread
from threading import enumerate as threads
from time import monotonic
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from api_service.models import HealthSample
from api_service.services import around, finding_policy, monitoring, redaction
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.cache_service import APICacheService
from api_service.services.health_rules import Finding, Severity, reading_blind
from tests.waiting import wait_until

NOW = datetime(2026, 1, 28, 12, tzinfo=UTC)
HERE = "tests.integration.services.test_around"

SECRET = "password-of-the-broker-0001"

released = Event()


@judges("one", "two")
def hangs(_moment: Moment) -> Seen:
    released.wait(60)
    return Seen({"hung": False})


@judges("three")
def fails(_moment: Moment) -> Seen:
    raise RuntimeError("nobody thought of this")


@judges("five")
def tells_a_secret(_moment: Moment) -> Seen:
    raise RuntimeError(f"cannot connect with {SECRET}")


@judges("four")
def sees(moment: Moment) -> Seen:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    found = Finding("four", Severity.WARNING, "a")
    facts = {"now": moment.now.isoformat(), "own_queue": moment.own_queue, "thread": current_thread().name}
    return Seen(facts, [found], frozenset({("four", "b")}))


@pytest.fixture(autouse=True)
def _threads(settings: Settings) -> Iterator[None]:
    settings.HEALTH_AROUND_SECONDS = 0.3
    released.clear()
    yield
    released.set()
    wait_until(lambda: not any(thread.name.startswith("around-") for thread in threads()))


def use(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(around, "TABLE", {name: f"{HERE}.{name}" for name in names})


def use_with_time_for_all_but_the_last(monkeypatch: pytest.MonkeyPatch, settings: Settings, *names: str) -> None:
    """Whoever does not hang is waited for, however slow the machine; then the minute of the run is over."""
    use(monkeypatch, *names)
    settings.HEALTH_AROUND_SECONDS = 60
    moments = iter([0.0, *(0.0 for _ in names[1:]), 60.0])
    monkeypatch.setattr(around, "monotonic", lambda: next(moments))


@pytest.mark.django_db(transaction=True)
def test_what_one_reading_sees_is_told_whatever_the_others_do(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    use_with_time_for_all_but_the_last(monkeypatch, settings, "fails", "sees", "hangs")
    seen = around.read(NOW)

    assert [(finding.code, finding.node) for finding in seen.findings] == [
        *(("reading_blind", "fails"), ("four", "a"), ("reading_blind", "hangs"))
    ]
    assert seen.unknown == {("one", "*"), ("two", "*"), ("three", "*"), ("four", "b")}
    assert seen.facts["sees"] == {"now": NOW.isoformat(), "own_queue": "", "thread": "around-sees"}
    assert seen.facts["hangs"] == {"error": "no answer within 60 s"}
    assert seen.facts["fails"] == {"error": "RuntimeError: nobody thought of this"}
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_no_secret_of_an_error_is_stored(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.HEALTH_AROUND_SECONDS = 60
    monkeypatch.setattr(redaction._Process, "redactor", redaction.Redactor([SECRET]))
    use(monkeypatch, "tells_a_secret")
    facts = around.read(NOW).facts["tells_a_secret"]

    assert facts["error"].startswith("RuntimeError: cannot connect with ")
    assert SECRET not in facts["error"]


def test_one_that_hangs_is_not_started_again_until_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    use(monkeypatch, "hangs")
    first, started = around.read(NOW), monotonic()
    settings.HEALTH_AROUND_SECONDS = 60
    second, waited = around.read(NOW), monotonic() - started
    released.set()
    wait_until(lambda: not any(thread.name == "around-hangs" for thread in threads()))
    third = around.read(NOW)

    assert first.facts == {"hangs": {"error": "no answer within 0.3 s"}}
    assert second.facts == {"hangs": {"error": around.HANGS}}
    assert second.unknown == {("one", "*"), ("two", "*")}
    assert second.findings == [reading_blind("hangs", around.HANGS)]
    # It is known at once
    assert waited < 30
    assert (third.facts, third.unknown, third.findings) == ({"hangs": {"hung": False}}, frozenset(), [])


@pytest.mark.django_db
def test_with_0_seconds_all_is_read_in_the_callers_own_thread(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.HEALTH_AROUND_SECONDS = 0
    use(monkeypatch, "sees", "fails")
    seen = around.read(NOW)

    assert seen.facts["sees"]["thread"] == current_thread().name
    assert seen.facts["fails"] == {"error": "RuntimeError: nobody thought of this"}


@pytest.mark.django_db(transaction=True)
def test_a_run_stores_what_it_read_and_its_verdict_knows_the_findings(
    monkeypatch: pytest.MonkeyPatch, cache: APICacheService, settings: Settings
) -> None:
    use_with_time_for_all_but_the_last(monkeypatch, settings, "sees", "hangs")
    monkeypatch.setitem(finding_policy.TABLE, "four", finding_policy.Policy(1, 1, 1))
    sample = monitoring.run_health_check()
    stored: dict[str, Any] = HealthSample.objects.get(pk=sample.pk).around

    found = [(finding["code"], finding["node"], finding["counts"]) for finding in sample.findings]
    # One reading that was late is no trouble yet
    assert (sample.status, found) == ("warning", [("four", "a", True), ("reading_blind", "hangs", False)])
    assert (set(stored), stored["hangs"]) == ({"sees", "hangs"}, {"error": "no answer within 60 s"})


@pytest.mark.django_db(transaction=True)
def test_a_reading_that_hangs_run_after_run_is_told_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, cache: APICacheService, settings: Settings
) -> None:
    settings.HEALTH_PERIOD = 0  # each run is a sign of its own, however soon after the last
    use(monkeypatch, "hangs")
    blind = [monitoring.run_health_check() for _ in range(3)]
    settings.HEALTH_AROUND_SECONDS = 60
    released.set()
    wait_until(lambda: not any(thread.name == "around-hangs" for thread in threads()))
    back = [monitoring.run_health_check() for _ in range(2)]

    assert [sample.status for sample in blind] == ["healthy", "healthy", "warning"]
    assert [(one["code"], one["node"], one["value"]) for one in blind[-1].findings] == [
        ("reading_blind", "hangs", around.HANGS)
    ]
    assert [(sample.status, len(sample.findings)) for sample in back] == [("warning", 1), ("healthy", 0)]


@pytest.mark.django_db(transaction=True)
def test_all_readings_of_the_table_see_a_quiet_system_as_well(cache: APICacheService, settings: Settings) -> None:
    settings.HEALTH_AROUND_SECONDS = 60
    seen = around.read(datetime.now(UTC))

    assert set(seen.facts) == set(around.TABLE)
    assert [name for name, facts in seen.facts.items() if "error" in facts] == []
    assert seen.findings == []
    # Workers are not asked in tests, and who is not asked keeps no incident open
    assert seen.unknown == frozenset()
