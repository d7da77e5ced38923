"""Billing runs on a real cache, the database and the sandbox: what is asked, what is paid, what survives."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from django.utils import timezone, translation
from openpyxl import load_workbook
from pytest_django.fixtures import Settings

from api_service.models import BillingRow, BillingRun, RunLock, SpendHour, StoredAnswer
from api_service.services import billing_export, billing_runs, billing_upload, retention
from api_service.services.billing_runs import BillingSummary, BillingUnderWay
from api_service.services.cache_service import APICacheService
from api_service.services.locks import run_lock
from api_service.services.migo_service import MigoAPIService
from tests.integration.services.conftest import RunPython, url_of
from tests.integration.services.warm_runs import asked_for
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from workers import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _vendor(vendor: RunningSandbox, cache: APICacheService, settings: Settings) -> None:
    settings.MIGO_ATTEMPTS = 1


def planned(rucs: list[str], budget: int | None = None) -> BillingRun:
    content = "\n".join(["RUC", *rucs]).encode()
    return billing_runs.plan(
        billing_upload.read(content), file_name="clientes.csv", via="command", requested_by="mirona", budget=budget
    )


def worked(run: BillingRun, budget: int | None = None) -> BillingSummary:
    assert billing_runs.release(run, budget)
    return billing_runs.carry_out(run)


def ledger() -> int:
    return sum(SpendHour.objects.values_list("queries", flat=True))


def test_a_list_is_counted_for_nothing_and_then_checked_cache_first(vendor: RunningSandbox) -> None:
    MigoAPIService().consultar_ruc_masivo(REAL[:2])
    before = vendor.billed
    run = planned([*REAL, REAL[0], "20123456789", ""])
    assert (run.lines, run.distinct, run.cached, run.stored, run.to_pay) == (8, 6, 2, 0, 4)
    assert (run.state, vendor.billed, run.checked, run.unfit) == ("planned", before, 1, 1)

    summary = worked(run)
    assert (summary["state"], summary["checked"], summary["paid"]) == ("done", 8, 4)
    assert vendor.billed - before == 4
    assert (summary["fit"], summary["unfit"], summary["reasons"]) == (7, 1, {"malformed": 1})
    rows = list(BillingRow.objects.order_by("line").values_list("ruc", "fit", "source"))
    assert rows[0] == (REAL[0], True, "cache")
    assert rows[3] == (REAL[3], True, "upstream")
    assert rows[6] == rows[0]
    assert rows[7] == ("", False, "validation")


def test_250_lines_with_duplicates_wrong_digits_and_unknown_ones(vendor: RunningSandbox) -> None:
    vendor.switch(unknown_share=0.3)
    distinct = valid_rucs(220)
    run = planned([*distinct, *distinct[:20], *["20123456789"] * 10])
    summary = worked(run)
    assert (summary["state"], summary["lines"], summary["checked"]) == ("done", 250, 250)
    assert (summary["paid"], vendor.billed, ledger()) == (220, 220, 220)
    assert max(Counter(asked_for(vendor)).values()) == 1
    assert summary["reasons"]["malformed"] == 10
    assert 20 < summary["reasons"]["not_found"] < 120
    assert summary["fit"] + summary["unfit"] == 250
    for row in BillingRow.objects.exclude(ruc=""):
        said = MigoAPIService().validar_ruc_para_facturacion(row.ruc)
        assert (row.fit, row.reasons) == (said["valid"], [error["code"] for error in said["errors"]])
        assert row.warnings == [remark["code"] for remark in said["warnings"]]


def test_the_budget_is_never_exceeded_and_the_run_goes_on_with_a_larger_one(vendor: RunningSandbox) -> None:
    rucs = valid_rucs(150)
    MigoAPIService().consultar_ruc_masivo(rucs[100:])
    before = vendor.billed
    run = planned(rucs)
    summary = worked(run, budget=30)
    assert (summary["state"], summary["paid"], vendor.billed - before) == ("paused", 30, 30)
    # What costs nothing was not kept back
    assert summary["checked"] == 80
    assert worked(run, budget=30)["state"] == "paused"
    assert vendor.billed - before == 30
    summary = worked(run, budget=100)
    assert (summary["state"], summary["checked"], summary["paid"]) == ("done", 150, 100)
    assert vendor.billed - before == 100


def test_retries_are_paid_within_the_budget_too(vendor: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_ATTEMPTS = 3
    from api_service.services.providers import provider

    provider.cache_clear()
    vendor.switch(script=["500"] * 9)
    run = planned(valid_rucs(10))
    summary = worked(run, budget=15)
    assert summary["paid"] <= 15
    assert ledger() == summary["paid"]


def test_a_cap_of_the_day_pauses_it_and_a_full_minute_only_delays_it(
    vendor: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_MAX_PER_DAY = 40
    run = planned(valid_rucs(60))
    summary = worked(run)
    assert (summary["state"], summary["retry_after"]) == ("paused", None)
    assert vendor.billed <= 40
    settings.MIGO_MAX_PER_DAY, settings.MIGO_MAX_PER_MINUTE, settings.MIGO_DEADLINE = 0, 20, 0.1
    summary = worked(run)
    assert (summary["state"], BillingRun.objects.get().state) == ("waiting", "waiting")
    assert summary["retry_after"] is not None
    assert summary["retry_after"] >= 1


def test_an_outage_fails_the_run_and_resuming_asks_only_for_what_is_missing(vendor: RunningSandbox) -> None:
    rucs = valid_rucs(150)
    vendor.switch(script=["ok", "500"])
    run = planned(rucs)
    summary = worked(run)
    assert (summary["state"], summary["checked"], summary["failed"]) == ("failed", 100, 50)
    assert summary["error"].startswith("upstream_server_error")
    assert set(BillingRow.objects.filter(fit=None).values_list("state", flat=True)) == {"failed"}
    billed = vendor.billed
    summary = worked(run)
    assert (summary["state"], summary["checked"], summary["failed"]) == ("done", 150, 0)
    assert vendor.billed - billed == 50


def test_an_old_answer_is_not_good_enough_to_invoice_by(vendor: RunningSandbox) -> None:
    MigoAPIService().consultar_ruc(REAL[0])
    data = APICacheService().get(f"migo:ruc_{REAL[0]}")
    StoredAnswer.objects.all().delete()
    APICacheService().set(f"migo:ruc_{REAL[0]}", data, 0.001, stale=900)
    assert worked(planned([REAL[0]]))["paid"] == 1


WORK = """
import time
from api_service.models import BillingRun
from api_service.services import billing_runs, billing_work
real = billing_work.Work._write

def write(work, found, paid):
    if work._run.checked >= 200:
        print("paid and not written", flush=True)
        time.sleep(120)
    real(work, found, paid)

billing_work.Work._write = write
billing_runs.carry_out(BillingRun.objects.get())
"""


def test_killed_amid_a_batch_it_goes_on_and_pays_for_nothing_twice(
    vendor: RunningSandbox, memcached: Memcached, run_python: RunPython, settings: Settings
) -> None:
    run = planned(valid_rucs(400))
    billing_runs.release(run, 400)
    process = run_python(
        WORK,
        CACHE_URL=url_of(memcached),
        MIGO_BASE_URL=settings.MIGO_BASE_URL,
        MIGO_API_VERSION="v1",
        MIGO_TOKEN=settings.MIGO_TOKEN,
    )
    assert process.stdout is not None
    assert "paid and not written\n" in process.stdout
    process.kill()
    process.wait(10)
    run.refresh_from_db()
    assert (run.state, run.checked, run.paid, run.paying, vendor.billed) == ("running", 200, 200, 100, 300)
    with pytest.raises(BillingUnderWay):
        billing_runs.carry_out(run)

    RunLock.objects.update(expires_at=timezone.now())
    summary = billing_runs.carry_out(run)
    assert (summary["state"], summary["checked"], summary["paid"]) == ("done", 400, 400)
    assert vendor.billed == 400
    assert max(Counter(asked_for(vendor)).values()) == 1


def test_a_run_whose_process_died_is_told_and_can_be_resumed() -> None:
    run = planned([REAL[0]])
    BillingRun.objects.update(state="running")
    with run_lock(f"billing:{run.pk}", 60):
        billing_runs.close_abandoned(timezone.now())
        assert BillingRun.objects.get().state == "running"
    billing_runs.close_abandoned(timezone.now())
    assert BillingRun.objects.get().state == "failed"
    BillingRun.objects.update(state="waiting", queued_at=timezone.now() - timedelta(hours=1))
    billing_runs.close_abandoned(timezone.now())
    assert BillingRun.objects.get().error == billing_runs.NOT_TAKEN
    assert worked(run)["state"] == "done"


def test_cancelled_amid_the_work_it_stops_before_the_next_batch(vendor: RunningSandbox) -> None:
    run = planned(valid_rucs(300))
    billing_runs.release(run, None)

    def cancel(_summary: BillingSummary) -> None:
        billing_runs.cancel(run)

    summary = billing_runs.carry_out(run, tell=cancel)
    assert (summary["state"], summary["checked"], vendor.billed) == ("cancelled", 100, 100)
    assert not billing_runs.cancel(run)
    assert worked(run)["state"] == "done"
    assert vendor.billed == 300


def test_a_task_works_for_its_turn_and_sends_the_rest(vendor: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(valid_rucs(150))
    assert tasks.check_billing(run=run.pk)["state"] == "planned"
    sent: list[dict[str, Any]] = []

    def send(task: str, kwargs: dict[str, Any], **how: Any) -> None:
        sent.append({"task": task, **kwargs, **how})

    monkeypatch.setattr("api_service.services.task_sending.send", send)
    monkeypatch.setattr(billing_runs, "TURN_SECONDS", -1.0)
    assert billing_runs.submit(run, None)
    assert tasks.check_billing(run=run.pk)["state"] == "waiting"
    assert sent == [
        {"task": "workers.tasks.check_billing", "run": run.pk},
        {"task": "workers.tasks.check_billing", "run": run.pk, "countdown": 0.0},
    ]
    monkeypatch.setattr(billing_runs, "TURN_SECONDS", 60.0)
    assert tasks.check_billing(run=run.pk)["state"] == "done"
    assert tasks.check_billing(run=run.pk)["paid"] == 150
    assert not billing_runs.submit(run, None)


# -- the result

HOSTILE = ("=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", 'ÑANDÚ; "EL SOL"\x07')


@pytest.fixture
def hostile(vendor: RunningSandbox) -> Iterator[BillingRun]:
    """Names as a stranger could register them; one of them in the file itself."""
    run = planned([*valid_rucs(len(HOSTILE)), HOSTILE[0]])
    worked(run)
    for row, name in zip(BillingRow.objects.exclude(ruc="").order_by("line"), HOSTILE, strict=True):
        row.name = name
        row.save()
    with translation.override("es"):
        yield run


def test_no_cell_of_the_csv_is_a_formula_and_accents_survive(hostile: BillingRun) -> None:
    content = billing_export.as_csv(hostile)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";"))
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(2, 11)]
    assert [row[1] for row in rows[1:9]] == valid_rucs(len(HOSTILE))
    assert rows[9][1] == f"'{HOSTILE[0]}"
    assert [row[5] for row in rows[1:9]] == [*(f"'{name}" for name in HOSTILE[:7]), 'ÑANDÚ; "EL SOL"']
    assert {row[2] for row in rows[1:]} <= {"sí", "no"}


def test_no_cell_of_the_spreadsheet_is_a_formula_and_rucs_are_texts(hostile: BillingRun) -> None:
    sheet = load_workbook(BytesIO(billing_export.as_xlsx(hostile))).worksheets[0]
    cells = [cell for row in sheet.iter_rows(min_row=2) for cell in row]
    assert {cell.data_type for cell in cells if cell.value is not None} == {"s", "n"}
    assert [sheet.cell(number, 2).value for number in range(2, 10)] == valid_rucs(len(HOSTILE))
    assert all(cell.data_type == "n" for cell in cells if cell.column == 1)
    assert not [cell.value for cell in cells if str(cell.value).lstrip()[:1] in {"=", "+", "-", "@"}]


def test_a_code_of_a_character_in_a_name_is_no_character_in_the_spreadsheet(hostile: BillingRun) -> None:
    """Excel reads `_x003D_` as `=`, and `_x005F_x003D_` as `_x003D_`."""
    BillingRow.objects.filter(run=hostile, line=2).update(name="_x003D_1+1 _x_ _x003d_")
    sheet = load_workbook(BytesIO(billing_export.as_xlsx(hostile))).worksheets[0]
    assert sheet.cell(2, 6).value == "_x005F_x003D_1+1 _x_ _x005F_x003d_"
    assert ";_x003D_1+1 _x_ _x003d_;" in billing_export.as_csv(hostile).decode("utf-8-sig")


def test_runs_go_with_their_rows_after_ninety_days() -> None:
    run, kept = planned(list(REAL)), planned([REAL[0]])
    BillingRun.objects.filter(pk=run.pk).update(uploaded_at=timezone.now() - timedelta(days=91))
    assert retention.prune(timezone.now())["runs"] == 1
    assert list(BillingRow.objects.values_list("run", flat=True)) == [kept.pk]
