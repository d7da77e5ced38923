"""`billing_check`: a list from a file, its cost counted first, its result written, and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import load_workbook

from api_service.models import BillingRow, BillingRun
from api_service.services.migo_service import MigoAPIService
from tests.integration.commands.conftest import Run
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, known_rucs
from tests.sandbox_fixture import RunningSandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "clientes.csv"
    path.write_text("\n".join(["RUC;cliente", f"{RUC};uno", f"{IMPOSSIBLE};dos", f"{SUNAT};tres"]), encoding="utf-8")
    return path


def test_it_counts_what_a_file_would_cost_and_keeps_nothing(
    run: Run, upload: Path, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    ended = run("billing_check", str(upload), "--dry-run", "--json")
    assert (ended.code, sandbox.billed) == (0, 1)
    assert {name: ended.json[name] for name in ("lines", "distinct", "cached", "stored", "to_pay")} == {
        "lines": 3,
        "distinct": 2,
        "cached": 1,
        "stored": 0,
        "to_pay": 1,
    }
    assert BillingRun.objects.count() == 0
    assert "1 would be paid for" in run("billing_check", str(upload), "--dry-run").out


def test_it_writes_the_result_in_the_order_of_the_file(
    run: Run, upload: Path, tmp_path: Path, migo: MigoAPIService
) -> None:
    out = tmp_path / "result.xlsx"
    ended = run("billing_check", str(upload), "--out", str(out))
    assert (ended.code, ended.err) == (0, "")
    assert "3 of 3 lines checked, 2 fit, 1 not fit" in ended.out
    rows = list(load_workbook(out).worksheets[0].iter_rows(min_row=2, max_col=2, values_only=True))
    assert rows == [(2, RUC), (3, IMPOSSIBLE), (4, SUNAT)]
    assert (BillingRun.objects.get().via, BillingRow.objects.count()) == ("command", 3)


def test_a_budget_that_is_used_up_ends_with_1_and_the_run_goes_on(
    run: Run, tmp_path: Path, migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    path = tmp_path / "many.csv"
    path.write_text("\n".join(known_rucs(20)), encoding="utf-8")
    ended = run("billing_check", str(path), "--budget", "5", "--json")
    assert (ended.code, ended.json["state"], ended.json["paid"]) == (1, "paused", 5)
    number = str(ended.json["run"])
    assert f"--resume {number}" in ended.err
    ended = run("billing_check", "--resume", number, "--budget", "20", "--json")
    assert (ended.code, ended.json["checked"], sandbox.billed) == (0, 20, 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a file"),
        (("x.csv", "--resume", "1"), "name a file"),
        (("missing.csv",), "cannot be read"),
        (("x.csv", "--budget", "-1"), "--budget"),
        (("x.csv", "--out", "result.pdf"), ".xlsx"),
        (("--resume", "99"), "no billing run 99"),
        (("--resume", "99", "--dry-run"), "--dry-run"),
        ((__file__,), "RUC"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_says_why(
    arguments: tuple[str, ...], said: str, run: Run, migo: MigoAPIService
) -> None:
    ended = run("billing_check", *arguments)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert BillingRun.objects.count() == 0
