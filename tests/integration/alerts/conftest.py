"""Samples of a cache, and channels pointed at local servers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from api_service.models import HealthSample, NodeSample
from api_service.services import redaction
from api_service.services.upstream import door
from tests.http_catcher import HttpCatcher
from tests.smtp_catcher import SmtpCatcher

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
NODES = ("10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211")
WEBHOOK_SECRET = "webhook-signing-secret-0001"
MAIL_PASSWORD = "mail-password-0001"


def down(node: str = NODES[0]) -> dict[str, Any]:
    return {"code": "node_down", "severity": "unhealthy", "node": node, "value": "connection refused", "limit": ""}


def slow(node: str = NODES[0]) -> dict[str, Any]:
    return {"code": "node_slow", "severity": "warning", "node": node, "value": 80.5, "limit": 50.0}


def make_sample(minutes: float, *findings: dict[str, Any]) -> HealthSample:
    """A sample of `minutes` after NOW; its status follows from the findings."""
    severities = {finding["severity"] for finding in findings}
    status = next((one for one in ("unhealthy", "warning") if one in severities), "healthy")
    sample = HealthSample.objects.create(
        taken_at=NOW + timedelta(minutes=minutes),
        status=status,
        backend="memcached",
        duration_ms=3.0,
        findings=list(findings),
    )
    dead = {finding["node"] for finding in findings if finding["code"] == "node_down"}
    NodeSample.objects.bulk_create(NodeSample(sample=sample, node=node, reachable=node not in dead) for node in NODES)
    return sample


def judge(minutes: float, *findings: dict[str, Any]) -> None:
    """A run that saw this, and what follows from it for the incidents. Nothing is told yet."""
    from api_service.services import incidents

    sample = make_sample(minutes, *findings)
    incidents.apply(sample, sample.taken_at)


@pytest.fixture(autouse=True)
def no_channel_of_the_machine(settings: Settings) -> None:
    settings.SLACK_WEBHOOK_URL = settings.SENTRY_DSN = settings.ALERT_WEBHOOK_URL = settings.EMAIL_HOST = ""
    settings.ALERT_EMAIL_TO = settings.ALERT_APPRISE_URLS = []
    settings.ALERT_ROUTES = settings.ALERT_ESCALATE_TO = ""
    settings.PUBLIC_URL = "https://cache.example.pe"


@pytest.fixture
def channels(settings: Settings, http_catcher: HttpCatcher) -> Iterator[HttpCatcher]:
    """Slack and Sentry, both configured, both played by the catcher."""
    settings.SLACK_WEBHOOK_URL = http_catcher.slack_webhook_url
    settings.SENTRY_DSN = http_catcher.sentry_dsn
    redaction.register_secrets([settings.SLACK_WEBHOOK_URL, settings.SENTRY_DSN])
    yield http_catcher
    door().close()


@pytest.fixture
def webhook(settings: Settings, http_catcher: HttpCatcher) -> Iterator[HttpCatcher]:
    settings.ALERT_WEBHOOK_URL = f"{http_catcher.url}/hooks/webhook-path-secret-0001"
    settings.ALERT_WEBHOOK_SECRET = WEBHOOK_SECRET
    redaction.register_secrets([settings.ALERT_WEBHOOK_URL, WEBHOOK_SECRET])
    yield http_catcher
    door().close()


@pytest.fixture
def mail(settings: Settings) -> Iterator[SmtpCatcher]:
    """Two people who get mail."""
    with SmtpCatcher() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "cache", MAIL_PASSWORD
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.DEFAULT_FROM_EMAIL = "Cache <cache@example.pe>"
        settings.ALERT_EMAIL_TO = ["ana@example.pe", "luis@example.pe"]
        redaction.register_secrets([MAIL_PASSWORD])
        yield server


@pytest.fixture
def apprise(settings: Settings, http_catcher: HttpCatcher) -> HttpCatcher:
    """Two services of Apprise: its own JSON, by HTTP."""
    settings.ALERT_APPRISE_URLS = [
        f"json://127.0.0.1:{http_catcher.port}/apprise-{name}-secret-0001?overflow=split" for name in ("one", "two")
    ]
    redaction.register_secrets(f"apprise-{name}-secret-0001" for name in ("one", "two"))
    return http_catcher
