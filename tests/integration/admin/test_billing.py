"""A billing run from the admin: uploaded, its cost confirmed, watched, stopped, resumed, its result taken away."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from openpyxl import load_workbook

from api_service.models import BillingRow, BillingRun
from api_service.services.migo_service import MigoAPIService
from tests.integration.admin.conftest import Sent, Staff
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, known_rucs, migo, sandbox, sandbox_server
from tests.sandbox_fixture import RunningSandbox
from workers import tasks

__all__ = ["migo", "sandbox", "sandbox_server"]

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/api_service/billingrun/"
ROWS = "/admin/api_service/billingrow/"
EN = {"accept-language": "en"}
RELOADS = 'data-live="3"'
HOSTILE = "=cmd|' /C calc'!A0"


def upload(client: Client, *lines: str, name: str = "clientes.csv") -> Any:
    file = SimpleUploadedFile(name, "\n".join(["RUC", *lines]).encode())
    return client.post(f"{LIST}run/", {"file": file}, headers=EN)


def page_of(client: Client, run: BillingRun, language: str = "en") -> str:
    return client.get(f"{LIST}{run.pk}/change/", headers={"accept-language": language}).text


def work(sent: Sent) -> None:
    """What a worker does with the next message."""
    name, kwargs = sent("tracking") or ("", {})
    getattr(tasks, name.rpartition(".")[2])(**kwargs)


def test_from_the_upload_to_the_result(
    admin_client: Client, sent: Sent, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    assert 'enctype="multipart/form-data"' in admin_client.get(f"{LIST}run/", headers=EN).text
    migo.consultar_ruc(RUC)
    answer = upload(admin_client, RUC, IMPOSSIBLE, SUNAT, HOSTILE)
    run = BillingRun.objects.get()
    assert answer.headers["location"] == f"{LIST}{run.pk}/change/"
    page = page_of(admin_client, run)
    assert "Nothing was paid yet. As it was counted, 1 query will be paid for." in page
    assert 'name="budget" type="number" min="0" max="1000000" value="1"' in page
    assert (run.requested_by, run.state, sandbox.billed, sent("tracking")) == ("admin", "planned", 1, None)
    assert RELOADS not in page
    assert "Download" not in page

    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": "1"})
    assert RELOADS in page_of(admin_client, run)
    work(sent)
    run.refresh_from_db()
    assert (run.state, run.checked, run.paid, sandbox.billed) == ("done", 4, 1, 2)
    page = page_of(admin_client, run)
    assert RELOADS not in page
    assert "<td>No such RUC can exist: look for a digit that is wrong.</td><td>2</td>" in page
    for text in ("Cancel the run", "Resume", "Begin<"):
        assert text not in page
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(run.pk)] * 2


def test_the_result_is_taken_away_in_the_language_of_the_page(
    admin_client: Client, sent: Sent, migo: MigoAPIService
) -> None:
    upload(admin_client, RUC, HOSTILE, name='../clientes "ñ"\r\n.csv')
    run = BillingRun.objects.get()
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": ""})
    work(sent)
    answer = admin_client.get(f"{LIST}{run.pk}/result.csv", headers={"accept-language": "es"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="clientes')
    assert answer.headers["content-disposition"].endswith(f'-{run.pk}.csv"')
    text = answer.content.decode("utf-8-sig")
    assert f"2;{RUC};sí;" in text
    assert f"3;'{HOSTILE};no;" in text
    sheet = load_workbook(BytesIO(admin_client.get(f"{LIST}{run.pk}/result.xlsx", headers=EN).content)).worksheets[0]
    assert [cell.value for cell in sheet["C"]] == ["Fit for invoicing", "yes", "no"]
    assert admin_client.get(f"{LIST}{run.pk}/result.pdf").status_code == 404


def test_a_budget_that_is_used_up_is_told_and_raised(
    admin_client: Client, sent: Sent, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    upload(admin_client, *known_rucs(12))
    run = BillingRun.objects.get()
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": "5"})
    work(sent)
    page = page_of(admin_client, run)
    assert "A limit of paid queries is reached" in page
    assert "5 / 12" in page
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": "-1"})
    assert sent("tracking") is None
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": "12"})
    work(sent)
    run.refresh_from_db()
    assert (run.state, sandbox.billed) == ("done", 12)
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": "99"})
    assert sent("tracking") is None


def test_a_run_is_cancelled_and_its_message_does_nothing(
    admin_client: Client, sent: Sent, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    upload(admin_client, RUC)
    run = BillingRun.objects.get()
    admin_client.post(f"{LIST}{run.pk}/begin/", {"budget": ""})
    admin_client.post(f"{LIST}{run.pk}/cancel/")
    work(sent)
    run.refresh_from_db()
    assert (run.state, sandbox.billed) == ("cancelled", 0)
    assert "Resume" in page_of(admin_client, run)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"nombre\nuno\n", b"PK\x03\x04 broken", b"1" * 5_000_001])
def test_a_file_that_cannot_be_used_is_told_and_nothing_is_kept(
    content: bytes, admin_client: Client, migo: MigoAPIService
) -> None:
    page = admin_client.post(f"{LIST}run/", {"file": SimpleUploadedFile("x.csv", content)}, headers=EN)
    assert page.status_code == 200
    assert "errorlist" in page.text
    assert (BillingRun.objects.count(), BillingRow.objects.count()) == (0, 0)


def test_who_may_only_look_takes_the_result_and_starts_nothing(
    staff: Staff, admin_client: Client, sent: Sent, migo: MigoAPIService
) -> None:
    upload(admin_client, RUC)
    run = BillingRun.objects.get()
    client = staff("view_billingrun")
    page = page_of(client, run)
    assert "Begin" not in page
    assert "Cancel the run" not in page
    for url in (f"{LIST}run/", f"{LIST}{run.pk}/begin/", f"{LIST}{run.pk}/cancel/"):
        assert client.post(url, {}).status_code == 403
    assert client.get(f"{LIST}{run.pk}/result.csv").status_code == 200
    for action in ("begin", "cancel"):
        assert admin_client.get(f"{LIST}{run.pk}/{action}/").status_code == 405
        assert admin_client.post(f"{LIST}{run.pk + 1}/{action}/").status_code == 404


def test_who_may_not_look_takes_nothing(staff: Staff, admin_client: Client, migo: MigoAPIService) -> None:
    upload(admin_client, RUC)
    client = staff()
    for form in (".csv", ".xlsx"):
        assert client.get(f"{LIST}{BillingRun.objects.get().pk}/result{form}").status_code == 403


def test_all_lines_of_a_run_are_a_list_page_by_page_in_the_order_of_the_file(
    admin_client: Client, migo: MigoAPIService
) -> None:
    upload(admin_client, SUNAT)
    upload(admin_client, *known_rucs(60), name="otra.csv")
    run = BillingRun.objects.get(file_name="otra.csv")
    assert f'href="{ROWS}?run__id__exact={run.pk}"' in page_of(admin_client, run)
    page = admin_client.get(ROWS, {"run__id__exact": run.pk}).text
    found = [ruc for ruc in known_rucs(60) if ruc in page]
    assert found == known_rucs(50)
    assert SUNAT not in page
    assert known_rucs(60)[-1] in admin_client.get(ROWS, {"run__id__exact": run.pk, "p": 2}).text
