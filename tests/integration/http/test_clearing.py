"""/api/v1/cache/clear: who may, what is understood, and what a caller learns of the run."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from api_service.models import ClearRun
from api_service.services import clearing
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Sent, sent
from tests.integration.http.conftest import API_TOKEN
from tests.servers import Memcached
from workers import tasks

__all__ = ["sent"]

pytestmark = pytest.mark.django_db
URL = "/api/v1/cache/clear"
TOKEN = "operations-token-of-the-tests"
RUN_ARGUMENTS = {"service": "migo", "kind": "", "pattern": "", "dry_run": True, "with_answers": False}


@pytest.fixture
def operator(settings: Settings) -> Client:
    settings.API_TOKEN, settings.OPERATIONS_TOKEN = API_TOKEN, TOKEN
    return Client(headers={"Authorization": f"Bearer {TOKEN}"}, enforce_csrf_checks=True)


@pytest.fixture
def filled(memcached: Memcached, use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(memcached.url)
    cache = APICacheService()
    cache.set_many({f"migo:ruc_{number}": number for number in range(20)})
    cache.set("nubefact:doc_1", 1)
    return cache


def post(client: Client, body: Any, url: str = URL, **headers: str) -> Any:
    return client.post(url, body, content_type="application/json", headers=headers)


def member(*permissions: str, is_staff: bool = True) -> User:
    user = User.objects.create_user("mirona", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


# -- the run


def test_a_dry_run_is_what_is_done_unless_it_is_said_otherwise(operator: Client, sent: Sent) -> None:
    answer = post(operator, {"service": "migo"})
    run = ClearRun.objects.get()
    assert (answer.status_code, answer.json()["run"], answer.json()["dry_run"]) == (202, run.pk, True)
    assert answer.headers["Location"] == answer.json()["url"] == f"{URL}/{run.pk}"
    assert (run.state, run.dry_run, run.via, run.requested_by) == ("waiting", True, "http", "OPERATIONS_TOKEN")
    assert sent("tracking") == ("workers.tasks.clear_service_cache", {**RUN_ARGUMENTS, "run": run.pk})


def test_what_was_sent_is_what_a_worker_does_and_the_result_is_read_by_number(
    operator: Client, sent: Sent, filled: APICacheService
) -> None:
    url = post(operator, {"service": "migo", "kind": "ruc", "pattern": "1?", "dry_run": False}).json()["url"]
    assert operator.get(url).json()["state"] == "waiting"
    name, kwargs = sent("tracking") or ("", {})
    getattr(tasks, name.rpartition(".")[2])(**kwargs)
    answer = operator.get(url)
    body = answer.json()
    assert (answer.status_code, body["success"], body["state"]) == (200, True, "done")
    assert (body["found"], body["removed"], body["kinds"]) == (10, 10, {"ruc": 10})
    assert [node["state"] for node in body["nodes"].values()] == ["done"]
    assert (filled.get("migo:ruc_10"), filled.get("migo:ruc_1"), filled.get("nubefact:doc_1")) == (None, 1, 1)


def test_a_clearing_that_failed_says_so_and_goes_on_when_asked(
    operator: Client, sent: Sent, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    number = clearing.clear(clearing.request("migo", via="http"))["run"]
    body = operator.get(f"{URL}/{number}").json()
    assert (body["success"], body["state"], body["nodes_failed"]) == (False, "failed", 1)
    assert own_memcached.address in body["error"]
    own_memcached.restart()
    assert post(operator, {}, f"{URL}/{number}").status_code == 202
    assert operator.get(f"{URL}/{number}").json()["state"] == "waiting"
    tasks.clear_service_cache(**(sent("tracking") or ("", {}))[1])
    assert operator.get(f"{URL}/{number}").json()["state"] == "done"
    assert post(operator, {}, f"{URL}/{number}").json()["code"] == "not_failed"


@pytest.mark.parametrize("number", ["1", "99999", "9" * 30])
def test_a_number_that_is_of_no_clearing_is_not_found(operator: Client, number: str) -> None:
    answer = operator.get(f"{URL}/{number}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["next_step"]


# -- what is understood


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "service"),
        ({"service": "MIGO"}, "service name"),
        ({"service": "migo", "patern": "2010*"}, "patern"),
        ({"service": "migo", "dry_run": "false"}, "dry_run"),
        ({"service": "migo", "dry_run": None}, "dry_run"),
        ({"service": "migo", "kind": "r*"}, "kind"),
        ({"service": "migo", "pattern": "ñ"}, "pattern"),
        ([], "object"),
        ("{", "JSON"),
        ('{"service": "migo\x00"}', "JSON"),
        (b"\xff", "JSON"),
        ('{"service": "migo", "pattern": "2010*", "pattern": ""}', "twice"),
    ],
)
def test_a_body_that_is_not_understood_starts_nothing(operator: Client, sent: Sent, body: Any, said: str) -> None:
    answer = post(operator, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert said in answer.json()["error"]
    assert (ClearRun.objects.count(), sent("tracking")) == (0, None)


def test_a_body_that_is_too_large_is_refused(operator: Client) -> None:
    assert post(operator, '{"service": "' + "a" * 3_000_000 + '"}').status_code == 413


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_other_methods_are_refused_in_json(operator: Client, method: str) -> None:
    answer = getattr(operator, method)(URL)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


# -- who may


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", f"Bearer {API_TOKEN}", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"],
)
def test_another_token_opens_nothing_and_that_of_look_ups_neither(operator: Client, header: str) -> None:
    answer = post(Client(), {"service": "migo"}, Authorization=header)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text
    assert ClearRun.objects.count() == 0


def test_an_empty_setting_is_closed(settings: Settings) -> None:
    settings.OPERATIONS_TOKEN = ""
    for header in ({"Authorization": "Bearer "}, {}):
        assert post(Client(), {"service": "migo"}, **header).status_code == 401
        assert Client().get(f"{URL}/1", headers=header).status_code == 401


def test_the_token_opens_no_look_up(operator: Client) -> None:
    assert operator.get("/api/v1/ruc/20100038146").status_code == 401


def test_staff_with_the_permission_clears_by_name(sent: Sent) -> None:
    client = Client()
    client.force_login(member("add_clearrun"))
    answer = post(client, {"service": "migo"})
    assert answer.status_code == 202
    assert ClearRun.objects.get().requested_by == "mirona"
    assert client.get(answer.json()["url"]).status_code == 200


def test_a_proxys_own_authorization_does_not_hide_the_session(sent: Sent) -> None:
    client = Client(headers={"Authorization": "Basic bWlyb25hOng="})
    client.force_login(member("add_clearrun"))
    assert post(client, {"service": "migo"}).status_code == 202


@pytest.mark.parametrize(
    ("permissions", "is_staff", "looking"),
    [((), True, 403), (("view_clearrun",), True, 404), (("add_clearrun",), False, 403)],
)
def test_who_lacks_the_permission_starts_nothing(permissions: tuple[str, ...], is_staff: bool, looking: int) -> None:
    client = Client()
    client.force_login(member(*permissions, is_staff=is_staff))
    answer = post(client, {"service": "migo"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert client.get(f"{URL}/1").status_code == looking
    assert ClearRun.objects.count() == 0


def test_another_site_cannot_use_somebodys_session(sent: Sent) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(member("add_clearrun"))
    answer = post(client, {"service": "migo", "dry_run": False})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert ClearRun.objects.count() == 0
    token = "a" * 32
    client.cookies["csrftoken"] = token
    assert post(client, {"service": "migo"}, **{"X-CSRFToken": token}).status_code == 202


# -- the broker


def test_a_broker_that_is_down_is_said_and_nothing_waits(
    operator: Client, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    answer = post(operator, {"service": "migo"})
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    assert ClearRun.objects.count() == 0
