"""The frame of every page: sidebar, tabs, where one is, which deployment it is, language."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from api_service import models
from api_service.admin.base import BoundedPaginator
from api_service.admin.navigation import GROUPS, models_of
from myproject.unfold import environment_tone, unfold_config
from tests.integration.admin.conftest import NODE, Rows, Staff

KEYS = "/admin/api_service/trackedkey/"
SNAPSHOTS = "/admin/api_service/servicesnapshot/"


def sidebar(page: str) -> str:
    return page.partition('id="nav-sidebar-apps"')[2].partition("<details")[0]


def tabs(page: str) -> str:
    return page.partition('<nav class="cw-tabs')[2].partition("</nav>")[0]


def links(part: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', part)


def test_every_table_of_the_admin_has_its_place_in_the_sidebar_once() -> None:
    placed = [model for _title, entries in GROUPS for entry in entries for model in models_of(entry)]
    assert set(placed) == set(admin.site._registry)
    assert len(placed) == len(set(placed))


def test_a_person_sees_the_entries_that_the_permissions_open(rows: Rows, staff: Staff) -> None:
    page = staff("view_trackedkey", "view_clearrun").get(KEYS, headers={"accept-language": "en"}).text
    assert links(sidebar(page)) == ["/admin/", KEYS, "/admin/api_service/clearrun/"]
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", sidebar(page)) == ["RUCs and keys", "Runs"]
    assert tabs(page) == ""


def test_an_entry_leads_to_the_first_of_its_tables_that_one_may_see(rows: Rows, staff: Staff) -> None:
    page = staff("view_servicesnapshot").get(SNAPSHOTS).text
    assert links(sidebar(page)) == ["/admin/", SNAPSHOTS]


def test_who_may_change_a_table_finds_it(rows: Rows, staff: Staff) -> None:
    page = staff("change_incident").get("/admin/").text
    assert "/admin/api_service/incident/" in links(sidebar(page))


def test_single_rucs_are_found_in_the_sidebar_by_who_may_see_answers(rows: Rows, staff: Staff) -> None:
    search = reverse("ruc:search")
    page = staff("view_storedanswer").get(search).text
    assert links(sidebar(page))[:2] == ["/admin/", search]
    assert re.findall(r'<a href="([^"]+)"[^>]* aria-current="page"', sidebar(page)) == [search]


@pytest.mark.parametrize("url", [KEYS, SNAPSHOTS, "{row}"])
def test_the_sidebar_says_where_one_is(url: str, rows: Rows, admin_client: Client) -> None:
    page = admin_client.get(url.format(row=f"{KEYS}{rows[models.TrackedKey].pk}/change/")).text
    current = re.findall(r'<a href="([^"]+)"[^>]* aria-current="page"', sidebar(page))
    assert current == [KEYS]


def test_tables_of_one_subject_are_tabs_of_each_other(rows: Rows, admin_client: Client) -> None:
    for url in (KEYS, SNAPSHOTS):
        part = tabs(admin_client.get(url).text)
        assert links(part) == [KEYS, SNAPSHOTS]
        assert re.findall(r'<a href="([^"]+)" aria-current="page"', part) == [url]
    assert tabs(admin_client.get("/admin/api_service/clearrun/").text) == ""


def test_landmarks_name_the_parts_of_a_page(rows: Rows, admin_client: Client) -> None:
    page = admin_client.get(KEYS, headers={"accept-language": "en"}).text
    assert [page.count(f"<{tag}") for tag in ("header>", "main ", 'nav id="nav-sidebar-inner"')] == [1, 1, 1]
    assert page.index('href="#content"') < page.index("<nav") < page.index("<main") < page.index('id="content"')
    assert "<main>" in Client().get("/admin/login/").text


@pytest.mark.parametrize(
    ("language", "name"), [("es", "Añadir ventana de mantenimiento"), ("en", "Add maintenance window")]
)
def test_the_link_that_adds_a_row_is_read_by_its_name_and_not_by_that_of_its_icon(
    rows: Rows, admin_client: Client, language: str, name: str
) -> None:
    page = admin_client.get("/admin/api_service/maintenancewindow/", headers={"accept-language": language}).text
    link = re.search(r'<a [^>]*class="addlink.*?</a>', page, re.DOTALL)
    assert link is not None
    assert f'aria-label="{name}"' in link[0]
    assert re.sub(r'<span [^>]*aria-hidden="true">add</span>', "", link[0]).partition(">")[2] == "</a>"


@pytest.mark.parametrize(
    ("label", "tone"), [("Producción", "danger"), ("production", "danger"), ("Pruebas", "info"), ("staging", "info")]
)
def test_a_page_says_which_deployment_it_is(
    label: str, tone: str, rows: Rows, admin_client: Client, settings: Any
) -> None:
    assert environment_tone(label) == tone
    settings.UNFOLD = unfold_config(label)
    head = admin_client.get(KEYS).text.partition("<header>")[2].partition("</header>")[0]
    colour = {"danger": "bg-red-100", "info": "bg-blue-100"}[tone]
    assert re.search(rf'<span class="[^"]*{colour}[^"]*"[^>]*>\s*{label}\s*</span>', head)


def test_without_a_label_none_is_shown(rows: Rows, admin_client: Client, settings: Any) -> None:
    settings.UNFOLD = unfold_config("")
    head = admin_client.get(KEYS).text.partition("<header>")[2].partition("</header>")[0]
    assert "<h1" in head
    assert "bg-red-100" not in head
    assert "bg-blue-100" not in head


def test_results_are_counted_where_something_was_asked_for(
    rows: Rows, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def head(**query: str) -> str:
        page = admin_client.get(KEYS, query, headers={"accept-language": "en"}).text
        return " ".join(page.partition("<header>")[2].partition("</header>")[0].split())

    assert "Show all" not in head()
    assert '1 result (<a href="?">Show all</a>)' in head(service="migo")
    assert '1 result (<a href="?">Show all</a>)' in head(q="20100038146")
    first = models.TrackedKey.objects.values().get()
    models.TrackedKey.objects.create(**{**first, "id": first["id"] + 1, "node": "other"})
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 1)
    assert "more than 1 results (" in head(service="migo")


def test_the_language_is_switched_without_a_script_and_leads_back(rows: Rows, admin_client: Client) -> None:
    asked = f"{KEYS}?node={NODE}&service=migo"
    page = admin_client.get(asked, headers={"accept-language": "es"}).text
    forms = re.findall(r'<form action="/i18n/setlang/" method="post".*?</form>', page, re.DOTALL)
    assert [re.findall(r'lang="(\w+)"', form) for form in forms] == [["es"], ["en"]]
    back = re.findall(r'name="next" type="hidden" value="([^"]+)"', forms[1])[0].replace("&amp;", "&")
    assert back == asked
    answer = admin_client.post("/i18n/setlang/", {"language": "en", "next": back})
    assert (answer.status_code, answer.headers["location"]) == (302, asked)
    assert '<html lang="en"' in admin_client.get(asked, headers={"accept-language": "es"}).text
