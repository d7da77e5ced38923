"""The tasks are started from the admin: the right message in the right queue, only by who may, and never a 500."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic, time
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from api_service.services import track_runs, warming
from api_service.services.task_sending import EXPIRES_SECONDS
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Sent, Staff, leased
from tests.servers import Memcached, Redis
from workers import tasks

HEALTH = "/admin/api_service/healthsample/"
TRACK = "/admin/api_service/trackrun/"
WARM = "/admin/api_service/warmrun/"
REFILL = "/admin/api_service/refillrun/"
EN = {"accept-language": "en"}
WAIT = '<div class="cw-next" data-live="2">'
BUTTONS = [
    (HEALTH, "health", "workers.tasks.monitor_cache_health"),
    (TRACK, "tracking", "workers.tasks.track_keys"),
]


def logged() -> tuple[str, str, str] | None:
    """Who did what with which arguments, last."""
    row = LogEntry.objects.select_related("user").order_by("-pk").first()
    return (row.user.get_username(), row.object_repr, row.get_change_message()) if row else None


@pytest.mark.parametrize(("url", "queue", "task"), BUTTONS)
def test_the_button_puts_the_task_into_its_own_queue(
    url: str, queue: str, task: str, admin_client: Client, sent: Sent
) -> None:
    assert f'action="{url}run/"' in admin_client.get(url).text
    page = admin_client.post(f"{url}run/", follow=True, headers=EN)
    assert page.redirect_chain[0][0].startswith(f"{url}run/wait/?after=0&at=")
    assert "is in its queue" in page.text
    assert sent(queue) == (task, {})
    assert sent(queue) is None
    assert logged() == ("admin", task, "")


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
    assert answer.headers["location"].startswith(f"{WARM}run/wait/?after=0&at=")
    wanted = {**kwargs, "requested_by": "admin"}
    assert sent("warming") == ("workers.tasks.warm_frequent_rucs", wanted)
    assert logged() == ("admin", "workers.tasks.warm_frequent_rucs", " ".join(f"{n}={v}" for n, v in kwargs.items()))


def test_the_warm_form_says_what_it_may_cost_and_what_was_paid(admin_client: Client, settings: Any) -> None:
    settings.MIGO_MAX_PER_DAY, settings.WARM_SHARE = 1000, 0.5
    hour = timezone.localtime(timezone.now()).replace(minute=0, second=0, microsecond=0)
    models.SpendHour.objects.create(hour=hour, service="migo", purpose="user", queries=41)
    form = admin_client.get(f"{WARM}run/", headers=EN).text
    assert "It pays for as many queries as the budget says at most" in form
    assert "Warming may use 50.0 % of each limit." in form
    assert "Paid today: 41 of 1,000." in form


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
    assert page.redirect_chain == [(HEALTH, 302)]
    assert "Nothing was started: the task broker does not answer." in page.text
    assert logged() is None


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
    assert "is in its queue" in page.text
    assert f"node={quote(own_memcached.address, safe='')}" in page.redirect_chain[0][0]
    wanted = {"node": own_memcached.address, "requested_by": "admin"}
    assert sent("warming") == ("workers.tasks.refill_node", wanted)
    refill_node: Any = tasks.refill_node
    refill_node(**wanted)
    assert models.RefillRun.objects.get().requested_by == "admin"
    landed = admin_client.get(page.redirect_chain[0][0])
    assert landed.headers["location"] == f"{REFILL}{models.RefillRun.objects.get().pk}/change/"


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


# -- until the row is there


def wait_of(url: str, after: int = 0, waited: int = 1) -> str:
    return f"{url}run/wait/?after={after}&at={int(time()) - waited}"


def test_who_starts_a_check_is_led_on_to_its_sample(
    admin_client: Client, sent: Sent, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("locmem://")
    before = models.HealthSample.objects.create(
        taken_at=timezone.now(), status="healthy", backend="memcached", duration_ms=1.0
    )
    page = admin_client.post(f"{HEALTH}run/", follow=True, headers=EN)
    url = page.redirect_chain[0][0]
    assert f"after={before.pk}&" in url
    assert WAIT in page.text
    check: Any = tasks.monitor_cache_health
    check()
    sample = models.HealthSample.objects.exclude(pk=before.pk).get()
    assert admin_client.get(url).headers["location"] == f"{HEALTH}{sample.pk}/change/"


def test_a_run_of_the_schedule_or_of_somebody_else_is_not_taken_for_ones_own(admin_client: Client) -> None:
    warm: dict[str, Any] = {"started_at": timezone.now(), "state": "done", "limit": 1, "budget": 1}
    for who in ("", "mirona"):
        models.WarmRun.objects.create(requested_by=who, **warm)
    assert admin_client.get(wait_of(WARM), headers=EN).status_code == 200
    own = models.WarmRun.objects.create(requested_by="admin", **warm)
    assert admin_client.get(wait_of(WARM)).headers["location"] == f"{WARM}{own.pk}/change/"


def test_who_waits_is_told_of_another_run_that_is_under_way(admin_client: Client) -> None:
    other = models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    leased(track_runs.LOCK)
    page = admin_client.get(wait_of(TRACK, after=other.pk), headers=EN).text
    assert "Another one is under way" in page
    assert f'href="{TRACK}{other.pk}/change/"' in page


def test_who_waits_for_long_is_told_to_look_for_the_workers_and_at_last_that_it_was_dropped(
    admin_client: Client,
) -> None:
    assert "Do the workers run?" not in admin_client.get(wait_of(WARM), headers=EN).text
    late = admin_client.get(wait_of(WARM, waited=40), headers=EN).text
    assert "No worker has taken it yet." in late
    assert WAIT in late
    dropped = admin_client.get(wait_of(WARM, waited=EXPIRES_SECONDS + 60), headers=EN).text
    assert "Nothing has begun in ten minutes: no worker took it, or another run was in the way." in dropped
    assert WAIT not in dropped


def test_who_waits_is_told_that_the_run_which_was_in_the_way_has_ended(admin_client: Client) -> None:
    now = timezone.now()
    other = models.TrackRun.objects.create(
        started_at=now - timedelta(seconds=90), finished_at=now - timedelta(seconds=5), state="done"
    )
    page = admin_client.get(wait_of(TRACK, after=other.pk, waited=40), headers=EN).text
    assert "Another one was under way and has ended." in page
    assert "start it again" in page
    assert f'href="{TRACK}{other.pk}/change/"' in page
    assert "No worker has taken it yet." not in page
    before = admin_client.get(wait_of(TRACK, after=other.pk, waited=1), headers=EN).text
    assert "Another one" not in before


def test_a_run_that_a_killed_worker_has_left_behind_hides_no_missing_worker(admin_client: Client) -> None:
    left = models.TrackRun.objects.create(started_at=timezone.now() - timedelta(days=1), state="running")
    leased(track_runs.LOCK, until=left.started_at + timedelta(minutes=2))
    page = admin_client.get(wait_of(TRACK, after=left.pk, waited=40), headers=EN).text
    assert "Another one" not in page
    assert "Do the workers run?" in page


def test_a_refill_of_another_node_is_not_in_the_way(admin_client: Client) -> None:
    refill: dict[str, Any] = {"started_at": timezone.now(), "state": "running", "reason": "new"}
    other = models.RefillRun.objects.create(node="10.0.4.11:11211", **refill)
    leased("refill:10.0.4.11:11211")
    url = f"{wait_of(REFILL, after=other.pk)}&node="
    assert "Another one" in admin_client.get(f"{url}10.0.4.11:11211", headers=EN).text
    assert "Another one" not in admin_client.get(f"{url}10.0.4.12:11211", headers=EN).text


@pytest.mark.parametrize(
    "query",
    [
        *("", "?after=1", "?after=x&at=1", "?after=1&at="),
        *(f"?after=1&at={'9' * 20}", f"?after=1&at={'9' * 400}", "?after=1&at=-99999999999"),
        *(f"?after={'9' * 20}&at=1", "?after=-1&at=1"),
    ],
)
def test_an_address_that_no_button_leads_to_is_not_found(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{WARM}run/wait/{query}").status_code == 404


def test_who_may_neither_look_nor_start_waits_for_nothing(staff: Staff) -> None:
    assert staff("view_trackrun").get(wait_of(WARM)).status_code == 403


def test_a_run_keeps_itself_up_to_date_while_it_is_under_way_and_says_what_came_of_it(admin_client: Client) -> None:
    warm = models.WarmRun.objects.create(
        started_at=timezone.now(),
        limit=5,
        budget=5,
        candidates=9,
        from_store=2,
        refreshed=3,
        paid=3,
        skipped={"fresh": 4},
    )
    leased(warming.LOCK)
    url = f"{WARM}{warm.pk}/change/"
    page = admin_client.get(url, headers=EN).text
    assert WAIT in page
    assert "api_service/live.js" in page
    warm.state = "done"
    warm.save()
    page = admin_client.get(url, headers=EN).text
    assert WAIT not in page
    assert "Of 9 RUCs looked at 2 were loaded again for free, 3 by APIMIGO with 3 paid queries" in page
    models.WarmRun.objects.update(dry_run=True)
    assert "Dry run: of 9 RUCs looked at 5 would be refreshed." in admin_client.get(url, headers=EN).text


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
    assert logged() == ("admin", "workers.tasks.warm_frequent_rucs", '[] {"limit": 7}')
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
