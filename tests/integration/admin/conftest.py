"""A row of every table, people with different permissions, and the broker's queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from api_service import models
from api_service.services import warming
from tests.migo_fixtures import migo, sandbox, sandbox_server

__all__ = ["migo", "sandbox", "sandbox_server"]

QUEUES = ("health", "tracking", "warming", "default")
NODE = "10.0.4.11:11211"
DOWN = "10.0.4.12:11211"

Rows = dict[type[Any], Any]
Staff = Callable[..., Client]
Sent = Callable[[str], tuple[str, dict[str, Any]] | None]


def leased(name: str, until: datetime | None = None) -> None:
    """To a process that is at work, or was `until` then."""
    ends = until or timezone.now() + timedelta(minutes=1)
    models.RunLock.objects.update_or_create(name=name, defaults={"token": "its process", "expires_at": ends})


@pytest.fixture(scope="session", autouse=True)
def _static_folder() -> None:
    """Before the server of the session, which warns where `collectstatic` has not made it."""
    django_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(autouse=True)
def _admin_settings(settings: Any) -> None:
    # Each client of a test would read the heads of all static files: a quarter of the time of these tests
    settings.WHITENOISE_USE_FINDERS = False
    # Two hundred logins: a slow hash would be most of the time of these tests
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def the_hour_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half past: what is counted by the hour or the day is of the same one for the test, its rows and the page.

    So is what was some minutes ago. The clock goes on by a microsecond a look, so that what came later is later.
    """
    began, looks = timezone.now().replace(minute=30, second=0, microsecond=0), count()
    monkeypatch.setattr(timezone, "now", lambda: began + timedelta(microseconds=next(looks)))


@pytest.fixture
def rows(db: None) -> Rows:
    """One row of every table of the service, with its inline rows."""
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    identity = {"service": "migo", "kind": "ruc", "identifier": "20100038146"}
    finding = {"code": "node_down", "severity": "unhealthy", "node": DOWN, "value": "refused", "limit": ""}
    sample = models.HealthSample.objects.create(
        taken_at=now - timedelta(minutes=3),
        status="unhealthy",
        backend="memcached",
        duration_ms=12.5,
        checks={"connection": "❌ " + DOWN, "basic_operations": "✅ OK"},
        findings=[finding],
        around={
            "broker": {"reachable": True, "ms": 1.2, "queues": {"health": {"length": 3, "oldest_seconds": None}}},
            "workers": {"queues": ["health", "warming"]},
        },
    )
    node = models.NodeSample.objects.create(
        sample=sample,
        node=NODE,
        reachable=True,
        latency_ms=0.4,
        latency_worst_ms=1.6,
        bytes_used=2**20,
        bytes_limit=2**30,
        hits=9,
        misses=1,
        hit_ratio=0.625,
        evictions_per_minute=4.5,
        expired_unfetched_per_minute=0.2,
        connections=9,
        max_connections=1024,
        rejected_connections=7,
        details={"maxmemory_policy": "noeviction", "fragmentation": 1.07, "role": "master"},
    )
    models.NodeSample.objects.create(sample=sample, node=DOWN, reachable=False, error="connection refused")
    track = models.TrackRun.objects.create(
        started_at=now - timedelta(minutes=4),
        finished_at=now - timedelta(minutes=3),
        state="done",
        keys_seen=1234567,
        nodes={NODE: {"ok": True, "keys": 1234567, "error": ""}, DOWN: {"ok": False, "keys": 0, "error": "refused"}},
        foreign={"session": 12},
    )
    listing = models.NodeListing.objects.create(
        run=track,
        node=NODE,
        state="done",
        keys=1234567,
        foreign={"session": 12},
        listed_at=now - timedelta(minutes=4),
        finished_at=now - timedelta(minutes=3),
        services={"migo": {"keys": 1234567, "bytes": 2**30}},
    )
    models.NodeListing.objects.create(run=track, node=DOWN, state="failed", error="connection refused")
    incident = models.Incident.objects.create(
        code="node_down",
        node=DOWN,
        severity="unhealthy",
        current="unhealthy",
        value="refused",
        since=now - timedelta(minutes=5),
        opened_at=now,
    )
    notice = models.Notice.objects.create(created_at=now, severity="unhealthy")
    opened = models.Transition.objects.create(
        incident=incident,
        event="opened",
        at=now,
        facts={"code": "node_down", "node": DOWN, "severity": "unhealthy", "value": "refused", "maintenance": ""},
        telling="told",
        notice=notice,
    )
    told = {"kind": "incidents", "steps": [{**opened.facts, "event": "opened", "incident": incident.pk}]}
    habit = models.ReadHabit.objects.create(**identity, fast=1.0, fast_era=19, slow=1e34, visited_at=now.timestamp())
    warm = models.WarmRun.objects.create(
        started_at=now, state="running", limit=500, budget=200, skipped={"fresh": 12}, useful=30, wasted=10
    )
    billing = models.BillingRun.objects.create(
        uploaded_at=now - timedelta(minutes=2),
        requested_by="mirona",
        via="admin",
        file_name="clientes.csv",
        state="paused",
        lines=1250,
        distinct=1200,
        cached=300,
        stored=100,
        to_pay=800,
        budget=500,
        paid=500,
        checked=900,
        fit=850,
        unfit=50,
        reasons={"not_active": 40, "malformed": 10},
        error="the cap of 500 paid queries a run is reached",
    )
    created = [
        models.TrackedKey.objects.create(
            **{**identity, "key": "migo:ruc_20100038146", "node": NODE, "size": 1536, "state": "active"},
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(minutes=50),
        ),
        models.DailyReads.objects.create(**identity, day=now.date(), reads=7, last_read_at=now),
        models.LookupHour.objects.create(hour=hour, service="migo", kind="ruc", outcome="hit", count=90),
        models.LookupTime.objects.create(hour=hour, service="migo", way="cache", bound=250, count=90),
        models.OperationReads.objects.create(
            node=NODE,
            operation="warm_run",
            began_at=now - timedelta(seconds=2),
            over_by=now,
            hits_before=9000,
            hits_after=11_010,
            hits=2002,
            misses=40,
        ),
        models.StoredAnswer.objects.create(**identity, data='{"ruc": "20100038146", "activo": true}', born_at=now),
        models.SpendHour.objects.create(hour=hour, service="migo", purpose="user", queries=41),
        models.StaleServed.objects.create(
            since=hour, service="migo", kind="ruc", reason="upstream_timeout", answers=31, oldest_seconds=9000.0
        ),
        sample,
        node,
        track,
        listing,
        models.ServiceSnapshot.objects.create(
            run=track,
            service="migo",
            keys=10,
            bytes=2**20,
            reads=7,
            created=4,
            removed=1,
            expired=8,
            expired_unread=2,
            lives={"never": 1, "1h": 9},
        ),
        warm,
        habit,
        models.ReadHabitBin.objects.create(habit=habit, bin=19, visits=1e9),
        models.WarmedAnswer.objects.create(
            run=warm, **identity, chance=0.61, warmed_at=now, ends_at=now + timedelta(minutes=55)
        ),
        incident,
        opened,
        notice,
        models.Delivery.objects.create(
            notice=notice, channel="slack", facts=told, state="failed", created_at=now, due_at=now, attempts=9
        ),
        models.ChannelState.objects.create(name="slack", configured=True),
        models.FindingState.objects.create(
            code="node_down", node=DOWN, recent="1", severity="unhealthy", since=now, counts=True, seen_at=now
        ),
        models.MaintenanceWindow.objects.create(
            name="patch night", repeats="weekly", starts_at=now - timedelta(days=6), minutes=60, node=DOWN
        ),
        models.RefillRun.objects.create(
            started_at=now,
            finished_at=now + timedelta(seconds=9),
            state="done",
            node=NODE,
            reason="restarted",
            booted_at=now - timedelta(minutes=2),
            candidates=1200,
            written=1188,
            already_there=9,
            refused=3,
            hit_ratio_before=0.93,
            hit_ratio_during=0.5,
        ),
        models.CopyRun.objects.create(
            started_at=now,
            finished_at=now,
            state="done",
            purpose="copy",
            source=NODE,
            target="redis 10.0.4.20:6379",
            found=5000,
            copied=4990,
            already_there=3,
            skipped={"expired": 7},
            checked=200,
            nodes={NODE: {"state": "done", "found": 5000, "copied": 4990, "error": ""}},
        ),
        models.ClearRun.objects.create(
            started_at=now,
            state="done",
            via="admin",
            backend="memcached",
            service="migo",
            requested_by="mirona",
            found=40,
            removed=40,
            nodes={NODE: {"state": "done", "found": 40, "removed": 40, "kinds": {"ruc": 40}, "error": ""}},
        ),
        billing,
        models.BillingRow.objects.create(
            run=billing,
            line=2,
            given="20100038146",
            ruc="20100038146",
            state="done",
            fit=False,
            reasons=["not_active"],
            warnings=["short_address"],
            name="CONTINENTAL S.A.C.",
            taxpayer_state="BAJA DE OFICIO",
            taxpayer_condition="HABIDO",
            source="upstream",
            checked_at=now,
        ),
        models.UpstreamCircuit.objects.create(
            service="migo",
            state="open",
            open_until=now + timedelta(seconds=20),
            reason="upstream_timeout: no answer in time",
            changed_at=now,
        ),
        models.CircuitChange.objects.create(service="migo", at=now, state="open", reason="upstream_timeout"),
        models.UpstreamCalls.objects.create(since=now, service="migo", outcome="upstream_timeout", calls=7),
        models.RateWindow.objects.create(service="migo", taken={"1795366162": 41}),
        models.AccountReading.objects.create(
            service="migo", taken_at=now, queries_left=4810, spent_in_hour=41, spent=120, divergence=-2
        ),
        models.ScheduleRun.objects.create(
            name="monitor-cache-health",
            task="workers.tasks.monitor_cache_health",
            waiting_since=now - timedelta(minutes=7),
            started_at=now - timedelta(minutes=2),
            succeeded_at=now - timedelta(minutes=12),
            failed_at=now - timedelta(minutes=2),
            duration=1.25,
            error="RuntimeError: broken",
        ),
        models.ApiToken.objects.create(
            name="invoicing",
            prefix="k4dicikc",
            digest="0" * 64,
            scopes=["lookup", "cache:clear"],
            per_minute=600,
            created_by="mirona",
            created_at=now,
            expires_at=now + timedelta(days=30),
        ),
        models.RunLock.objects.create(name=warming.LOCK, token="t" * 32, expires_at=now + timedelta(minutes=3)),
    ]
    return {type(row): row for row in created}


@pytest.fixture
def staff(db: None) -> Staff:
    """A client logged in as staff with these permissions of the service."""

    def login(*codenames: str) -> Client:
        user = User.objects.create_user("mirona", is_staff=True)
        chosen = Permission.objects.filter(content_type__app_label="api_service", codename__in=codenames)
        assert chosen.count() == len(codenames)
        user.user_permissions.set(chosen)
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def sent() -> Iterator[Sent]:
    """The next message of a queue of the (memory) broker: the task's name and arguments; None when it is empty."""
    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        for name in QUEUES:
            channel.queue_declare(queue=name)
            channel.queue_purge(name)

        def take(queue: str) -> tuple[str, dict[str, Any]] | None:
            message = channel.basic_get(queue, no_ack=True)
            return (message.headers["task"], message.decode()[1]) if message else None

        yield take
