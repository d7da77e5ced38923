"""Samples of a cache, and both channels pointed at a local catcher."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from api_service.models import HealthSample, NodeSample
from api_service.services import redaction
from api_service.services.upstream import door
from tests.http_catcher import HttpCatcher

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
NODES = ("10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211")

MakeSample = Callable[..., HealthSample]


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


@pytest.fixture(autouse=True)
def no_channel_of_the_machine(settings: Settings) -> None:
    settings.SLACK_WEBHOOK_URL = settings.SENTRY_DSN = ""
    settings.PUBLIC_URL = "https://cache.example.pe"


@pytest.fixture
def channels(settings: Settings, http_catcher: HttpCatcher) -> Iterator[HttpCatcher]:
    """Slack and Sentry, both configured, both played by the catcher."""
    settings.SLACK_WEBHOOK_URL = http_catcher.slack_webhook_url
    settings.SENTRY_DSN = http_catcher.sentry_dsn
    redaction.register_secrets([settings.SLACK_WEBHOOK_URL, settings.SENTRY_DSN])
    yield http_catcher
    door().close()
