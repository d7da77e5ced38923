"""Clearing from the admin: counted first, then cleared, by who may, with the progress to be seen."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from api_service.models import ClearRun
from api_service.services import clearing
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Sent, Staff
from tests.servers import Memcached
from workers import tasks

pytestmark = pytest.mark.django_db
LIST = "/admin/api_service/clearrun/"
EN = {"accept-language": "en"}
RELOADS = 'data-live="2"'


@pytest.fixture
def cache(memcached: Memcached, use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(memcached.url)
    cache = APICacheService()
    cache.set_many({f"migo:ruc_{number}": number for number in range(12)})
    cache.set_many({"migo:invalid_20100000001": 1, "nubefact:doc_1": 1})
    return cache


def page_of(run: ClearRun) -> str:
    return f"{LIST}{run.pk}/change/"


def work(sent: Sent) -> None:
    """What a worker does with the next message."""
    name, kwargs = sent("tracking") or ("", {})
    getattr(tasks, name.rpartition(".")[2])(**kwargs)


def read(client: Client, run: ClearRun) -> str:
    return client.get(page_of(run), headers=EN).text


def counted(client: Client, sent: Sent, **said: str) -> ClearRun:
    client.post(f"{LIST}run/", {"service": "migo", **said})
    work(sent)
    return ClearRun.objects.get()


def test_from_the_button_to_the_result(admin_client: Client, sent: Sent, cache: APICacheService) -> None:
    assert f'href="{LIST}run/"' in admin_client.get(LIST).text
    assert "Count first" in admin_client.get(f"{LIST}run/", headers=EN).text
    answer = admin_client.post(f"{LIST}run/", {"service": "migo"})
    run = ClearRun.objects.get()
    assert answer.headers["location"] == page_of(run)
    assert (run.dry_run, run.via, run.requested_by) == (True, "admin", "admin")
    waiting = read(admin_client, run)
    assert RELOADS in waiting
    assert "Clear now" not in waiting

    work(sent)
    page = read(admin_client, run)
    assert RELOADS not in page
    assert "Counted only: 13 keys would be removed" in page
    assert "<td>ruc</td><td>12</td>" in page
    assert f"<td>{cache.adapter.nodes()[0]}</td>" in page
    assert cache.get("migo:ruc_1") == 1

    answer = admin_client.post(f"{LIST}{run.pk}/clear/")
    done = ClearRun.objects.get(dry_run=False)
    assert answer.headers["location"] == page_of(done)
    work(sent)
    done.refresh_from_db()
    assert (done.state, done.removed, done.requested_by) == ("done", 13, "admin")
    assert "Clear now" not in read(admin_client, done)
    log = list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message"))
    said = "service=migo kind= pattern= with_answers=False"
    assert log == [(str(run.pk), f"count {said}"), (str(done.pk), f"clear {said}")]
    assert (cache.get("migo:ruc_1"), cache.get("nubefact:doc_1")) == (None, 1)


def test_what_was_counted_is_what_is_cleared(admin_client: Client, sent: Sent, cache: APICacheService) -> None:
    run = counted(admin_client, sent, kind="ruc", pattern="1?", with_answers="on")
    admin_client.post(f"{LIST}{run.pk}/clear/")
    done = ClearRun.objects.get(dry_run=False)
    assert (done.kind, done.pattern, done.with_answers) == ("ruc", "1?", True)
    work(sent)
    done.refresh_from_db()
    assert done.removed == 2
    assert "migo ruc 1?" in admin_client.get(LIST).text


def test_where_there_is_nothing_there_is_no_button(admin_client: Client, sent: Sent, cache: APICacheService) -> None:
    page = read(admin_client, counted(admin_client, sent, pattern="9999"))
    assert "There is no such key on any node" in page
    assert "Clear now" not in page


def test_a_clearing_that_failed_is_resumed_from_its_page(
    admin_client: Client, sent: Sent, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    clearing.clear(clearing.request("migo", via="admin"))
    run = ClearRun.objects.get()
    page = read(admin_client, run)
    assert "resuming goes on with the nodes that are not done" in page
    assert own_memcached.address in page
    own_memcached.restart()
    answer = admin_client.post(f"{LIST}{run.pk}/resume/")
    assert answer.headers["location"] == page_of(run)
    assert RELOADS in read(admin_client, run)
    work(sent)
    run.refresh_from_db()
    assert run.state == "done"


def test_a_row_whose_process_died_is_closed_when_somebody_looks(admin_client: Client, db: None) -> None:
    run = clearing._record(clearing.request("migo", via="task"))
    ClearRun.objects.update(state="running")
    admin_client.get(LIST)
    run.refresh_from_db()
    assert run.state == "failed"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, "This field is required."),
        ({"service": "MIGO"}, "service name"),
        ({"service": "migo", "kind": "ruc_2010"}, "kind"),
        ({"service": "migo", "pattern": "ñ"}, "pattern"),
    ],
)
def test_a_wrong_field_is_told_and_nothing_starts(
    admin_client: Client, sent: Sent, said: dict[str, str], error: str
) -> None:
    page = admin_client.post(f"{LIST}run/", said, headers=EN)
    assert (page.status_code, error in page.text) == (200, True)
    assert (ClearRun.objects.count(), sent("tracking")) == (0, None)


def test_who_may_only_look_starts_nothing(staff: Staff, sent: Sent, cache: APICacheService) -> None:
    client = staff("view_clearrun")
    clearing.clear(clearing.request("migo", via="task", dry_run=True))
    run = ClearRun.objects.get()
    assert f"{LIST}run/" not in client.get(LIST).text
    page = read(client, run)
    assert "Clear now" not in page
    for url in (f"{LIST}run/", f"{LIST}{run.pk}/clear/", f"{LIST}{run.pk}/resume/"):
        assert client.post(url, {"service": "migo"}).status_code == 403
    assert (ClearRun.objects.count(), sent("tracking")) == (1, None)


def test_nobody_clears_by_a_link_nor_from_another_site(admin_user: User, cache: APICacheService) -> None:
    clearing.clear(clearing.request("migo", via="task", dry_run=True))
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    for page in ("clear", "resume"):
        url = f"{LIST}{ClearRun.objects.get().pk}/{page}/"
        assert client.get(url).status_code == 405
        assert client.post(url).status_code == 403
        assert Client().post(url).headers["location"].startswith("/admin/login/")
    assert ClearRun.objects.count() == 1


def test_a_clearing_that_is_not_there_is_not_found(admin_client: Client) -> None:
    assert admin_client.post(f"{LIST}99999/clear/").status_code == 404


def test_a_broker_that_is_down_is_a_message_and_no_row(
    admin_client: Client, cache: APICacheService, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    page: Any = admin_client.post(f"{LIST}run/", {"service": "migo"}, follow=True, headers=EN)
    assert page.redirect_chain == [(LIST, 302)]
    assert "Nothing was started: the task broker does not answer." in page.text
    assert ClearRun.objects.count() == 0
