"""Tokens of the API: made by who may, shown once, revoked for good."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from api_service.models import ApiToken
from api_service.services import api_tokens
from tests.integration.admin.conftest import Rows, Staff

LIST = "/admin/api_service/apitoken/"
MAKE = f"{LIST}run/"
SAID = {"name": "invoicing", "scopes": ["lookup"], "days": "30", "per_minute": "60"}
TOKEN = re.compile(r"cw_[a-z2-9]{8}_[\w-]{43}")


def test_a_token_is_shown_once_and_opens_what_was_ticked(staff: Staff) -> None:
    client = staff("add_apitoken", "view_apitoken")
    page = client.post(MAKE, SAID)
    (text,) = set(TOKEN.findall(page.text))
    assert "no-store" in page.headers["Cache-Control"]
    grant = api_tokens.recognise(text, timezone.now())
    assert grant is not None
    assert (set(grant.scopes), grant.per_minute) == ({"lookup"}, 60)
    row = ApiToken.objects.get()
    assert row.created_by == "mirona"
    assert 29 <= (row.expires_at - timezone.now()).days <= 30 if row.expires_at else False
    for url in (LIST, f"{LIST}{row.pk}/change/"):
        shown = client.get(url).text
        assert row.prefix in shown
        assert not TOKEN.search(shown)
        assert row.digest not in shown
    assert not any(text in str(entry.__dict__) for entry in LogEntry.objects.all())
    assert text not in str(client.cookies)


@pytest.mark.parametrize(
    "wrong", [{"scopes": []}, {"scopes": ["everything"]}, {"name": " "}, {"days": "0"}, {"per_minute": "-1"}]
)
def test_what_is_not_understood_makes_none(staff: Staff, wrong: dict[str, object]) -> None:
    page = staff("add_apitoken").post(MAKE, {**SAID, **wrong})
    assert page.status_code == 200
    assert "errorlist" in page.text
    assert ApiToken.objects.count() == 0


def test_who_lacks_the_permission_makes_and_revokes_none(staff: Staff, rows: Rows) -> None:
    client, row = staff("view_apitoken"), rows[ApiToken]
    assert client.post(MAKE, SAID).status_code == 403
    assert client.post(f"{LIST}{row.pk}/revoke/").status_code == 403
    assert "revoke/" not in client.get(f"{LIST}{row.pk}/change/").text
    assert list(ApiToken.objects.values_list("revoked_at", flat=True)) == [None]


def test_a_token_is_revoked_by_name_and_for_good(staff: Staff, rows: Rows) -> None:
    client, row = staff("change_apitoken", "view_apitoken"), rows[ApiToken]
    url = f"{LIST}{row.pk}/revoke/"
    assert client.get(url).status_code == 405
    assert url in client.get(f"{LIST}{row.pk}/change/").text
    assert client.post(url, follow=True).status_code == 200
    row.refresh_from_db()
    assert row.revoked_by == "mirona"
    first = row.revoked_at
    client.post(url)
    row.refresh_from_db()
    assert row.revoked_at == first
    assert url not in client.get(f"{LIST}{row.pk}/change/").text


def test_another_site_makes_no_token_with_somebodys_login(staff: Staff) -> None:
    client = staff("add_apitoken")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(MAKE, SAID).status_code == 403
    assert ApiToken.objects.count() == 0
