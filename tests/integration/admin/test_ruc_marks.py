"""A mark as invalid by hand that ended before its time: told as no more than is known, and until an answer is newer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_service.admin import ruc_page
from api_service.services.cache_service import INVALID_KEY, APICacheService
from api_service.services.migo_service import MigoAPIService
from tests.conftest import UseCacheUrl
from tests.integration.admin.test_ruc import PAGE, act, read
from tests.migo_fixtures import RUC, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached

ENDED = "Listed not any more It was marked by hand until"
MARK = {"reason": "DADO_DE_BAJA", "hours": "48"}


def test_a_mark_that_its_node_has_lost_is_told(
    admin_client: Client, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    assert "a node that restarts or runs out of memory" in read(admin_client, f"{PAGE}mark/")
    act(admin_client, "mark", MARK)
    own_memcached.restart()
    assert ENDED in read(admin_client)
    assert f"{PAGE}mark/" in admin_client.get(PAGE).text
    act(admin_client, "mark", MARK)
    assert ENDED not in read(admin_client)
    act(admin_client, "unmark")
    assert "Listed not listed" in read(admin_client)


@pytest.mark.usefixtures("migo")
@pytest.mark.parametrize(
    "take_off",
    [lambda cache: cache.remove_invalid_ruc(RUC), lambda cache: cache.clear_service_cache("migo")],
    ids=["by code", "by clearing the service"],
)
def test_of_a_mark_that_was_taken_off_elsewhere_neither_cause_nor_advice_is_made_up(
    admin_client: Client, take_off: Callable[[APICacheService], object]
) -> None:
    act(admin_client, "mark", MARK)
    take_off(APICacheService())
    page = read(admin_client)
    assert ENDED in page
    assert "a clearing, a program or a newer answer has ended that before its time" in page
    assert "lost" not in page
    assert "again" not in page


def test_a_newer_answer_ends_a_mark_without_a_word(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    act(admin_client, "mark", MARK)
    assert migo.consultar_ruc(RUC, force_refresh=True)["success"] is True
    assert "Listed not listed" in read(admin_client)
    # The store alone has it now
    APICacheService().delete_ruc(RUC)
    assert "Listed not listed" in read(admin_client)
    assert sandbox.billed == 1


def test_an_answer_from_before_the_mark_ends_nothing(admin_client: Client, migo: MigoAPIService) -> None:
    migo.consultar_ruc(RUC)
    act(admin_client, "mark", MARK)
    APICacheService().remove_invalid_ruc(RUC)
    assert ENDED in read(admin_client)
    assert migo.consultar_ruc(RUC)["cache"]["source"] == "store"
    assert ENDED in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_a_mark_that_ended_in_time_was_not_lost(admin_client: Client) -> None:
    act(admin_client, "mark", {"reason": "DADO_DE_BAJA", "hours": "2"})
    APICacheService().remove_invalid_ruc(RUC)
    LogEntry.objects.update(action_time=timezone.now() - timedelta(hours=2, minutes=1))
    assert "Listed not listed" in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_a_refresh_that_finds_nothing_replaces_the_mark_and_its_page_says_so_before(admin_client: Client) -> None:
    (unknown,) = unknown_rucs(1)
    page = PAGE.replace(RUC, unknown)
    act(admin_client, "mark", {"reason": "DADO_DE_BAJA", "hours": "720"}, unknown)
    question = read(admin_client, f"{page}refresh/")
    assert "The answer replaces a mark as invalid, one by hand too" in question
    assert "is listed for 24h from then" in question
    act(admin_client, "refresh", ruc=unknown)
    assert "Reason NO_EXISTE_SUNAT" in read(admin_client, page)
    # What is gone now is APIMIGO's word and no mark by hand
    APICacheService().delete(INVALID_KEY + unknown)
    assert "Listed not listed" in read(admin_client, page)


@pytest.mark.usefixtures("migo")
def test_a_refresh_that_fails_leaves_the_mark(admin_client: Client, sandbox: RunningSandbox) -> None:
    act(admin_client, "mark", MARK)
    sandbox.switch(script=["500"])
    act(admin_client, "refresh")
    assert "Reason DADO_DE_BAJA" in read(admin_client)
    APICacheService().remove_invalid_ruc(RUC)
    assert ENDED in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_it_is_told_however_much_was_done_since_for_one_query_more(admin_client: Client) -> None:
    act(admin_client, "mark", MARK)
    act(admin_client, "forget")
    forgotten = LogEntry.objects.values("user_id", "object_repr", "action_flag", "change_message").latest("pk")
    LogEntry.objects.bulk_create(LogEntry(**forgotten) for _ in range(ruc_page.ACTS_SHOWN))
    while_it_is_there = queries(admin_client)
    APICacheService().remove_invalid_ruc(RUC)
    page = read(admin_client)
    assert ENDED in page
    assert "mark: reason" not in page
    assert queries(admin_client) == while_it_is_there + 1 < 15


def queries(client: Client) -> int:
    """Of the page; the test's own transaction makes savepoints of what else begins one."""
    with CaptureQueriesContext(connection) as captured:
        client.get(PAGE)
    return sum("SAVEPOINT" not in query["sql"] for query in captured)
