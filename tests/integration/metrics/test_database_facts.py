"""Gauges of what the database knows, from real rows, and the page without a database."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from prometheus_client.metrics_core import Metric
from pytest_django import Settings

from api_service.models import (
    CircuitState,
    Delivery,
    HealthSample,
    Incident,
    NodeSample,
    Notice,
    ServiceSnapshot,
    TrackRun,
    UpstreamCircuit,
)
from api_service.services import account, budget, metrics_database, monitoring
from api_service.services.budget import Purpose
from tests.conftest import UseCacheUrl
from tests.integration.metrics.conftest import TOKEN, Samples
from tests.servers import Memcached
from tests.unit.deploy.files import text

Scrape = Callable[[], Samples]
NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)


@pytest.mark.usefixtures("counts_at_once")
def test_nodes_are_shown_as_the_last_health_run_saw_them(
    scrape: Scrape, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[1].kill()
    sample = monitoring.run_health_check()
    seen = scrape()

    up, down = own_cluster[0].address, own_cluster[1].address
    assert (seen("node_up", node=up), seen("node_up", node=down)) == (1, 0)
    assert seen("node_limit_bytes", node=up) == 64 * 1024 * 1024
    measured = NodeSample.objects.get(sample=sample, node=up).latency_ms
    assert measured is not None
    assert seen("node_latency_seconds", node=up) == pytest.approx(measured / 1000)
    assert seen("node_evictions_total", node=up) == 0
    assert seen("node_latency_seconds", node=down) is None
    assert seen("health_status", status="unhealthy") == 1
    assert seen("health_status", status="healthy") == 0
    assert seen("health_sample_timestamp_seconds") == pytest.approx(sample.taken_at.timestamp())
    assert seen("findings", code="node_down", severity="unhealthy") == 1
    assert seen("findings", code="node_slow", severity="warning") == 0


def test_a_finding_that_does_not_count_yet_is_not_counted(scrape: Scrape) -> None:
    findings = [{"code": "node_slow", "severity": "warning", "node": "a", "counts": counts} for counts in (True, False)]
    HealthSample.objects.create(taken_at=NOW, status="warning", backend="memcached", duration_ms=1, findings=findings)
    assert scrape()("findings", code="node_slow", severity="warning") == 1


def test_before_the_first_run_everything_is_never_and_not_absent(scrape: Scrape) -> None:
    seen = scrape()
    assert seen("health_sample_timestamp_seconds") == seen("inventory_timestamp_seconds") == 0
    assert seen("health_status", status="healthy") == 0
    assert seen("keys", service="migo") == seen("circuit_open", service="migo") == 0
    assert seen("database_up") == 1


def test_incidents_are_counted_while_they_are_open(scrape: Scrape) -> None:
    for node, resolved in (("a:1", None), ("b:1", None), ("c:1", NOW)):
        Incident.objects.create(
            code="node_down",
            node=node,
            severity="unhealthy",
            current="unhealthy",
            since=NOW,
            opened_at=NOW,
            resolved_at=resolved,
        )
    seen = scrape()
    assert seen("incidents_open", code="node_down", severity="unhealthy") == 2
    assert seen("incidents_open", code="node_down", severity="warning") == 0


def test_keys_are_those_of_the_last_inventory_that_was_finished(scrape: Scrape) -> None:
    for minute, state, keys in ((0, "done", 5), (10, "done", 7), (20, "running", 0)):
        run = TrackRun.objects.create(started_at=NOW + timedelta(minutes=minute), state=state)
        ServiceSnapshot.objects.create(run=run, service="nubefact", keys=keys, bytes=keys * 100)
    seen = scrape()
    assert (seen("keys", service="nubefact"), seen("key_bytes", service="nubefact")) == (7, 700)
    assert seen("keys", service="migo") == 0
    assert seen("inventory_timestamp_seconds") == (NOW + timedelta(minutes=10)).timestamp()


def test_money_is_what_the_ledger_the_account_and_the_circuit_say(scrape: Scrape, settings: Settings) -> None:
    settings.MIGO_MAX_PER_DAY, settings.ACCOUNT_DAYS_WARNING = 100, 3.0
    now = timezone.now()
    budget.enter("migo", Purpose.USER, 30, now)
    budget.enter("migo", Purpose.WARM, 12, now)
    account.note(84, now)
    UpstreamCircuit.objects.create(service="migo", state=CircuitState.HALF_OPEN)
    seen = scrape()

    day = {"service": "migo", "period": "day"}
    assert (seen("budget_spent_queries", **day), seen("budget_cap_queries", **day)) == (42, 100)
    assert seen("budget_cap_queries", service="migo", period="hour") is None
    assert seen("account_queries_left", service="migo") == 84
    assert seen("account_lasts_seconds", service="migo") == pytest.approx(2 * 86_400)
    assert seen("account_lasts_limit_seconds") == 3 * 86_400
    assert seen("circuit_open", service="migo") == 1


def test_schedules_say_when_they_ran_and_when_they_are_due(scrape: Scrape) -> None:
    each_hour = CrontabSchedule.objects.create(minute="0", timezone="America/Lima")
    ran = timezone.now() - timedelta(hours=3)
    for name, enabled in (("on", True), ("off", False)):
        PeriodicTask.objects.create(name=name, task="t", crontab=each_hour, enabled=enabled)
    PeriodicTask.objects.filter(name="on").update(last_run_at=ran, date_changed=ran)
    seen = scrape()

    assert seen("schedule_last_run_timestamp_seconds", schedule="on") == pytest.approx(ran.timestamp())
    due = seen("schedule_due_timestamp_seconds", schedule="on")
    assert due is not None
    assert ran.timestamp() < due <= ran.timestamp() + 3600
    assert seen("schedule_due_timestamp_seconds", schedule="off") is None


def deliver(channel: str, state: str, age: timedelta) -> None:
    at = timezone.now() - age
    notice = Notice.objects.create(created_at=at, severity="unhealthy")
    Delivery.objects.create(notice=notice, channel=channel, state=state, created_at=at, due_at=at)


def test_alerts_that_were_not_delivered_are_counted_by_channel(scrape: Scrape) -> None:
    for minutes in (5, 20):
        deliver("slack", "pending", timedelta(minutes=minutes))
    deliver("slack", "sent", timedelta(minutes=1))
    deliver("sentry", "failed", timedelta(hours=2))
    deliver("sentry", "failed", timedelta(days=3))
    seen = scrape()

    assert seen("deliveries", channel="slack", state="pending") == 2
    assert seen("deliveries", channel="sentry", state="failed") == 1
    assert seen("deliveries", channel="slack", state="failed") == 0
    age = timezone.now().timestamp() - (seen("delivery_oldest_timestamp_seconds", channel="slack") or 0)
    assert age == pytest.approx(20 * 60, abs=60)
    assert seen("delivery_oldest_timestamp_seconds", channel="sentry") is None


# -- trouble


def test_a_reader_that_fails_is_named_and_the_others_are_shown(
    scrape: Scrape, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(metrics_database.READERS, "money", _broken)
    with caplog.at_level(logging.ERROR):
        seen = scrape()
    assert seen("metrics_reader_failed", reader="money") == 1
    assert seen("metrics_reader_failed", reader="health") == 0
    assert seen("database_up") == 1
    assert seen("budget_cap_queries", service="migo", period="day") is None
    assert "money cannot be read" in caplog.text


def _broken(_now: datetime) -> Iterator[Metric]:
    raise KeyError("a row of another version")


def test_a_page_that_is_read_often_asks_the_database_seldom(scrape: Scrape) -> None:
    scrape()
    HealthSample.objects.create(taken_at=NOW, status="healthy", backend="memcached", duration_ms=1)
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})
    with patch.object(metrics_database, "_all", autospec=True, side_effect=AssertionError("asked again")):
        kept = Samples(client.get("/metrics").content.decode())
    assert kept("health_status", status="healthy") == 0
    assert scrape()("health_status", status="healthy") == 1


def test_without_the_database_the_page_says_so_and_has_the_rest(
    scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the connection's own error on; a real server that is frozen is in tests/acceptance/test_metrics.py."""

    def lost(_now: datetime) -> Iterator[Metric]:
        raise OperationalError("could not connect to 10.9.8.7")

    monkeypatch.setitem(metrics_database.READERS, "health", lost)
    seen = scrape()
    assert seen("database_up") == 0
    assert seen("node_up", node="a") is None
    assert seen("lookups_total", service="migo", kind="ruc", outcome="hit") is not None
    assert "10.9.8.7" not in seen.page


# -- names


@pytest.mark.parametrize(
    "file", ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml", "deploy/grafana/dashboard.json"]
)
def test_every_metric_that_a_rule_or_a_panel_names_is_on_the_page(scrape: Scrape, file: str) -> None:
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", scrape().page, re.MULTILINE))
    served = {name for name, kind in families.items() if kind != "histogram"}
    served |= {
        f"{name}_{part}"
        for name, kind in families.items()
        if kind == "histogram"
        for part in ("bucket", "count", "sum")
    }
    named = set(re.findall(r"\bcache_worker_\w+", text(file)))

    assert len(named) > 20
    assert named - served == set()
