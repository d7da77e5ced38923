"""The tasks are started from the admin: the right message in the right queue, only by who may, and never a 500."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from api_service.services.task_sending import EXPIRES_SECONDS
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Sent, Staff
from tests.servers import Memcached, Redis
from workers import tasks

HEALTH = "/admin/api_service/healthsample/"
TRACK = "/admin/api_service/trackrun/"
WARM = "/admin/api_service/warmrun/"
REFILL = "/admin/api_service/refillrun/"
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
    for name in ("monitor_cache_health", "track_keys", "warm_frequent_rucs", "refill_node"):
        assert getattr(tasks, name).name == f"workers.tasks.{name}"


def test_a_run_that_no_worker_takes_is_dropped_by_and_by(admin_client: Client, sent: Sent) -> None:
    from celery import current_app

    admin_client.post(f"{TRACK}run/")
    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        message = channel.basic_get("tracking", no_ack=True)
    assert message.properties["expiration"] == str(EXPIRES_SECONDS * 1000)
    assert message.headers["expires"]


@pytest.mark.parametrize(
    ("url", "queue"), [(HEALTH, "health"), (TRACK, "tracking"), (WARM, "warming"), (REFILL, "warming")]
)
def test_who_may_only_look_starts_nothing(url: str, queue: str, staff: Staff, sent: Sent) -> None:
    client = staff("view_healthsample", "view_trackrun", "view_warmrun", "view_refillrun")
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


def test_a_node_of_the_cache_is_chosen_and_refilled(
    admin_client: Client, sent: Sent, use_cache_url: UseCacheUrl, own_memcached: Memcached
) -> None:
    other = "127.0.0.1:1"
    use_cache_url(f"memcached://{own_memcached.address},{other}")
    form = admin_client.get(f"{REFILL}run/", headers=EN).text
    assert f'<option value="{own_memcached.address}">' in form
    assert f'<option value="{other}">' in form
    page = admin_client.post(f"{REFILL}run/", {"node": own_memcached.address}, follow=True, headers=EN)
    assert page.redirect_chain == [(REFILL, 302)]
    assert "is in its queue" in page.text
    wanted = {"node": own_memcached.address, "requested_by": "admin"}
    assert sent("warming") == ("workers.tasks.refill_node", wanted)
    refill_node: Any = tasks.refill_node
    refill_node(**wanted)
    assert models.RefillRun.objects.get().requested_by == "admin"


def test_a_node_of_another_cache_is_refused(admin_client: Client, sent: Sent) -> None:
    page = admin_client.post(f"{REFILL}run/", {"node": "10.0.0.1:11211"}, headers=EN)
    assert "Select a valid choice" in page.text
    assert sent("warming") is None


def test_memory_of_a_process_is_not_sent_to_be_refilled(
    admin_client: Client, sent: Sent, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("locmem://")
    page = admin_client.post(f"{REFILL}run/", {"node": "locmem"}, headers=EN)
    assert "local memory has no node to refill" in page.text
    assert sent("warming") is None


BEAT = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def periodic_task(db: None) -> PeriodicTask:
    when = CrontabSchedule.objects.create(minute="2-59/5")
    return PeriodicTask.objects.create(
        name="warm-more",
        task="workers.tasks.warm_frequent_rucs",
        crontab=when,
        queue="warming",
        kwargs='{"limit": 7}',
        expire_seconds=240,
    )


def run_from_beat(client: Client, row: PeriodicTask) -> str:
    data = {"action": "run_tasks", "_selected_action": [row.pk]}
    return client.post(BEAT, data, follow=True, headers=EN).text


def test_the_table_of_periodic_tasks_starts_them_too(
    admin_client: Client, periodic_task: PeriodicTask, sent: Sent
) -> None:
    assert "1 task is in its queue." in run_from_beat(admin_client, periodic_task)
    assert sent("warming") == ("workers.tasks.warm_frequent_rucs", {"limit": 7})
    assert models.WarmRun.objects.count() == 0


def test_who_may_only_look_starts_no_periodic_task(
    staff: Staff, periodic_task: PeriodicTask, sent: Sent, admin_user: User
) -> None:
    client = staff()
    user = User.objects.get(username="mirona")
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    assert 'value="run_tasks"' not in client.get(BEAT).text
    run_from_beat(client, periodic_task)
    assert sent("warming") is None


def test_the_table_of_periodic_tasks_survives_a_broker_that_is_down(
    admin_client: Client, periodic_task: PeriodicTask, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    assert "The task broker does not answer: try again." in run_from_beat(admin_client, periodic_task)


def test_every_page_of_the_periodic_tasks_answers(admin_client: Client, periodic_task: PeriodicTask) -> None:
    for url in (BEAT, f"{BEAT}{periodic_task.pk}/change/", f"{BEAT}add/"):
        assert admin_client.get(url).status_code == 200
