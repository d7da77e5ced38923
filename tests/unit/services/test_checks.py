import re
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django.fixtures import Settings

from api_service.caches.urls import cache_config

ROOT = Path(__file__).resolve().parents[3]
REDIS_BROKER = "redis://127.0.0.1:1/0"


def ids(*, deploy: bool = False) -> dict[str | None, CheckMessage]:
    found = run_checks(include_deployment_checks=deploy)
    return {message.id: message for message in found if str(message.id).startswith(("api_service.", "workers."))}


@pytest.mark.parametrize(
    ("url", "broker", "wrong"),
    [
        ("locmem://", REDIS_BROKER, True),
        ("locmem://", "memory://", False),
        ("memcached://127.0.0.1:1", REDIS_BROKER, False),
        ("redis://127.0.0.1:1/0", REDIS_BROKER, False),
    ],
)
def test_a_process_local_cache_beside_separate_workers_is_an_error(
    settings: Settings, url: str, broker: str, wrong: bool
) -> None:
    settings.CACHES = {"default": cache_config(url)}
    settings.CELERY_BROKER_URL = broker

    assert ("api_service.E001" in ids()) is wrong
    if wrong:
        assert "CACHE_URL" in str(ids()["api_service.E001"].hint)


def test_a_missing_token_is_a_warning_of_deployments_only(settings: Settings) -> None:
    settings.MIGO_TOKEN = ""
    assert "api_service.W001" not in ids()
    assert "MIGO_TOKEN" in str(ids(deploy=True)["api_service.W001"].hint)
    settings.MIGO_TOKEN = "a-token"
    assert "api_service.W001" not in ids(deploy=True)


@pytest.mark.parametrize("channel", ["SLACK_WEBHOOK_URL", "SENTRY_DSN", "ALERT_WEBHOOK_URL"])
def test_nobody_being_told_of_trouble_is_a_warning_and_one_channel_is_enough(settings: Settings, channel: str) -> None:
    settings.SLACK_WEBHOOK_URL = settings.SENTRY_DSN = settings.ALERT_WEBHOOK_URL = settings.EMAIL_HOST = ""
    settings.ALERT_APPRISE_URLS = []
    assert "api_service.W002" not in ids()
    assert channel in str(ids(deploy=True)["api_service.W002"].hint)
    setattr(settings, channel, "https://example.com/1")
    assert "api_service.W002" not in ids(deploy=True)


def test_a_route_to_a_channel_that_is_not_configured_is_a_warning(settings: Settings) -> None:
    settings.SLACK_WEBHOOK_URL, settings.SENTRY_DSN = "https://example.com/1", ""
    settings.ALERT_ROUTES, settings.ALERT_ESCALATE_TO = "slack=warning, sentry=unhealthy", ""
    assert "sentry" in ids()["workers.W001"].msg
    assert "SENTRY_DSN" in str(ids()["workers.W001"].hint)
    settings.ALERT_ROUTES = "slack=warning"
    assert "workers.W001" not in ids()


@pytest.mark.parametrize(
    ("lead", "life", "limit", "wrong"),
    [
        (600, 3600, 500, False),
        (400, 3600, 500, True),
        (600, 700, 500, True),
        (420, 840, 500, False),
        (10, 60, 0, False),
    ],
)
def test_answers_that_end_between_two_warm_runs_are_a_warning(
    settings: Settings, lead: int, life: int, limit: int, wrong: bool
) -> None:
    """Runs every 300 s that spread their calls over 120: an answer must be due 420 s before its end."""
    settings.WARM_LEAD, settings.CACHE_TTL_RUC, settings.WARM_LIMIT = lead, life, limit
    settings.WARM_PERIOD, settings.WARM_SPREAD = 300, 120
    assert ("api_service.W003" in ids()) is wrong
    if wrong:
        assert "420" in str(ids()["api_service.W003"].hint)


def test_every_check_has_a_hint_and_an_entry_in_the_runbook() -> None:
    code = (ROOT / "api_service" / "checks.py").read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    known = re.findall(r'id="(api_service\.[EW]\d+)"', code)

    assert len(known) >= 3
    assert code.count("hint=") == len(known)
    assert [check for check in known if check not in runbook] == []
