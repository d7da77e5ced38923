"""/health: who is told what, and when a probe should call the process or the cache ill."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from api_service import selectors
from api_service.models import HealthSample
from api_service.services import monitoring, role_groups
from api_service.services.roles import Role
from tests.brokers import celery_broker
from tests.conftest import UseCacheUrl
from tests.servers import Memcached, Redis

URL = "/health/cache"


@pytest.fixture
def sample(db: None, memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> HealthSample:
    use_cache_url("memcached://" + ",".join(node.address for node in memcached_cluster))
    return monitoring.run_health_check()


@pytest.fixture
def broken_sample(
    db: None, counts_at_once: None, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> tuple[HealthSample, str]:
    """One of three nodes is down; its address."""
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[1].kill()
    return monitoring.run_health_check(), own_cluster[1].address


@pytest.fixture
def staff(db: None) -> Client:
    client = Client(enforce_csrf_checks=True)
    user = User.objects.create_user("ana")
    role_groups.give(user, Role.OPERATOR)
    client.force_login(user)
    return client


@pytest.fixture
def no_database(db: None) -> Iterator[None]:
    """The driver's own error, from wherever a query is wanted."""

    lost = OperationalError("could not connect to 10.9.8.7")
    with patch.object(connections["default"], "cursor", autospec=True, side_effect=lost):
        yield


def post(client: Client) -> Any:
    """As the admin's pages do: the token of the cookie in a header."""
    client.get("/admin/password_change/")
    return client.post(URL, headers={"X-CSRFToken": client.cookies["csrftoken"].value})


# -- this process


def test_live_answers_without_a_query(
    client: Client, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_live_answers_without_a_database(client: Client, no_database: None) -> None:
    assert client.get("/health/live").status_code == 200


def test_ready_reports_the_cache_and_does_not_depend_on_it(
    client: Client, broken_sample: tuple[HealthSample, str]
) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["database"]) == (200, "ok")
    assert answer.json()["cache"]["status"] == "unhealthy"
    HealthSample.objects.all().delete()
    assert client.get("/health/ready").json()["cache"] == {"status": "never_checked", "age": None}


def test_not_ready_without_a_database_and_nothing_of_the_driver_is_told(client: Client, no_database: None) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "10.9.8.7" not in answer.content.decode()


def test_not_ready_while_a_migration_is_missing(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors._Schema, "complete", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'api_service'")
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
    assert "migrate" in answer.json()["next_step"]


# -- the cache


def test_everybody_reads_the_last_run_with_its_age(client: Client, sample: HealthSample) -> None:
    answer = client.get(URL)
    body = answer.json()
    assert (answer.status_code, body["status"], body["backend"]) == (200, "healthy", "memcached")
    assert body["checks"] == {"connection": "✅ OK", "basic_operations": "✅ OK", "invalid_rucs": "✅ 0 RUCs"}
    assert 0 <= body["age"] < 60
    assert "nodes" not in body


def test_reading_starts_no_run(client: Client, sample: HealthSample) -> None:
    for _ in range(3):
        client.get(URL)
    assert list(HealthSample.objects.all()) == [sample]


def test_an_unhealthy_cache_is_unavailable_and_strangers_learn_no_address(
    client: Client, staff: Client, broken_sample: tuple[HealthSample, str]
) -> None:
    _sample, address = broken_sample
    public, inside = client.get(URL), staff.get(URL)
    assert (public.status_code, public.json()["code"]) == (503, "unhealthy")
    assert public.json()["checks"]["connection"] == "❌"
    assert "127.0.0.1" not in public.content.decode()
    assert address in inside.json()["checks"]["connection"]
    assert [node["node"] for node in inside.json()["nodes"] if not node["reachable"]] == [address]
    assert [finding["code"] for finding in inside.json()["findings"]] == ["node_down"]


@pytest.mark.parametrize("is_staff", [False, True])
def test_a_login_without_a_role_sees_what_everybody_sees(
    broken_sample: tuple[HealthSample, str], is_staff: bool
) -> None:
    client = Client()
    client.force_login(User.objects.create_user("luis", is_staff=is_staff))
    assert "nodes" not in client.get(URL).json()


def test_a_warning_is_served_as_fine(client: Client, sample: HealthSample) -> None:
    HealthSample.objects.update(status="warning")
    answer = client.get(URL)
    assert (answer.status_code, answer.json()["status"]) == (200, "warning")


def test_a_result_older_than_a_quarter_of_an_hour_means_that_the_monitor_stopped(
    client: Client, sample: HealthSample
) -> None:
    answers = {}
    for minutes in (14, 16):
        HealthSample.objects.update(taken_at=timezone.now() - timedelta(minutes=minutes))
        answers[minutes] = client.get(URL)
        assert answers[minutes].json()["age"] == pytest.approx(minutes * 60, abs=30)
    assert {minutes: answer.status_code for minutes, answer in answers.items()} == {14: 200, 16: 503}
    assert answers[16].json()["code"] == "stale"
    assert client.get("/health/ready").json()["cache"]["status"] == "stale"


def test_a_cache_that_was_never_checked_is_not_called_healthy(client: Client, db: None) -> None:
    answer = client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "never_checked")
    assert answer.json()["next_step"]


def test_without_a_database_the_page_says_so(client: Client, no_database: None) -> None:
    answer = client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


# -- starting a run


@pytest.fixture
def broker(own_redis: Redis) -> Iterator[Redis]:
    """Celery's broker is this Redis until the test ends."""
    with celery_broker(own_redis.url):
        yield own_redis


def test_staff_start_a_run_and_the_task_waits_in_the_queue_of_the_monitor(staff: Client, broker: Redis) -> None:
    answer = post(staff)
    assert answer.status_code == 202
    assert answer.json()["task"] in broker.ask("LRANGE health 0 -1")
    assert HealthSample.objects.count() == 0


def test_a_broker_that_is_down_is_told_in_clear_words_and_soon(staff: Client, broker: Redis) -> None:
    broker.kill()
    started = timezone.now()
    answer = post(staff)
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    assert (timezone.now() - started).total_seconds() < 8
    assert broker.address not in answer.content.decode()


def test_a_frozen_broker_does_not_hold_the_request(staff: Client, broker: Redis) -> None:
    broker.freeze()
    started = timezone.now()
    answer = post(staff)
    assert answer.status_code == 503
    assert (timezone.now() - started).total_seconds() < 12


def test_strangers_and_who_only_views_start_nothing(db: None, broker: Redis) -> None:
    login, viewer = Client(), User.objects.create_user("luis")
    role_groups.give(viewer, Role.VIEWER)
    login.force_login(viewer)
    for client in (Client(), login):
        answer = client.post(URL)
        assert (answer.status_code, answer.json()["code"]) == (403, "staff_only")
    assert broker.ask("KEYS *").strip() in {"", "*0"}


def test_a_foreign_page_cannot_start_a_run_with_somebodys_login(staff: Client, broker: Redis) -> None:
    answer = staff.post(URL)
    assert answer.status_code == 403
    assert "health" not in broker.ask("KEYS *")


@pytest.mark.parametrize("url", ["/health/live", "/health/ready", "/health/cache"])
def test_other_methods_are_refused_in_json(db: None, url: str) -> None:
    answer = Client().delete(url)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
