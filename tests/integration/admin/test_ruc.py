"""The page of one RUC: what it says, what it costs to look (nothing), and what may be done there by whom."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from datetime import timedelta
from time import monotonic, time
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from api_service.services import answers, node_reads, ruc_acts, tracking, warm_statistics, warming
from api_service.services.backends import memcached
from api_service.services.cache_service import INVALID_KEY, RUC_KEY, APICacheService
from api_service.services.envelope import wrap
from api_service.services.migo_service import MigoAPIService
from tests.conftest import UseCacheUrl
from tests.integration.admin.conftest import Rows, Staff
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, unknown_rucs
from tests.rucs import valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Redis

EN = {"accept-language": "en"}
SEARCH = "/admin/ruc/"
PAGE = f"/admin/ruc/{RUC}/"


def text_of(page: str) -> str:
    """What a person reads, without the marks."""
    main = page.partition("<main")[2] or page
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)).replace("\xa0", " ")


@pytest.fixture
def warm_schedule(db: None) -> PeriodicTask:
    every_five, _ = CrontabSchedule.objects.get_or_create(minute="*/5")
    row: PeriodicTask = PeriodicTask.objects.create(
        name="warm", task=warming.TASK, crontab=every_five, last_run_at=timezone.now()
    )
    return row


def read(client: Client, url: str = PAGE) -> str:
    answer = client.get(url, headers=EN)
    assert answer.status_code == 200
    return text_of(answer.text)


def act(client: Client, name: str, said: dict[str, Any] | None = None, ruc: str = RUC) -> str:
    answer = client.post(f"/admin/ruc/{ruc}/{name}/", said or {}, follow=True, headers=EN)
    assert answer.status_code == 200
    return text_of(answer.text)


def last_done() -> tuple[str, str, str]:
    row = LogEntry.objects.select_related("user").order_by("-pk")[0]
    return row.user.get_username(), row.object_repr, row.get_change_message()


# -- what it says


@pytest.mark.usefixtures("migo", "warm_schedule")
def test_a_ruc_that_nobody_has_asked_for_is_told_so_and_nothing_is_paid(
    admin_client: Client, sandbox: RunningSandbox
) -> None:
    page = read(admin_client)
    assert "Nothing is known of this RUC." in page
    assert "The next look-up asks APIMIGO: one paid query." in page
    assert "no: nobody has asked for it" in page
    assert sandbox.log == []


def test_what_is_known_of_it_is_shown_and_looking_counts_as_no_read(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    record = migo.consultar_ruc(RUC)
    tracking.flush_now()
    reads = models.DailyReads.objects.get(identifier=RUC).reads
    page = read(admin_client)
    assert record["nombre_o_razon_social"] in page
    assert "Fit for invoicing yes" in page
    assert "The cache answers the next look-up, for free." in page
    assert f":1:migo:ruc_{RUC}" in page
    assert "place of the answer" in page
    assert "Last 14 days 1" in page
    tracking.flush_now()
    assert models.DailyReads.objects.get(identifier=RUC).reads == reads
    assert len(sandbox.log) == 1


@pytest.mark.usefixtures("migo")
def test_who_is_not_fit_for_invoicing_has_the_reasons(admin_client: Client) -> None:
    record = {"ruc": RUC, "estado_del_contribuyente": "BAJA DE OFICIO", "condicion_de_domicilio": "NO HALLADO"}
    APICacheService().set_ruc(RUC, record)
    page = read(admin_client)
    assert "Fit for invoicing no The taxpayer is not ACTIVO: BAJA DE OFICIO." in page
    assert "The taxpayer is not HABIDO: NO HALLADO." in page
    assert "The name is missing or very short." in page


@pytest.mark.usefixtures("migo")
def test_an_answer_that_only_the_store_has_is_free_until_its_life_ends(admin_client: Client) -> None:
    answers.save("migo", "ruc", {RUC: {"ruc": RUC, "nombre_o_razon_social": "CONTINENTAL S.A.C."}}, time() - 60)
    page = read(admin_client)
    assert "CONTINENTAL S.A.C." in page
    assert "The answer store answers the next look-up, for free." in page
    models.StoredAnswer.objects.update(born_at=timezone.now() - timedelta(days=2))
    assert "The next look-up asks APIMIGO: one paid query." in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_one_that_ended_is_said_to_be_shown_old(admin_client: Client) -> None:
    APICacheService().set(f"migo:ruc_{RUC}", {"ruc": RUC}, 0.001, stale=600)
    assert "The next look-up is shown the old answer" in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_a_listed_one_says_why_and_until_when(admin_client: Client) -> None:
    APICacheService().add_invalid_ruc(RUC, "NO_EXISTE_SUNAT", 24)
    page = read(admin_client)
    assert "Reason NO_EXISTE_SUNAT SUNAT does not know it" in page
    assert "in 23 hours" in page
    assert "The next look-up is told that there is no such record, for free." in page


@pytest.mark.usefixtures("migo")
def test_one_that_cannot_exist_can_be_looked_at_but_not_refreshed(
    admin_client: Client, sandbox: RunningSandbox
) -> None:
    url = f"/admin/ruc/{IMPOSSIBLE}/"
    answer = admin_client.get(url, headers=EN).text
    assert "No such RUC can exist" in answer
    assert f"{url}refresh/" not in answer
    assert "Nothing was changed." in act(admin_client, "refresh", ruc=IMPOSSIBLE)
    assert sandbox.log == []


@pytest.mark.usefixtures("migo")
def test_a_key_on_a_node_where_the_cache_does_not_look_is_shown_as_left_over(
    admin_client: Client, memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in memcached_cluster))
    cache = APICacheService()
    home = cache.adapter.node_for(f"{cache.wire_prefix}migo:ruc_{RUC}")
    other = next(node for node in cache.adapter.nodes() if node != home)
    with use_cache_url(f"memcached://{other}"):
        APICacheService().set_ruc(RUC, {"ruc": RUC})
    page = read(admin_client)
    assert "The next look-up asks APIMIGO" in page
    assert re.search(rf"{other} there \d+ bytes – (left over: the cache does not look here|place of the mark)", page)


@pytest.mark.usefixtures("migo")
def test_redis_is_looked_at_alike(admin_client: Client, redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    APICacheService().set_ruc(RUC, {"ruc": RUC, "nombre_o_razon_social": "EN REDIS S.A.C."})
    page = read(admin_client)
    assert "EN REDIS S.A.C." in page
    assert redis_server.address in page


@pytest.mark.usefixtures("migo")
def test_nodes_that_hang_hold_the_page_up_for_no_longer_than_one(
    admin_client: Client, use_cache_url: UseCacheUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the connection and says nothing, as a frozen server does."""
    # The first question still waits when the second is asked, however long this machine takes to ask it
    monkeypatch.setattr(memcached, "STALL_SECONDS", 60)
    with ExitStack() as stack:
        hanging = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(12)]
        use_cache_url("memcached://" + ",".join(f"127.0.0.1:{one.getsockname()[1]}" for one in hanging))
        for expected in ("no answer in time", "an earlier question still waits for its answer"):
            started = monotonic()
            page = read(admin_client)
            assert monotonic() - started < node_reads.SECONDS * len(hanging) / 2
            assert page.count(expected) == len(hanging)
            assert "its node does not answer" in page


@pytest.mark.usefixtures("warm_schedule")
def test_when_warming_refreshes_it_is_told_with_the_reads_it_goes_by(
    admin_client: Client, migo: MigoAPIService
) -> None:
    migo.consultar_ruc(RUC)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    models.LookupHour.objects.bulk_create(
        models.LookupHour(hour=hour - timedelta(hours=back), service="migo", kind="ruc", outcome="hit", count=9)
        for back in range(1, 8 * 24)
    )
    for hours in reversed(range(1, 40)):
        warm_statistics.observe({("migo", "ruc", RUC): time() - hours * 3600})
    page = read(admin_client)
    assert "yes, as far as limit and budget allow by the first run after" in page
    models.WarmRun.objects.create(started_at=timezone.now(), state="done", limit=1, budget=1, break_even=1000.0)
    page = read(admin_client)
    assert "no: too few reads expected" in page
    assert "refreshed from 1,000.00 up" in page


@pytest.mark.usefixtures("migo")
def test_without_a_schedule_that_runs_no_refresh_is_foretold(admin_client: Client, warm_schedule: PeriodicTask) -> None:
    assert "Next refresh no: nobody has asked for it" in read(admin_client)
    warm_schedule.enabled = False
    warm_schedule.save()
    assert "Next refresh not by itself: its schedule is switched off Schedules" in read(admin_client)
    warm_schedule.delete()
    assert "Next refresh not by itself: it has no schedule; Beat writes one" in read(admin_client)


@pytest.mark.usefixtures("migo", "warm_schedule")
def test_an_answer_that_never_ends_is_told_and_no_run_looks_at_it(admin_client: Client) -> None:
    endless = wrap({"ruc": RUC, "nombre_o_razon_social": "SIN FIN S.A.C."}, time(), None)
    assert endless["e"] is None
    assert APICacheService().cache.store_many({f"migo:ruc_{RUC}": endless}, 60) == []
    page = read(admin_client)
    assert "SIN FIN S.A.C." in page
    assert "no: still fresh" in page


def test_what_became_of_its_warms_is_told(admin_client: Client, rows: Rows) -> None:
    warmed = rows[models.WarmedAnswer]
    page = read(admin_client)
    assert "0 of the last 1 was read" in page
    assert f"#{warmed.run_id}" in page
    models.WarmedAnswer.objects.update(read_at=timezone.now())
    assert "1 of the last 1 was read" in read(admin_client)


def test_the_page_takes_few_queries_however_much_there_is(admin_client: Client, rows: Rows) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(PAGE, headers=EN).status_code == 200
    # The test's own transaction makes savepoints of what else begins one
    asked = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(asked) <= 15, asked


# -- the way there


def test_the_box_leads_to_a_pasted_ruc(admin_client: Client, rows: Rows) -> None:
    assert admin_client.get(SEARCH, {"q": " 20-10003814 6"}).headers["location"] == PAGE
    assert admin_client.get("/admin/ruc/20100038146%20/").headers["location"] == PAGE


@pytest.mark.parametrize(
    "given", ["2010003814", "201000381460", "CONTINENTAL", "<script>alert(1)</script>", "٢٠١٠٠٠٣٨١٤٦"]
)
def test_what_is_no_ruc_is_told_in_words_and_nothing_happens(
    admin_client: Client, rows: Rows, given: str, sandbox: RunningSandbox
) -> None:
    page = admin_client.get(SEARCH, {"q": given}, headers=EN).text
    assert "This is no RUC: it has 11 digits." in page
    assert "<script>alert" not in page
    assert sandbox.log == []


def test_an_address_of_no_ruc_is_told_in_the_same_words(admin_client: Client, rows: Rows) -> None:
    answer = admin_client.get("/admin/ruc/123/", headers=EN)
    assert (answer.status_code, "This is no RUC" in answer.text) == (404, True)
    act(admin_client, "forget", ruc="123")
    assert LogEntry.objects.count() == 0


@pytest.mark.usefixtures("migo")
def test_hot_rucs_are_listed_by_the_reads_of_today_and_yesterday(admin_client: Client) -> None:
    now, today = timezone.now(), timezone.localdate()
    for ruc, day, reads in ((RUC, today, 5), (SUNAT, today, 3), (SUNAT, today - timedelta(days=1), 40)):
        models.DailyReads.objects.create(
            service="migo", kind="ruc", identifier=ruc, day=day, reads=reads, last_read_at=now
        )
    APICacheService().set_ruc(RUC, {"ruc": RUC})
    found = re.findall(r"(2\d{10}) (\d+) (\d+) (there|nothing there)", read(admin_client, SEARCH))
    assert found == [(SUNAT, "3", "40", "nothing there"), (RUC, "5", "0", "there")]


@pytest.mark.parametrize(
    "model", [models.DailyReads, models.StoredAnswer, models.BillingRow, models.ReadHabit, models.WarmedAnswer]
)
def test_a_list_that_names_a_ruc_leads_to_it(admin_client: Client, rows: Rows, model: type[Any]) -> None:
    assert f'href="{PAGE}"' in admin_client.get(reverse(f"admin:api_service_{model._meta.model_name}_changelist")).text


def test_a_key_leads_to_its_ruc(admin_client: Client, rows: Rows) -> None:
    url = reverse("admin:api_service_trackedkey_change", args=[rows[models.TrackedKey].pk])
    assert f'href="{PAGE}"' in admin_client.get(url).text


# -- what is done there


def test_a_refresh_asks_first_then_pays_for_one_query_and_says_so(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox, settings: Any
) -> None:
    settings.MIGO_MAX_PER_HOUR = 5
    migo.consultar_ruc(RUC)
    question = read(admin_client, f"{PAGE}refresh/")
    assert "one paid query" in question
    assert "Paid this hour: 1 of 5." in question
    assert sandbox.billed == 1
    assert "APIMIGO has answered: this is the newest record." in act(admin_client, "refresh")
    assert sandbox.billed == 2
    assert last_done() == ("admin", f"RUC {RUC}", "refresh: found")
    assert "refresh: found" in read(admin_client)


@pytest.mark.usefixtures("migo")
def test_a_cap_that_is_reached_forbids_a_refresh(admin_client: Client, sandbox: RunningSandbox, settings: Any) -> None:
    settings.MIGO_MAX_PER_DAY = 1
    act(admin_client, "refresh")
    page = act(admin_client, "refresh")
    assert "The limit of 1 paid queries a day is reached." in page
    assert sandbox.billed == 1
    assert last_done()[2] == "refresh: failed, budget_exhausted"


def test_a_refresh_that_fails_leaves_what_there_was(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    sandbox.switch(script=["500"])
    assert "Nothing was changed. APIMIGO has a failure of its own." in act(admin_client, "refresh")
    assert APICacheService().get_ruc(RUC) is not None


@pytest.mark.usefixtures("migo")
def test_a_refresh_of_one_that_sunat_does_not_know_lists_it(admin_client: Client) -> None:
    (unknown,) = unknown_rucs(1)
    assert "it knows no such RUC" in act(admin_client, "refresh", ruc=unknown)
    assert APICacheService().is_ruc_invalid(unknown)


def test_what_is_forgotten_is_in_neither_cache_nor_store(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    assert "The next look-up of it is paid for." in read(admin_client, f"{PAGE}forget/")
    assert APICacheService().get_ruc(RUC) is not None
    assert "It is forgotten" in act(admin_client, "forget")
    assert APICacheService().get_ruc(RUC) is None
    assert not models.StoredAnswer.objects.filter(identifier=RUC).exists()
    assert last_done()[2] == "forget: cache yes, store yes"
    assert "There was nothing to forget." in act(admin_client, "forget")
    migo.consultar_ruc(RUC)
    assert sandbox.billed == 2


def test_one_that_is_marked_is_looked_up_no_more_until_it_is_unmarked(
    admin_client: Client, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    assert "is told that there is no such record" in read(admin_client, f"{PAGE}mark/")
    assert "It is listed as invalid." in act(admin_client, "mark", {"reason": "DADO_DE_BAJA", "hours": "2"})
    assert migo.consultar_ruc(RUC)["reason"] == "DADO_DE_BAJA"
    assert last_done() == ("admin", f"RUC {RUC}", "mark: reason=DADO_DE_BAJA hours=2")
    page = admin_client.get(PAGE, headers=EN).text
    assert f"{PAGE}unmark/" in page
    assert f"{PAGE}mark/" not in page
    assert "It is off the list" in act(admin_client, "unmark")
    assert migo.consultar_ruc(RUC)["success"] is True
    assert sandbox.billed == 1
    assert "It was not on the list." in act(admin_client, "unmark")


@pytest.mark.usefixtures("migo")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"reason": "", "hours": "2"}, "This field is required."),
        ({"reason": "no existe", "hours": "2"}, "A code: capital letters, digits and _, no spaces."),
        ({"reason": "NO_EXISTE_SUNAT", "hours": "0"}, "greater than or equal to 1"),
        ({"reason": "NO_EXISTE_SUNAT", "hours": "100000"}, "less than or equal to 720"),
    ],
)
def test_a_wrong_field_is_told_and_nothing_is_marked(admin_client: Client, said: dict[str, str], error: str) -> None:
    assert error in act(admin_client, "mark", said)
    assert not APICacheService().is_ruc_invalid(RUC)
    assert LogEntry.objects.count() == 0


@pytest.mark.usefixtures("migo")
def test_what_cannot_exist_is_marked_and_unmarked_all_the_same(admin_client: Client) -> None:
    act(admin_client, "mark", {"reason": "FORMATO_INVALIDO", "hours": "1"}, ruc=IMPOSSIBLE)
    assert APICacheService().is_ruc_invalid(IMPOSSIBLE)
    act(admin_client, "unmark", ruc=IMPOSSIBLE)
    assert not APICacheService().is_ruc_invalid(IMPOSSIBLE)


def test_a_node_that_is_down_is_told_for_what_it_is(
    admin_client: Client, migo: MigoAPIService, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    migo.consultar_ruc(RUC)
    own_memcached.kill()
    assert "Its node of the cache does not answer: the stored answer is gone" in act(admin_client, "forget")
    assert last_done()[2] == "forget: cache unreachable, store yes"
    said = {"reason": "NO_EXISTE_SUNAT", "hours": "1"}
    assert "does not take the mark: nothing was changed" in act(admin_client, "mark", said)
    assert "the mark is still there" in act(admin_client, "unmark")


# -- who may


PATHS = (SEARCH, PAGE, *(f"{PAGE}{name}/" for name in ("refresh", "forget", "mark", "unmark")))


@pytest.mark.parametrize("url", PATHS)
def test_nobody_without_the_permission_sees_or_does_anything(url: str, staff: Staff, rows: Rows) -> None:
    client = staff("view_dailyreads")
    assert client.get(url).status_code == 403
    assert client.post(url).status_code == 403
    assert Client().get(url).headers["location"].startswith("/admin/login/")
    assert LogEntry.objects.count() == 0


@pytest.mark.usefixtures("migo")
@pytest.mark.parametrize(
    ("permission", "may", "may_not"),
    [
        ("change_storedanswer", ("refresh", "mark"), ("forget",)),
        ("delete_storedanswer", ("forget",), ("refresh", "mark", "unmark")),
        ("view_dailyreads", (), ("refresh", "mark", "unmark", "forget")),
    ],
)
def test_each_act_needs_its_permission(
    staff: Staff, permission: str, may: tuple[str, ...], may_not: tuple[str, ...], sandbox: RunningSandbox
) -> None:
    client = staff("view_storedanswer", permission)
    page = client.get(PAGE, headers=EN).text
    for name in may:
        assert f"{PAGE}{name}/" in page
        assert client.get(f"{PAGE}{name}/").status_code == 200
    for name in may_not:
        assert f"{PAGE}{name}/" not in page
        assert client.post(f"{PAGE}{name}/").status_code == 403
    assert sandbox.log == []


def test_nothing_is_done_by_a_link_nor_from_another_site(
    admin_user: Any, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    for name in ("refresh", "forget", "mark"):
        client.get(f"{PAGE}{name}/")
        assert client.post(f"{PAGE}{name}/").status_code == 403
    assert sandbox.log == []
    assert LogEntry.objects.count() == 0


def test_what_was_done_by_hand_is_a_list_of_its_own(admin_client: Client, migo: MigoAPIService) -> None:
    act(admin_client, "refresh")
    url = reverse("admin:admin_logentry_changelist")
    assert f"RUC {RUC} refresh: found" in read(admin_client, url)
    assert f'<a href="{PAGE}">RUC {RUC}</a>' in admin_client.get(url).text


def test_who_may_not_read_the_log_sees_none_of_it_on_the_page_of_a_ruc(
    admin_client: Client, staff: Staff, migo: MigoAPIService
) -> None:
    act(admin_client, "refresh")
    assert "Done by hand" in read(admin_client)
    page = read(staff("view_storedanswer"))
    assert "Done by hand" not in page
    assert "refresh: found" not in page


@pytest.mark.usefixtures("migo")
def test_a_refresh_that_ends_in_an_error_of_ours_is_in_the_log_all_the_same(
    admin_client: Client, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paid_and_lost(ruc: str, **_options: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(ruc_acts, "refresh", paid_and_lost)
    with pytest.raises(RuntimeError):
        admin_client.post(f"{PAGE}refresh/")
    assert last_done() == ("admin", f"RUC {RUC}", "refresh: asked")


def test_the_sidebar_leads_to_the_box_for_who_may_look(admin_client: Client, staff: Staff, rows: Rows) -> None:
    assert f'href="{SEARCH}"' in admin_client.get("/admin/").text
    assert f'href="{SEARCH}"' not in staff("view_trackrun").get("/admin/").text


@pytest.mark.usefixtures("migo")
def test_a_mark_beside_an_answer_that_cannot_be_reached_says_so(
    admin_client: Client, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    """The answer counts before the mark: look-ups would find it again once its node replies."""
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    cache = APICacheService()
    ruc = next(
        ruc
        for ruc in valid_rucs(200)
        if cache.adapter.node_for(f"{cache.wire_prefix}{RUC_KEY}{ruc}")
        != cache.adapter.node_for(f"{cache.wire_prefix}{INVALID_KEY}{ruc}")
    )
    cache.set_ruc(ruc, {"ruc": ruc})
    home = cache.adapter.node_for(f"{cache.wire_prefix}{RUC_KEY}{ruc}")
    next(node for node in own_cluster if node.address == home).kill()
    said = {"reason": "NO_EXISTE_SUNAT", "hours": "1"}
    assert "the node of its answer does not reply" in act(admin_client, "mark", said, ruc)
    assert last_done()[2].startswith("mark: beside_an_answer")
