"""Every page of the admin answers, in both languages, in few queries, and shows words instead of codes."""

from __future__ import annotations

import re
from datetime import timedelta
from time import time

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from api_service import models
from api_service.admin.base import BoundedPaginator
from tests.integration.admin.conftest import DOWN, NODE, Rows, Staff

TABLES = [model for model in admin.site._registry if model._meta.app_label == "api_service"]
MOST_QUERIES = 15


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:api_service_{model._meta.model_name}_changelist")


def page_url(row: Model) -> str:
    return reverse(f"admin:api_service_{row._meta.model_name}_change", args=[row.pk])


def name_of(model: type[Model]) -> str:
    return model.__name__


def test_every_table_of_the_service_is_in_the_admin() -> None:
    assert set(TABLES) == set(apps.get_app_config("api_service").get_models())
    assert len(TABLES) == 37


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize("model", TABLES, ids=name_of)
def test_list_and_page_answer_within_fifteen_queries(
    model: type[Model], language: str, rows: Rows, admin_client: Client
) -> None:
    for url in (list_url(model), page_url(rows[model])):
        with CaptureQueriesContext(connection) as queries:
            response = admin_client.get(url, headers={"accept-language": language})
        assert response.status_code == 200
        assert f'<html lang="{language}"' in response.text
        assert len(queries) <= MOST_QUERIES, [query["sql"] for query in queries]


@pytest.mark.parametrize(
    ("model", "query"), [(models.TrackedKey, "service=%00"), (models.Incident, "severity__exact=a%00b")], ids=str
)
def test_a_filter_that_no_text_can_have_is_left_out(
    model: type[Model], query: str, rows: Rows, admin_client: Client
) -> None:
    answer = admin_client.get(f"{list_url(model)}?{query}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{list_url(model)}?e=1")


MANY = [
    models.NodeSample,
    models.ServiceSnapshot,
    models.Delivery,
    models.TrackedKey,
    models.NodeListing,
    models.BillingRow,
]


@pytest.mark.parametrize("model", MANY, ids=name_of)
def test_a_list_of_many_rows_takes_no_more_queries_than_one_of_few(
    model: type[Model], rows: Rows, admin_client: Client
) -> None:
    with CaptureQueriesContext(connection) as few:
        admin_client.get(list_url(model))
    first = model._default_manager.filter(pk=rows[model].pk).values().get()
    for number in range(20):
        unique = {"channel": f"channel {number}", "key": f"migo:ruc_{number}", "line": 100 + number}
        if model is not models.BillingRow:
            unique["run_id"] = run_before(number)
        changed = {name: value for name, value in unique.items() if name in first}
        model._default_manager.create(**{**first, **changed, "id": 1000 + number})
    with CaptureQueriesContext(connection) as many:
        response = admin_client.get(list_url(model))
    assert response.text.count("field-") > 60
    assert len(many) == len(few)


def run_before(number: int) -> int:
    return models.TrackRun.objects.create(started_at=timezone.now() - timedelta(days=number + 1)).pk


@pytest.mark.parametrize("model", [model for model in TABLES if model is not models.MaintenanceWindow], ids=name_of)
def test_nobody_can_add_change_or_delete_a_row(model: type[Model], rows: Rows, admin_client: Client) -> None:
    row = rows[model]
    before = model._default_manager.values().get(pk=row.pk)
    assert "addlink" not in admin_client.get(list_url(model)).text
    add = admin_client.post(reverse(f"admin:api_service_{model._meta.model_name}_add"), {})
    change = admin_client.post(page_url(row), dict.fromkeys(before, "9"))
    delete = admin_client.post(
        reverse(f"admin:api_service_{model._meta.model_name}_delete", args=[row.pk]), {"post": "yes"}
    )
    assert [answer.status_code for answer in (add, change, delete)] == [403, 403, 403]
    assert model._default_manager.values().get(pk=row.pk) == before


@pytest.mark.parametrize("model", TABLES, ids=name_of)
def test_a_person_without_the_view_permission_sees_nothing(model: type[Model], rows: Rows, staff: Staff) -> None:
    client = staff()
    assert client.get(list_url(model)).status_code == 403
    assert client.get(page_url(rows[model])).status_code == 403


def test_lists_show_words_sizes_and_ages(rows: Rows, admin_client: Client) -> None:
    spanish = admin_client.get(list_url(models.HealthSample), headers={"accept-language": "es"}).text
    assert re.search(r'<span class="cw-badge cw-bad">con fallas</span>', spanish)
    assert "hace 3\xa0minutos" in spanish
    keys = admin_client.get(list_url(models.TrackedKey), headers={"accept-language": "en"}).text
    assert "1.5\xa0KB" in keys
    assert "in 49\xa0minutes" in keys
    runs = admin_client.get(list_url(models.TrackRun), headers={"accept-language": "en"}).text
    assert "1,234,567" in runs
    assert "1 / 2" in runs


def test_a_health_run_shows_what_changed_since_the_one_before_and_what_was_read_around(
    rows: Rows, admin_client: Client
) -> None:
    sample = admin_client.get(page_url(rows[models.HealthSample]), headers={"accept-language": "en"}).text
    for text in ("0.40 ms, worst 1.6 ms", "62.5 %", ">4.5<", ">0.2<", "9 / 1,024"):
        assert text in sample
    assert "when it is full:&nbsp;noeviction; fragmentation:&nbsp;1.07; role:&nbsp;master" in sample
    lines = "ms: 1.2\nqueues.health.length: 3\nqueues.health.oldest_seconds: –\nreachable: yes"
    assert f"<td>broker</td><td>{lines}</td>" in sample
    assert "<td>workers</td><td>queues: health, warming</td>" in sample


def test_a_finding_says_since_when_or_that_it_does_not_count_yet(rows: Rows, admin_client: Client) -> None:
    seen_once = {"code": "node_slow", "severity": "warning", "node": NODE, "value": 99.0, "limit": 50.0}
    since = (timezone.now() - timedelta(minutes=10)).isoformat()
    findings = [{**seen_once, "since": since, "counts": True}, {**seen_once, "node": DOWN, "counts": False}]
    models.HealthSample.objects.update(findings=findings)
    sample = admin_client.get(page_url(rows[models.HealthSample]), headers={"accept-language": "en"}).text
    assert re.search(r"<td>50</td><td><time [^>]+>10\xa0minutes ago</time></td>", sample)
    assert "<td>50</td><td>does not count yet</td>" in sample
    listed = admin_client.get("/admin/api_service/healthsample/", headers={"accept-language": "en"}).text
    assert f"node is slow {NODE}, node is slow {DOWN} (does not count yet)" in listed


def test_a_reading_that_nobody_sees_is_called_by_its_word(rows: Rows, admin_client: Client) -> None:
    blind = {"code": "reading_blind", "severity": "warning", "node": "tracking", "value": "no answer", "limit": ""}
    models.HealthSample.objects.update(findings=[blind])
    models.Incident.objects.update(code="reading_blind", node="tracking")
    assert "<td>inventarios de claves</td>" in admin_client.get(page_url(rows[models.HealthSample])).text
    for address in ("healthsample", "incident"):
        listed = admin_client.get(f"/admin/api_service/{address}/").text
        assert "el monitor no ve nada ahí inventarios de claves" in listed


def test_a_health_run_shows_what_it_could_not_judge(rows: Rows, admin_client: Client) -> None:
    def page() -> str:
        return admin_client.get(page_url(rows[models.HealthSample]), headers={"accept-language": "en"}).text

    assert "not kept by the version that made this run" in page()
    unknown = [{"code": "hit_ratio_low", "node": node} for node in (NODE, DOWN)]
    unknown += [{"code": "queue_long", "node": "*"}, {"code": "cache_path_broken", "node": ""}]
    unknown += [{"code": "reading_blind", "node": "tracking"}]
    models.HealthSample.objects.update(unknown=unknown)
    text = page()
    assert f"<td>few look-ups are in the cache</td><td>{NODE}, {DOWN}</td>" in text
    assert "<td>many tasks wait</td><td>all</td>" in text
    assert "<td>the application cannot use the cache</td><td>–</td>" in text
    assert "<td>key inventories</td>" in text


def test_json_is_shown_as_tables_and_never_raw(rows: Rows, admin_client: Client) -> None:
    sample = admin_client.get(page_url(rows[models.HealthSample]), headers={"accept-language": "en"}).text
    assert "<td>node does not answer</td><td>10.0.4.12:11211</td><td>refused</td>" in sample
    assert "<td>basic operations</td><td>✅ OK</td>" in sample
    answer = admin_client.get(page_url(rows[models.StoredAnswer])).text
    assert "<td><code>ruc</code></td><td>20100038146</td>" in answer
    for model in (models.HealthSample, models.TrackRun, models.WarmRun, models.Incident, models.Delivery):
        assert "{&#x27;" not in admin_client.get(page_url(rows[model])).text


def test_what_a_provider_sent_cannot_run_in_the_browser(rows: Rows, admin_client: Client) -> None:
    evil = models.StoredAnswer.objects.create(
        service="migo",
        kind="ruc",
        identifier="20131312955",
        data='{"<b>x": "<script>alert(1)</script>"}',
        born_at=timezone.now(),
    )
    page = admin_client.get(page_url(evil)).text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_keys_are_found_by_their_beginning_and_by_a_pasted_ruc(rows: Rows, admin_client: Client) -> None:
    for term in ("migo:ruc_2010", "20100038146", " 2010 "):
        assert "migo:ruc_20100038146" in admin_client.get(list_url(models.TrackedKey), {"q": term}).text
    for term in ("ruc_2010", "20100038147", "MIGO:ruc"):
        assert "migo:ruc_20100038146" not in admin_client.get(list_url(models.TrackedKey), {"q": term}).text


def test_searching_a_key_uses_the_index(rows: Rows, admin_client: Client) -> None:
    """On PostgreSQL the planner prefers a scan of so small a table: there the operator of the index is looked for."""
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(list_url(models.TrackedKey), {"q": "migo:ruc_2010"})
    searches = [query["sql"] for query in queries if "2010" in query["sql"] and "migo" in query["sql"]]
    assert searches
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            plans = [str(cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in searches]
        assert all("SEARCH" in plan and "SCAN api_service" not in plan for plan in plans), plans
    else:
        assert all('"key" >= ' in sql for sql in searches)


def test_a_huge_table_is_counted_to_a_bound_only(
    rows: Rows, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 2)
    models.RunLock.objects.bulk_create(models.RunLock(name=f"lock {n}") for n in range(5))
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(list_url(models.RunLock), headers={"accept-language": "en"}).text
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert "More than 2 run locks" in page
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (models.TrackedKey, {"service": "migo", "node": NODE, "state__exact": "active"}),
        (models.TrackedKey, {"service": "migo", "kind": "ruc", "q": "2010"}),
        (models.TrackedKey, {"service": "migo", "q": "20100038146"}),
        (models.NodeListing, {"node": NODE}),
        (models.ServiceSnapshot, {"service": "migo"}),
        (models.Incident, {"open": "yes"}),
        (models.LookupHour, {"outcome": "hit"}),
        (models.LookupTime, {"way": "cache"}),
        (models.SpendHour, {"purpose": "user"}),
        (models.OperationReads, {"operation__exact": "warm_run"}),
        (models.NodeSample, {"node": NODE}),
        (models.DailyReads, {"q": "20100038146"}),
        (models.StoredAnswer, {"q": "20100038146"}),
    ],
)
def test_a_filter_that_fits_finds_the_row(
    model: type[Model], query: dict[str, str], rows: Rows, admin_client: Client
) -> None:
    assert page_url(rows[model]) in admin_client.get(list_url(model), query).text


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (models.TrackedKey, {"service": "nubefact"}),
        (models.TrackedKey, {"service": "mig"}),
        (models.TrackedKey, {"service": "migo", "kind": "dni"}),
        (models.TrackedKey, {"service": "migo", "kind": "dni", "q": "2010"}),
        (models.TrackedKey, {"service": "nubefact", "q": "20100038146"}),
        (models.Incident, {"open": "no"}),
        (models.LookupHour, {"outcome": "miss"}),
        (models.LookupTime, {"way": "upstream"}),
        (models.DailyReads, {"q": "2010003814"}),
    ],
)
def test_a_filter_that_does_not_fit_finds_nothing(
    model: type[Model], query: dict[str, str], rows: Rows, admin_client: Client
) -> None:
    response = admin_client.get(list_url(model), query)
    assert response.status_code == 200
    assert page_url(rows[model]) not in response.text


def test_the_language_is_switched_in_the_header(rows: Rows, admin_client: Client) -> None:
    url = list_url(models.TrackedKey)
    assert 'action="/i18n/setlang/"' in admin_client.get(url).text
    answer = admin_client.post("/i18n/setlang/", {"language": "en", "next": url})
    assert answer.headers["location"] == url
    assert '<html lang="en"' in admin_client.get(url, headers={"accept-language": "es"}).text


def test_an_active_key_was_last_seen_with_its_node(rows: Rows, admin_client: Client) -> None:
    now = timezone.now()
    models.TrackedKey.objects.update(seen_at=now - timedelta(days=3))
    models.NodeListing.objects.filter(node=NODE).update(listed_at=now - timedelta(minutes=30))
    run = models.TrackRun.objects.create(started_at=now, state="running")
    models.NodeListing.objects.create(run=run, node=NODE, state="failed", listed_at=now - timedelta(minutes=1))
    row = rows[models.TrackedKey]

    def seen() -> set[str]:
        pages = [
            admin_client.get(url, headers={"accept-language": "en"}).text
            for url in (list_url(type(row)), page_url(row))
        ]
        return {text.replace("\xa0", " ") for page in pages for text in re.findall(r"(?:30.minutes|3.days) ago", page)}

    assert seen() == {"30 minutes ago"}
    models.TrackedKey.objects.update(state="expired")
    assert seen() == {"3 days ago"}


def test_kinds_are_offered_for_a_chosen_service(rows: Rows, admin_client: Client) -> None:
    url = list_url(models.TrackedKey)
    assert "kind=ruc" not in admin_client.get(url).text
    assert "kind=ruc" in admin_client.get(url, {"service": "migo"}).text


def test_nodes_are_offered_while_their_inventory_is_under_way(rows: Rows, admin_client: Client) -> None:
    run = models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    models.NodeListing.objects.create(run=run, node=NODE)
    assert f"node={NODE.replace(':', '%3A')}" in admin_client.get(list_url(models.TrackedKey)).text


def test_the_time_that_keys_have_left_is_a_table_from_short_to_long(rows: Rows, admin_client: Client) -> None:
    page = admin_client.get(page_url(rows[models.ServiceSnapshot]), headers={"accept-language": "en"}).text
    found = re.findall(r"<td>([^<]+)</td><td>(\d+)</td><td>([\d.]+ %)</td>", page)
    assert found == [("1 hour", "9", "90.0 %"), ("without end", "1", "10.0 %")]


def test_what_was_paid_before_the_last_minute_is_not_of_it(admin_client: Client) -> None:
    now = int(time())
    models.RateWindow.objects.create(service="migo", taken={str(now - 300): 7, str(now - 1): 41})
    text = admin_client.get(list_url(models.RateWindow)).content.decode()
    assert ">41<" in text
    assert ">48<" not in text


def test_an_inventory_shows_each_node_and_each_service(rows: Rows, admin_client: Client) -> None:
    page = admin_client.get(page_url(rows[models.TrackRun]), headers={"accept-language": "en"}).text
    assert re.search(rf"{NODE}.*?done.*?1,234,567.*?migo:&nbsp;1,234,567", page, re.DOTALL)
    assert re.search(rf"{DOWN}.*?failed.*?connection refused", page, re.DOTALL)
    assert "2 (25.0 %)" in page
    models.NodeListing.objects.all().delete()
    old = admin_client.get(page_url(rows[models.TrackRun]), headers={"accept-language": "en"}).text
    assert re.search(rf"<td>{DOWN}</td>.*?not listed.*?refused", old, re.DOTALL)


def test_a_refill_shows_what_it_brought(rows: Rows, admin_client: Client) -> None:
    listed = admin_client.get(list_url(models.RefillRun), headers={"accept-language": "en"}).text
    assert "93.0 % → 50.0 % → –" in listed
    page = admin_client.get(page_url(rows[models.RefillRun]), headers={"accept-language": "en"}).text
    assert "<td>during</td><td>50.0 %</td>" in page
    assert "1,188" in page


def test_a_copy_shows_what_was_left_out_and_why(rows: Rows, admin_client: Client) -> None:
    page = admin_client.get(page_url(rows[models.CopyRun]), headers={"accept-language": "en"}).text
    assert "expired meanwhile:&nbsp;7" in page
    assert "4,990 / 5,000" in page
