"""The result of a billing run as a file, in the order of the upload: CSV as a spreadsheet in Peru opens it, or .xlsx.

A name that begins like a formula is data of a stranger: a quote before it makes it a text wherever it is opened, also
after the .xlsx is saved as CSV (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO, StringIO
from typing import Any, Final

from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from api_service.models import BillingRow, BillingRun
from api_service.services import billing_rows
from api_service.services.subjects import LIMA

FORMULA_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
WIDTHS: Final = (8, 14, 10, 48, 40, 44, 18, 14)
ROWS_A_READ: Final = 1000
TEXT_FORMAT: Final = "@"
# A spreadsheet reads `_x003D_` as `=` (ST_Xstring of ECMA-376): saved as CSV it would be a formula
_CODE: Final = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


def as_csv(run: BillingRun) -> bytes:
    """UTF-8 with a mark and semicolons: meant for Excel with Spanish regional settings.

    No line `sep=;`: Excel is said to ignore the mark beside it. Who is in doubt takes the .xlsx.
    """
    text = StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerows(_table(run))
    return text.getvalue().encode("utf-8-sig")


def as_xlsx(run: BillingRun) -> bytes:
    """Every cell but the line's number is a text: no RUC becomes 2.01E+10."""
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet(_("Result"))
    sheet.freeze_panes = "A2"
    for index, width in enumerate(WIDTHS):
        sheet.column_dimensions["ABCDEFGH"[index]].width = width
    for row in _table(run):
        sheet.append([cell if isinstance(cell, int) else _text_cell(sheet, cell) for cell in row])
    kept = BytesIO()
    book.save(kept)
    return kept.getvalue()


WRITERS: Final[Mapping[str, Callable[[BillingRun], bytes]]] = {".xlsx": as_xlsx, ".csv": as_csv}


def harmless(text: str) -> str:
    """Without what no file may have, and no formula, also behind blanks."""
    clean = ILLEGAL_CHARACTERS_RE.sub("", text)
    return f"'{clean}" if clean.lstrip(" ").startswith(FORMULA_BEGINS) else clean


def _text_cell(sheet: Any, text: str) -> Any:
    cell = WriteOnlyCell(sheet, value=_CODE.sub("_x005F_", text))
    cell.data_type, cell.number_format = "s", TEXT_FORMAT
    return cell


def _table(run: BillingRun) -> Iterator[list[int | str]]:
    yield [
        *(_("Line"), "RUC", _("Fit for invoicing"), _("Reasons"), _("Warnings"), _("Name"), _("Checked (Lima)")),
        _("Source"),
    ]
    rows = BillingRow.objects.filter(run=run).order_by("line")
    for row in rows.iterator(chunk_size=ROWS_A_READ):
        yield [row.line, *map(harmless, _cells(row))]


def _cells(row: BillingRow) -> tuple[str, ...]:
    checked = f"{row.checked_at.astimezone(LIMA):%Y-%m-%d %H:%M:%S}" if row.checked_at else ""
    return (
        row.ruc or row.given,
        billing_rows.fit_text(fit=row.fit),
        " ".join(billing_rows.reason_texts(row)),
        " ".join(billing_rows.warning_texts(row)),
        row.name,
        checked,
        billing_rows.source_text(row.source),
    )
