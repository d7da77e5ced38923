"""A list of RUCs for invoicing: counted, begun, stopped by its budget, resumed, taken away; or cancelled."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from openpyxl import load_workbook
from playwright.sync_api import FilePayload

from api_service.models import BillingRun
from tests.acceptance.actions.person import Person
from tests.acceptance.actions.runs import unknown_rucs
from tests.rucs import WRONG_CHECK_DIGIT
from tests.waiting import wait_until


def upload(person: Person, rucs: list[str]) -> int:
    person.opens(BillingRun)
    person.presses("Check a list")
    lines = "\n".join(["ruc", *rucs])
    person.field("File").set_input_files(FilePayload(name="clientes.csv", mimeType="text/csv", buffer=lines.encode()))
    person.presses("Count first")
    run = person.arrives_at(BillingRun)
    assert is_at(person, run, "planned")
    person.is_on_record(object_id=str(run), action_flag=1)
    return run


def is_at(person: Person, run: int, state: str) -> dict[str, Any]:
    """Its row; empty while it is elsewhere."""
    row = person.world.records.get(BillingRun, id=run)
    return row if row["state"] == state else {}


def comes_to(person: Person, run: int, state: str) -> dict[str, Any]:
    return wait_until(lambda: is_at(person, run, state), 40, message=f"billing run {run} {state}")


def check_resume_and_download(person: Person) -> None:
    run = upload(person, [*unknown_rucs(3), WRONG_CHECK_DIGIT[0]])
    person.reads_as_it_is(person.counted(PLANNED, PLANNED_MANY, 3, queries=3))
    person.fills("Paid queries at most, in all", 1)
    person.presses("Begin")
    assert comes_to(person, run, "paused")["paid"] == 1
    person.reads(PAUSED)
    person.fills("Paid queries at most, in all", 9)
    person.presses("Resume")
    done = comes_to(person, run, "done")
    assert (done["checked"], done["budget"]) == (4, 9)
    assert done["paid"] <= 9
    for budget in (1, 9):
        person.is_on_record(object_id=str(run), said=f"budget {budget}")
    taken_away(person)


def taken_away(person: Person) -> None:
    as_csv, as_xlsx = (download(person, kind) for kind in ("CSV", "XLSX"))
    lines = list(csv.reader(StringIO(as_csv.read_text(encoding="utf-8-sig")), delimiter=";"))
    sheet = [list(row) for row in load_workbook(as_xlsx).worksheets[0].iter_rows(values_only=True)]
    assert lines[0][2] == sheet[0][2] == person.text("Fit for invoicing")
    assert len(lines) == len(sheet) == 5
    assert lines[-1][1] == sheet[-1][1] == WRONG_CHECK_DIGIT[0]


def download(person: Person, kind: str) -> Path:
    # Not amid the page's last look at the run
    person.looks_around()
    link = person.main.get_by_role("link", name=person.text("Download %(form)s", form=kind), exact=True)
    with person.page.expect_download() as waiting:
        link.click()
    person.sent.append(("GET", waiting.value.url, ""))
    target = person.world.folder / f"result.{kind.lower()}"
    waiting.value.save_as(target)
    return target


def cancel(person: Person) -> None:
    run = upload(person, unknown_rucs(2))
    person.presses("Cancel the run")
    person.reads("cancelled")
    row = person.world.records.get(BillingRun, id=run)
    assert (row["state"], row["paid"]) == ("cancelled", 0)
    person.is_on_record(object_id=str(run), said="cancelled")


PLANNED = "Nothing was paid yet. As it was counted, %(queries)s query will be paid for."
PLANNED_MANY = "Nothing was paid yet. As it was counted, %(queries)s queries will be paid for."
PAUSED = (
    "A limit of paid queries is reached. What is checked stays checked; raise the limit below, or wait for the next "
    "hour, day or month, and resume."
)
