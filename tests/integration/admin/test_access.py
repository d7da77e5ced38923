"""Every address of the site, for everybody, by GET and by POST: let in, or told why not, as `access.py` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.contenttypes.models import ContentType
from django.template.response import SimpleTemplateResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from pytest_django import Settings

from api_service.services import role_groups
from api_service.services.roles import Role
from tests.integration.admin.access import ACTIONS, PAGES, TABLES, Door, Page, Who, all_pages, label_of
from tests.integration.admin.conftest import Rows, Sent

PEOPLE = [who for who in Who if who is not Who.NOBODY]
TO_LOGIN = frozenset({302})
# It ends the session that the others need
LAST = "admin/logout/"


# -- all addresses


def routes(resolver: URLResolver | None = None, before: str = "") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, route)
        elif isinstance(pattern, URLPattern):
            # The pattern names the apps that there are
            yield re.sub(r"\^\(\?P<app_label>[\w|]+\)/\$$", "<app_label>/", route)


def test_every_address_has_a_line_in_the_table_and_every_line_an_address() -> None:
    there, declared = set(routes()), set(all_pages())
    assert sorted(there - declared) == []
    assert sorted(declared - there) == []


def test_every_table_of_the_admin_has_a_line() -> None:
    assert {label_of(name) for name in TABLES} == {model._meta.label_lower for model in admin.site._registry}


# -- where to


@pytest.fixture
def all_rows(rows: Rows) -> dict[str, Any]:
    """A row of each table by its label."""
    crontab, somebody = CrontabSchedule.objects.create(), User.objects.create_user("somebody")
    others = [
        crontab,
        IntervalSchedule.objects.create(every=1, period="hours"),
        ClockedSchedule.objects.create(clocked_time=timezone.now()),
        SolarSchedule.objects.create(event="sunrise", latitude=-12, longitude=-77),
        PeriodicTask.objects.create(name="check", task="workers.tasks.monitor_cache_health", crontab=crontab),
        somebody,
        LogEntry.objects.create(user=somebody, object_repr="RUC 20100038146", action_flag=CHANGE),
        Group.objects.create(name="accounting"),
    ]
    return {row._meta.label_lower: row for row in [*rows.values(), *others]}


def address(route: str, all_rows: dict[str, Any]) -> str:
    """The route with a row that there is, and else with something that fits."""
    table = re.match(r"admin/(\w+)/(\w+)/", route)
    row = all_rows.get(".".join(table.groups())) if table else None
    values = {"app_label": "api_service", "form": ".csv", "ruc": "20100038146", "dni": "12345678", "day": "2026-01-28"}
    values |= {"id": str(row.pk) if row else "1", "number": str(all_rows["api_service.clearrun"].pk), "url": "nothing"}
    values |= {"act": "refresh"}
    values |= {"object_id": values["id"], "content_type_id": str(ContentType.objects.get_for_model(User).pk)}
    filled = re.sub(r"\(\?P<(\w+)>(?:[^()]|\[[^]]*\])*\)", lambda found: values[found[1]], route)
    filled = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], filled)
    return "/" + filled.replace("^", "").replace("/?$", "").replace("$", "")


# -- who


def person(who: Who) -> User | None:
    if who is Who.ANYBODY:
        return None
    user = User.objects.create_user("mirona", is_staff=who >= Who.STAFF)
    if who > Who.STAFF:
        role_groups.give(user, Role(who.name.lower()))
    return user


def client_of(who: Who) -> Client:
    client = Client()
    if (user := person(who)) is not None:
        client.force_login(user)
    return client


# -- what becomes of it


def expected(page: Page, method: str, who: Who) -> frozenset[int] | set[int]:
    needed = page.get if method == "GET" else page.post
    if page.door is Door.TOKEN:
        return {401, 405}
    if needed is None and page.door is not Door.ADMIN:
        return {405}
    least = needed if needed is not None else min(one for one in (page.get, page.post) if one is not None)
    if who >= least:
        return page.ends if needed is not None else {405}
    if page.door is Door.FORBIDDEN:
        return {403}
    if page.door is Door.SESSION:
        return {401} if who is Who.ANYBODY else {403}
    return {403} if who >= Who.STAFF else TO_LOGIN


def is_login(response: Any, route: str) -> bool:
    """Who logs out without a login is sent to the front page, and from there to the login."""
    where = urlsplit(response.headers.get("Location", "")).path
    return response.status_code == 302 and where in {"/admin/login/", "/admin/" if route == LAST else ""}


@pytest.fixture
def _settings(settings: Settings, sent: Sent) -> None:
    """Doors that are open, and queues of its own."""
    settings.METRICS_TOKEN = settings.OPERATIONS_TOKEN = "a-token-0123456789"


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("who", PEOPLE, ids=lambda who: who.name.lower())
def test_each_is_let_in_where_the_table_says_and_nowhere_else(
    who: Who, method: str, all_rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (who, method) != (Who.VIEWER, "GET"):
        # Who is let in is settled before a page is drawn, which is most of its time: once is enough
        monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")
    client, wrong = client_of(who), []
    for route, page in sorted(all_pages().items(), key=lambda item: item[0] == LAST):
        response = client.generic(method, address(route, all_rows), content_type="application/x-www-form-urlencoded")
        may = expected(page, method, who)
        told_to_log_in = is_login(response, route)
        if response.status_code not in may or told_to_log_in is not (may == TO_LOGIN):
            wrong.append((route, response.status_code, sorted(may)))
    assert wrong == []


@pytest.mark.usefixtures("_settings")
def test_every_post_of_a_login_has_to_show_that_it_comes_from_here(all_rows: dict[str, Any], admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    open_to_foreign_pages, checked = [], 0
    for route, page in all_pages().items():
        if page.door is Door.TOKEN or page.post in {None, Who.ANYBODY}:
            continue
        checked += 1
        response = client.post(address(route, all_rows))
        if response.status_code != 403:
            open_to_foreign_pages.append((route, response.status_code))
    assert open_to_foreign_pages == []
    assert checked > 250


def test_a_foreign_page_cannot_log_anybody_in(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/admin/login/", {"username": "mirona", "password": "x"}).status_code == 403


# -- what may be done to the rows of a list


@pytest.mark.django_db
@pytest.mark.parametrize("who", [who for who in PEOPLE if who > Who.STAFF], ids=lambda who: who.name.lower())
def test_lists_offer_what_the_role_may_do(who: Who) -> None:
    request = RequestFactory().get("/admin/")
    request.user = person(who) or AnonymousUser()
    offered, declared = {}, {}
    for model, model_admin in admin.site._registry.items():
        label = model._meta.label_lower
        offered[label] = set(model_admin.get_actions(request))
    for name, table in TABLES.items():
        acts = {**ACTIONS.get(name, {}), "delete_selected": table.delete}
        declared[label_of(name)] = {act for act, least in acts.items() if who >= least}
    assert offered == declared


def test_every_action_of_the_table_exists_and_no_other(admin_user: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = admin_user
    declared = {label_of(name): set(acts) for name, acts in ACTIONS.items()}
    there = {
        model._meta.label_lower: set(model_admin.get_actions(request)) - {"delete_selected"}
        for model, model_admin in admin.site._registry.items()
    }
    assert {label: names for label, names in there.items() if names} == declared


def test_the_table_of_access_knows_no_table_that_is_gone() -> None:
    assert [name for name in (*TABLES, *ACTIONS) if not apps.get_model(label_of(name))] == []
    assert all(isinstance(page, Page) for page in PAGES.values())
