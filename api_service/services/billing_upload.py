"""An uploaded list of RUCs, read line by line: CSV in the forms that spreadsheets save, or .xlsx. Pure.

What is wrong with one line is said of that line. What is wrong with the file raises BadUpload, and nothing is kept.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from django.utils.translation import gettext as _

from api_service.services import ruc as rules
from api_service.services.billing_sheet import BadUpload, sheet_rows

__all__ = ["BadUpload", "Line", "read"]

MOST_BYTES: Final = 5_000_000
MOST_LINES: Final = 10_000
# Titles and blank lines above the headings
HEADINGS_WITHIN: Final = 10
LONGEST_HEADING: Final = 40
# Lines of an address in one cell
MOST_JOINED: Final = 20
# Not those that are blank: a sheet that was formatted to its end is saved as a million of them
MOST_LINES_OF_TEXT: Final = MOST_LINES * MOST_JOINED
SAMPLE: Final = 100

NO_RUC: Final = "no_ruc"
LOST_DIGITS: Final = "lost_digits"
UNREADABLE: Final = "unreadable_line"
MALFORMED: Final = "malformed"

_HEADING = re.compile(r"(?:n|no|nro|num|numero)?(?:de)?ruc")
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)
_ELEVEN = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")
_BLANK: Final = ' \t;,"'
_FRACTION = re.compile(r"\.0+\Z")
_ZIP, _OLE, _PDF = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF"

# Its number in the file, from 1, and its cells; None for a line that cannot be read
Row: TypeAlias = tuple[int, Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Line:
    """`ruc` is one that can exist, else it is empty and `problem` says why; `given` is what the file has there."""

    number: int
    given: str
    ruc: str
    problem: str = ""


def read(content: bytes) -> list[Line]:
    """The lines below the headings, blank ones left out. Raises BadUpload with what to do, in the active language."""
    if len(content) > MOST_BYTES:
        raise BadUpload(_("The file is larger than %d MB: split it.") % (MOST_BYTES // 1_000_000))
    rows = [row for row in _rows(content) if row[1] is None or any(cell.strip() for cell in row[1])]
    if not rows:
        raise BadUpload(_("The file is empty: there is no line with a RUC."))
    column, first = _column(rows)
    if len(rows) - first > MOST_LINES:
        raise BadUpload(_too_many(len(rows) - first))
    if len(rows) == first:
        raise BadUpload(_("There are headings but no line below them."))
    lines = [_line(number, cells, column) for number, cells in rows[first:]]
    if not any(map(_tells_of_rucs, lines)):
        raise BadUpload(_("No line has a RUC of 11 digits in the column of RUCs, number %d.") % (column + 1))
    return lines


def _too_many(lines: int) -> str:
    text = _("The file has %(lines)d lines, and %(most)d are the most: split it.")
    return text % {"lines": lines, "most": MOST_LINES}


def _rows(content: bytes) -> Iterator[Row]:
    if content.startswith(_ZIP):
        return sheet_rows(content)
    if content.startswith(_OLE):
        raise BadUpload(_("This is an .xls or a file with a password: save it as .xlsx or CSV, without a password."))
    if content.startswith(_PDF):
        raise BadUpload(_("This is a PDF: upload a CSV or .xlsx."))
    return _csv_rows(_decoded(content))


def _tells_of_rucs(line: Line) -> bool:
    """Also a wrong one: a list of names, or of other numbers, has none."""
    return bool(line.ruc) or line.problem == LOST_DIGITS or rules.is_eleven_digits(_cleaned(line.given))


# -- CSV


def _decoded(content: bytes) -> str:
    """Spreadsheets save UTF-8 with or without a mark, UTF-16 with one ("Unicode text"), or the old Windows form."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
        break
    raise BadUpload(_("This is no text and no spreadsheet: upload a CSV or .xlsx."))


def _csv_rows(text: str) -> Iterator[Row]:
    """Line by line: one quote that nobody closed would otherwise take the rest of the file along."""
    lines = re.split(r"\r\n|\n|\r", text)
    delimiter = _delimiter(lines)
    left = sum(1 for line in lines if line.strip(_BLANK))
    if left > MOST_LINES_OF_TEXT:
        raise BadUpload(_too_many(left))
    index = found = 0
    while index < len(lines):
        if not lines[index].strip(_BLANK):
            index += 1
            continue
        # Each whose quotes nobody closes is read twenty times: no more of them than can be taken
        if found == MOST_LINES + HEADINGS_WITHIN:
            raise BadUpload(_too_many(left))
        cells, used = _record(lines[index : index + MOST_JOINED], delimiter)
        yield index + 1, cells
        found += 1
        index += used


def _delimiter(lines: Sequence[str]) -> str:
    """Of the first line that has one; a semicolon before a comma, which is in numbers and names too."""
    for line in lines[:SAMPLE]:
        for delimiter in (";", "\t", ","):
            if delimiter in line:
                return delimiter
    return ","


def _record(lines: Sequence[str], delimiter: str) -> tuple[Sequence[str] | None, int]:
    """The cells of the first line, and how many lines it took: others only where they close its quotes.

    One that has a RUC is a line of its own, whatever quotes are around it: none may get lost.
    """
    for used in range(1, len(lines) + 1):
        if used > 1 and ('"' not in lines[0] or _ELEVEN.search(lines[used - 1])):
            break
        records = _parsed(lines[:used], delimiter, strict=True)
        if records is not None and len(records) <= 1:
            return (records[0] if records else ()), used
    loose = _parsed(lines[:1], delimiter, strict=False)
    return (loose[0] if loose else None), 1


def _parsed(lines: Sequence[str], delimiter: str, *, strict: bool) -> list[list[str]] | None:
    try:
        return list(csv.reader([f"{line}\n" for line in lines], delimiter=delimiter, strict=strict))
    except csv.Error:
        return None


# -- which column


def _column(rows: Sequence[Row]) -> tuple[int, int]:
    """The column of the RUCs, and the index of the first row below the headings."""
    for index, (_number, cells) in enumerate(rows[:HEADINGS_WITHIN]):
        for column, cell in enumerate(cells or ()):
            if _is_heading(cell):
                return column, index + 1
    looks = Counter(
        column
        for _number, cells in rows[:SAMPLE]
        for column, cell in enumerate(cells or ())
        if rules.is_eleven_digits(_cleaned(cell))
    )
    if not looks:
        raise BadUpload(_("No column has RUCs: write RUC above the one that has them."))
    column = max(looks, key=lambda number: (looks[number], -number))
    return column, 0 if _has_digit(_cell(rows[0][1], column)) else 1


def _is_heading(cell: str) -> bool:
    """`RUC`, `N° RUC`, `numero_ruc`, `RUC del cliente`."""
    if len(cell) > LONGEST_HEADING:
        return False
    plain = unicodedata.normalize("NFKD", cell).casefold()
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode())
    return "ruc" in words or _HEADING.fullmatch("".join(words)) is not None


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


# -- a line


def _line(number: int, cells: Sequence[str] | None, column: int) -> Line:
    if cells is None:
        return Line(number, "", "", UNREADABLE)
    given = _cell(cells, column).strip()
    number_only = _cleaned(given)
    if rules.is_valid(number_only):
        return Line(number, given[:100], number_only)
    return Line(number, given[:100], "", _problem(number_only))


def _problem(text: str) -> str:
    if not text:
        return NO_RUC
    return LOST_DIGITS if _SHORTENED.fullmatch(text) else MALFORMED


def _cell(cells: Sequence[str] | None, column: int) -> str:
    return cells[column] if cells is not None and column < len(cells) else ""


def _cleaned(cell: str) -> str:
    """Without what spreadsheets and people add: a mark for text, blanks, dashes, a fraction of nothing."""
    return _FRACTION.sub("", rules.normalise(cell.strip().lstrip("'`´")))
