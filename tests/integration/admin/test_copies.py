"""Copies to the other cache from the admin: where to is a setting, what came of it is a row."""

from __future__ import annotations

import re
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from api_service.models import CopyRun, RunLock
from api_service.services import copy_plan, copying
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Sent, Staff
from tests.servers import Memcached, Redis
from workers import tasks

pytestmark = pytest.mark.django_db
LIST = "/admin/api_service/copyrun/"
EN = {"accept-language": "en"}


@pytest.fixture
def caches(memcached: Memcached, redis_server: Redis, use_cache_url: UseCacheUrl, settings: Any) -> APICacheService:
    """Twelve keys in Memcached, and an empty Redis to copy to."""
    use_cache_url(memcached.url)
    settings.COPY_CACHE_URL = redis_server.url
    cache = APICacheService()
    cache.set_many({f"migo:ruc_{number}": {"ruc": number} for number in range(12)})
    return cache


def work(sent: Sent) -> dict[str, Any]:
    """What a worker does with the next message."""
    name, kwargs = sent("tracking") or ("", {})
    summary: dict[str, Any] = getattr(tasks, name.rpartition(".")[2])(**kwargs)
    return summary


@pytest.fixture
def left() -> CopyRun:
    """The row and the lease of a copy whose process was killed half an hour ago."""
    began = timezone.now() - timedelta(minutes=30)
    RunLock.objects.create(name=copying.LOCK, token="dead", expires_at=began + timedelta(minutes=1))
    return CopyRun.objects.create(started_at=began, nodes={"a:1": copy_plan.new_node("running", replaced=False)})


@pytest.mark.parametrize("page", ["", "{}/change/"])
def test_who_looks_at_a_copy_whose_process_was_killed_reads_so(admin_client: Client, left: CopyRun, page: str) -> None:
    seen = text_of(admin_client.get(f"{LIST}{page.format(left.pk)}", headers=EN).text)
    left.refresh_from_db()

    # The list's filter names all states
    assert seen.lower().count("running") == (not page)
    assert (left.state, left.error) == ("failed", copying.INTERRUPTED)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_from_the_button_to_the_proof(
    admin_client: Client, caches: APICacheService, redis_server: Redis, use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    assert f'href="{LIST}run/"' in admin_client.get(LIST).text
    form = admin_client.get(f"{LIST}run/", headers=EN).text
    assert f'value="redis {redis_server.address}' in form
    answer = admin_client.post(f"{LIST}run/", {})
    wait = answer.headers["location"]
    assert wait.startswith(f"{LIST}run/wait/")
    assert admin_client.get(wait).status_code == 200
    summary = work(sent)
    assert (summary["state"], summary["copied"], summary["missing"]) == ("done", 12, 0)
    row = CopyRun.objects.get()
    assert row.requested_by == "admin"
    assert admin_client.get(wait).headers["location"] == f"{LIST}{row.pk}/change/"
    page = text_of(admin_client.get(f"{LIST}{row.pk}/change/", headers=EN).text)
    assert "12 of 12 keys copied; 0 were there already, 0 were left out." in page
    assert "Afterwards 0 were not found there, and 0 of 12 compared values differ." in page
    with use_cache_url(redis_server.url):
        assert APICacheService().get("migo:ruc_7") == {"ruc": 7}
    done = LogEntry.objects.get()
    assert (done.object_repr, done.change_message) == ("workers.tasks.copy_cache", "replace=False")


def test_what_is_there_is_overwritten_only_where_that_was_said(
    admin_client: Client, caches: APICacheService, redis_server: Redis, use_cache_url: UseCacheUrl, sent: Sent
) -> None:
    with use_cache_url(redis_server.url):
        APICacheService().set("migo:ruc_1", "newer")
    admin_client.post(f"{LIST}run/", {})
    assert work(sent)["already_there"] == 1
    admin_client.post(f"{LIST}run/", {"replace": "on"})
    work(sent)
    with use_cache_url(redis_server.url):
        assert APICacheService().get("migo:ruc_1") == {"ruc": 1}


def test_the_password_of_the_other_cache_is_on_no_page_in_no_task_and_in_no_row(
    admin_client: Client, caches: APICacheService, settings: Any, free_port: int, sent: Sent
) -> None:
    from api_service.caches.urls import passwords
    from api_service.services.redaction import register_secrets

    settings.COPY_CACHE_URL = f"redis://:hunter2-the-secret@127.0.0.1:{free_port}/0"
    register_secrets(passwords(settings.COPY_CACHE_URL))
    assert "hunter2" not in admin_client.get(f"{LIST}run/").text
    refused = admin_client.post(f"{LIST}run/", {}, headers=EN).text
    assert "The target does not answer" in refused
    assert "hunter2" not in refused
    assert sent("tracking") is None
    copy_cache: Any = tasks.copy_cache
    summary = copy_cache(requested_by="admin")
    assert summary["state"] == "refused"
    row = CopyRun.objects.get()
    assert (row.state, row.requested_by) == ("failed", "admin")
    assert "hunter2" not in f"{row.error} {row.target} {summary}"


def test_without_a_setting_it_is_said_how_to_have_one(
    admin_client: Client, caches: APICacheService, settings: Any, sent: Sent
) -> None:
    settings.COPY_CACHE_URL = ""
    assert "none is set" in admin_client.get(f"{LIST}run/", headers=EN).text
    assert "COPY_CACHE_URL is not set" in admin_client.post(f"{LIST}run/", {}, headers=EN).text
    assert sent("tracking") is None


def test_a_copy_onto_itself_is_refused(
    admin_client: Client, caches: APICacheService, memcached: Memcached, settings: Any, sent: Sent
) -> None:
    settings.COPY_CACHE_URL = memcached.url
    assert "is a node of the cache in use" in admin_client.post(f"{LIST}run/", {}, headers=EN).text
    assert sent("tracking") is None


def test_a_target_that_hangs_holds_nobody_up(
    admin_client: Client, caches: APICacheService, own_redis: Redis, settings: Any, sent: Sent
) -> None:
    settings.COPY_CACHE_URL = own_redis.url
    own_redis.freeze()
    started = monotonic()
    page = admin_client.post(f"{LIST}run/", {}, headers=EN).text
    assert monotonic() - started < 8
    assert "does not answer" in page
    assert sent("tracking") is None


def test_a_copy_that_was_interrupted_is_gone_on_with_and_its_row_is_where_one_is_led(
    admin_client: Client, caches: APICacheService, sent: Sent
) -> None:
    admin_client.post(f"{LIST}run/", {})
    work(sent)
    row = CopyRun.objects.get()
    node, facts = next(iter(row.nodes.items()))
    CopyRun.objects.update(state="failed", nodes={node: {**facts, "state": "failed"}}, finished_at=None)
    wait = admin_client.post(f"{LIST}run/", {}).headers["location"]
    assert admin_client.get(wait).status_code == 200
    assert work(sent)["resumed"] is True
    assert CopyRun.objects.count() == 1
    assert admin_client.get(wait).headers["location"] == f"{LIST}{row.pk}/change/"


def test_a_refused_press_does_not_cost_what_was_copied_before(
    admin_client: Client, caches: APICacheService, own_redis: Redis, settings: Any, sent: Sent
) -> None:
    settings.COPY_CACHE_URL = own_redis.url
    admin_client.post(f"{LIST}run/", {})
    work(sent)
    row = CopyRun.objects.get()
    CopyRun.objects.update(state="running", finished_at=None)
    admin_client.post(f"{LIST}run/", {})
    own_redis.kill()
    assert work(sent)["state"] == "refused"
    own_redis.restart()
    admin_client.post(f"{LIST}run/", {})
    summary = work(sent)
    assert (summary["run"], summary["resumed"]) == (row.pk, True)


def test_a_worker_without_the_setting_says_so_where_one_waits(
    admin_client: Client, caches: APICacheService, memcached: Memcached, settings: Any, sent: Sent
) -> None:
    wait = admin_client.post(f"{LIST}run/", {}).headers["location"]
    settings.COPY_CACHE_URL = ""
    assert work(sent)["state"] == "refused"
    row = CopyRun.objects.get()
    assert admin_client.get(wait).headers["location"] == f"{LIST}{row.pk}/change/"
    assert (row.state, row.requested_by, row.target) == ("failed", "admin", "")
    assert row.source == f"memcached {memcached.address}"
    assert "COPY_CACHE_URL is not set" in admin_client.get(f"{LIST}{row.pk}/change/", headers=EN).text


def test_a_broker_that_is_down_starts_nothing(
    admin_client: Client, caches: APICacheService, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    page = admin_client.post(f"{LIST}run/", {}, follow=True, headers=EN)
    assert page.redirect_chain == [(LIST, 302)]
    assert "Nothing was started" in page.text
    assert (CopyRun.objects.count(), LogEntry.objects.count()) == (0, 0)


def test_who_may_only_look_copies_nothing(staff: Staff, caches: APICacheService, sent: Sent) -> None:
    client = staff("view_copyrun")
    assert f"{LIST}run/" not in client.get(LIST).text
    assert client.post(f"{LIST}run/", {}).status_code == 403
    assert sent("tracking") is None
