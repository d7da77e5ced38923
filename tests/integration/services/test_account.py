"""What the account holds, asked of the sandbox, beside what the ledger says."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import AccountReading, RunLock
from api_service.services import account, monitoring, retention
from api_service.services.budget import Caps, Purpose, reserve
from api_service.services.cache_service import APICacheService
from api_service.services.providers import provider
from tests.rucs import REAL
from tests.sandbox_fixture import RunningSandbox
from workers.tasks import read_account

pytestmark = pytest.mark.django_db
NO_CAPS = Caps(0, 0, 0.5)


def pay(queries: int) -> None:
    reserve("migo", Purpose.USER, queries, NO_CAPS, timezone.now())


def an_hour_later() -> None:
    """As far as the limit of one reading an hour goes."""
    RunLock.objects.all().delete()


def test_a_reading_is_kept_and_the_account_asked_once_an_hour_whoever_asks(vendor: RunningSandbox) -> None:
    vendor.switch(consultas=5000)
    said = [read_account() for _ in range(3)]

    assert said[0] == {"state": "done", "queries_left": 5000, "divergence": None}
    assert [one["state"] for one in said[1:]] == ["too_soon"] * 2
    assert [entry["path"] for entry in vendor.log] == ["/api/v1/account"]
    reading = AccountReading.objects.get()
    assert (reading.queries_left, reading.spent, reading.divergence) == (5000, None, None)


def test_what_the_ledger_does_not_know_of_shows_as_divergence(vendor: RunningSandbox) -> None:
    vendor.switch(consultas=5000)
    pay(7)
    read_account()
    pay(10)
    # Somebody else's three queries with the same token
    vendor.switch(consultas=4987)
    an_hour_later()
    more = read_account()
    pay(5)
    # Five attempts that the vendor did not bill
    an_hour_later()
    fewer = read_account()

    assert (more["divergence"], fewer["divergence"]) == (3, -5)
    assert list(AccountReading.objects.order_by("pk").values_list("spent", flat=True)) == [None, 10, 5]


def test_between_readings_the_ledger_is_taken_off(vendor: RunningSandbox) -> None:
    vendor.switch(consultas=1000)
    pay(50)
    read_account()
    pay(100)
    now = timezone.now()
    outlook = account.outlook("migo", now)

    assert outlook is not None
    assert (outlook.left, outlook.pace) == (900, 150.0)
    assert account.outlook("migo", now + timedelta(days=8)) is None


def test_the_health_check_warns_when_the_account_will_not_last(
    vendor: RunningSandbox, cache: APICacheService, settings: Settings
) -> None:
    settings.ACCOUNT_DAYS_WARNING = 3.0
    vendor.switch(consultas=250)
    read_account()
    before = monitoring.run_health_check()
    pay(70)
    after = monitoring.run_health_check()

    assert before.findings == []
    assert [(f["code"], f["node"], f["value"]) for f in after.findings] == [("account_low", "migo", "180 (70)")]
    # The health check itself asks for nothing
    assert len(vendor.log) == 1


@pytest.mark.parametrize(("token", "version"), [("", "v1"), ("token", "v2")])
def test_without_a_token_or_in_version_two_nothing_is_asked(
    token: str, version: str, vendor: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_TOKEN, settings.MIGO_API_VERSION = token, version

    assert read_account()["state"] == "nothing_to_read"
    assert vendor.log == []


@pytest.mark.parametrize(("fault", "code"), [("500", "upstream_server_error"), ("401", "upstream_auth_refused")])
def test_an_account_that_cannot_be_read_is_told_and_left_for_an_hour(
    fault: str, code: str, vendor: RunningSandbox
) -> None:
    vendor.switch(script=[fault])
    failed, again = read_account(), read_account()

    assert (failed["state"], failed["code"], again["state"]) == ("failed", code, "too_soon")
    assert (AccountReading.objects.count(), len(vendor.log)) == (0, 1)


def test_a_silent_account_is_left_in_time_and_opens_no_circuit(
    vendor: RunningSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIGO_CIRCUIT_FAILURES = 1
    monkeypatch.setattr(account, "SECONDS", 0.3)
    vendor.switch(script=["timeout"])

    assert read_account()["code"] == "upstream_timeout"
    assert type(provider("migo").fetch("ruc", REAL[0])).__name__ == "Found"


def test_old_readings_go(vendor: RunningSandbox) -> None:
    now = timezone.now()
    for days in (1, retention.RUNS_KEPT_DAYS + 1):
        AccountReading.objects.create(
            service="migo", taken_at=now - timedelta(days=days), queries_left=1, spent_in_hour=0
        )

    assert retention.prune(now)["runs"] == 1
    assert AccountReading.objects.count() == 1
