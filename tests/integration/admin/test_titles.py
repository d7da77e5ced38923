"""What the pages of rows are called: words in the reader's language, never the codes that are stored."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import Group
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
