"""The tasks are started from the admin: the right message in the right queue, only by who may, and never a 500."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from api_service.admin.sending import EXPIRES_SECONDS
from tests.integration.admin.conftest import Sent, Staff
from tests.servers import Redis
from workers import tasks

HEALTH = "/admin/api_service/healthsample/"
TRACK = "/admin/api_service/trackrun/"
WARM = "/admin/api_service/warmrun/"
EN = {"accept-language": "en"}
BUTTONS = [
    (HEALTH, "health", "workers.tasks.monitor_cache_health"),
    (TRACK, "tracking", "workers.tasks.track_keys"),
]


@pytest.mark.parametrize(("url", "queue", "task"), BUTTONS)
def test_the_button_puts_the_task_into_its_own_queue(
    url: str, queue: str, task: str, admin_client: Client, sent: Sent
) -> None:
    assert f'action="{url}run/"' in admin_client.get(url).text
    page = admin_client.post(f"{url}run/", follow=True, headers=EN)
    assert page.redirect_chain == [(url, 302)]
    assert "is in its queue" in page.text
    assert sent(queue) == (task, {})
    assert sent(queue) is None


def test_every_task_that_a_button_sends_exists() -> None:
    for name in ("monitor_cache_health", "track_keys", "warm_frequent_rucs"):
        assert getattr(tasks, name).name == f"workers.tasks.{name}"


def test_a_run_that_no_worker_takes_is_dropped_by_and_by(admin_client: Client, sent: Sent) -> None:
    from celery import current_app

    admin_client.post(f"{TRACK}run/")
    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        message = channel.basic_get("tracking", no_ack=True)
    assert message.properties["expiration"] == str(EXPIRES_SECONDS * 1000)
    assert message.headers["expires"]


@pytest.mark.parametrize(("url", "queue"), [(HEALTH, "health"), (TRACK, "tracking"), (WARM, "warming")])
def test_who_may_only_look_starts_nothing(url: str, queue: str, staff: Staff, sent: Sent) -> None:
    client = staff("view_healthsample", "view_trackrun", "view_warmrun")
    assert f"{url}run/" not in client.get(url).text
    assert client.post(f"{url}run/", {"limit": "1"}).status_code == 403
    assert client.get(f"{url}run/").status_code == 403
    assert sent(queue) is None


def test_the_add_permission_of_the_table_is_enough(staff: Staff, sent: Sent) -> None:
    client = staff("view_trackrun", "add_trackrun")
    assert client.post(f"{TRACK}run/").status_code == 302
    assert sent("tracking") == ("workers.tasks.track_keys", {})
    assert client.post(f"{HEALTH}run/").status_code == 403


def test_nobody_starts_a_task_by_a_link_nor_from_another_site(admin_user: Any, sent: Sent) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.get(f"{HEALTH}run/").status_code == 405
    assert client.post(f"{HEALTH}run/").status_code == 403
    assert Client().post(f"{HEALTH}run/").headers["location"].startswith("/admin/login/")
    assert sent("health") is None


@pytest.mark.parametrize(
    ("said", "kwargs"),
    [
        ({}, {"dry_run": False}),
        ({"limit": "50", "budget": "0", "dry_run": "on"}, {"limit": 50, "budget": 0, "dry_run": True}),
        (
            {"rucs": "20100038146\r\n 20131312955 \n\n20100038146"},
            {"rucs": ["20100038146", "20131312955"], "dry_run": False},
        ),
    ],
)
def test_the_warm_form_sends_what_was_said_and_nothing_else(
    said: dict[str, str], kwargs: dict[str, Any], admin_client: Client, sent: Sent
) -> None:
    assert "Warm now" in admin_client.get(f"{WARM}run/", headers=EN).text
    answer = admin_client.post(f"{WARM}run/", said)
    assert answer.headers["location"] == WARM
    assert sent("warming") == ("workers.tasks.warm_frequent_rucs", kwargs)


@pytest.mark.parametrize(
    ("said", "field", "error"),
    [
        ({"rucs": "20100038147"}, "rucs", "Not a valid RUC (11 digits with check digit): 20100038147"),
        (
            {"rucs": "1\n2\n3\n4\n5\n6"},
            "rucs",
            "6 are not valid RUCs (11 digits with check digit): 1, 2, 3, 4, 5 and others",
        ),
        ({"limit": "-1"}, "limit", "Ensure this value is greater than or equal to 0."),
        ({"budget": "much"}, "budget", "Enter a whole number."),
    ],
)
def test_a_wrong_field_is_told_at_the_field_and_nothing_starts(
    said: dict[str, str], field: str, error: str, admin_client: Client, sent: Sent
) -> None:
    page = admin_client.post(f"{WARM}run/", said, headers=EN)
    assert page.status_code == 200
    assert page.context["form"].errors == {field: [error]}
    assert error in page.text
    assert sent("warming") is None


def test_a_broker_that_is_down_is_an_error_message(
    admin_client: Client, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    page = admin_client.post(f"{HEALTH}run/", follow=True, headers=EN)
    assert page.status_code == 200
    assert "Nothing was started: the task broker does not answer." in page.text


def test_a_frozen_broker_costs_a_few_seconds_at_most(
    admin_client: Client, own_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{own_redis.port}/0")
    own_redis.freeze()
    started = monotonic()
    page = admin_client.post(f"{TRACK}run/", follow=True, headers=EN)
    assert monotonic() - started < 8
    assert "Nothing was started" in page.text


def test_redis_takes_the_message_too(admin_client: Client, own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{own_redis.port}/0")
    page = admin_client.post(f"{TRACK}run/", follow=True, headers=EN)
    assert "is in its queue" in page.text
    with redis.Redis(port=own_redis.port) as client:
        assert client.llen("tracking") == 1


def test_the_beat_admin_starts_our_tasks_too(admin_client: Client, sent: Sent) -> None:
    when = CrontabSchedule.objects.create(minute="*/5")
    row = PeriodicTask.objects.create(
        name="track-keys", task="workers.tasks.track_keys", crontab=when, queue="tracking", expire_seconds=480
    )
    url = reverse("admin:django_celery_beat_periodictask_changelist")
    page = admin_client.post(url, {"action": "run_tasks", "_selected_action": [row.pk]}, follow=True, headers=EN)
    assert "1 task was successfully run" in page.text
    assert sent("tracking") == ("workers.tasks.track_keys", {})
    assert models.TrackRun.objects.count() == 0
