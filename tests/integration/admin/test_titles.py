"""What the pages of rows are called: words in the reader's language, never the codes that are stored."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from api_service.admin import words
from api_service.models import TrackedKey
from api_service.services.errors import UpstreamError
from tests.integration.admin.conftest import Rows

CODES = {*words.INCIDENTS, *words.OUTCOMES, *words.PURPOSES, *words.ROLES, "answered", "refreshing"}
CODES |= {kind.code for kind in UpstreamError.__subclasses__()}


def titles(client: Client, row: Any) -> str:
    """Of the browser's tab and of the page's head."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    page = client.get(url, headers={"accept-language": "es"}).text
    found = [page[page.index(f"<{tag}") : page.index(f"</{tag}>")] for tag in ("title", "h1")]
    return re.sub(r"<[^>]+>", " ", " ".join(found))


def test_no_page_is_called_by_a_code(rows: Rows, admin_client: Client) -> None:
    shown = [*rows.values(), *Group.objects.all()]
    found = {
        title: codes for row in shown if (codes := CODES & set(re.findall(r"\w+", title := titles(admin_client, row))))
    }
    assert len(shown) > 30
    assert found == {}


def test_a_row_whose_table_has_no_other_name_for_it_is_called_as_its_model_says(
    rows: Rows, admin_client: Client
) -> None:
    row = rows[TrackedKey]
    assert str(row) in titles(admin_client, row)


@pytest.mark.parametrize(("table", "label"), [("storedanswer", "Identificador"), ("trackedkey", "Clave")])
def test_on_a_phone_the_first_cell_of_a_row_that_is_not_chosen_has_the_name_of_its_column(
    rows: Rows, admin_client: Client, table: str, label: str
) -> None:
    page = admin_client.get(f"/admin/api_service/{table}/", headers={"accept-language": "es"}).text
    labels = re.findall(r'data-label="([^"]+)"', page)
    assert labels[0] == label
    assert "Seleccionar fila" not in labels
    # Each begins with a capital, whoever named the column; none is all capitals but for what is an abbreviation
    assert [one for one in labels if one[0].islower()] == []


def test_a_no_is_told_by_a_word_and_is_not_in_the_colour_of_a_failure(rows: Rows, admin_client: Client) -> None:
    page = admin_client.get("/admin/api_service/clearrun/", headers={"accept-language": "en"}).text
    icon = '<span class="material-symbols-outlined" aria-hidden="true">close_small</span>'
    assert f'<span class="cw-yes-no cw-quiet">{icon}<span class="cw-spoken">No</span></span>' in page


def test_the_name_of_an_account_is_not_changed(rows: Rows, admin_client: Client) -> None:
    assert re.search(r"\badmin\b", titles(admin_client, User.objects.get(username="admin")))
