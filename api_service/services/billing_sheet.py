"""The first sheet of an uploaded .xlsx as rows of texts, within bounds: what is uploaded may be made to do harm.

A zip says how large each of its parts is, and Python unpacks no more than that: the sum is judged before anything is.
openpyxl makes a tree of what it finds, a hundred times as large: elements and attributes are counted before it is let
at them. It is given no part that tells nothing of cells: workbooks carry along logos, charts, other books' values.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, Final
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from django.utils.translation import gettext as _
from openpyxl import load_workbook

MOST_UNPACKED: Final = 32_000_000
MOST_PARTS: Final = 1000
MOST_COLUMNS: Final = 100
# A row may say any number, and openpyxl makes up every row before it
LAST_ROW: Final = 100_000
# No RUC is longer; ten thousand cells may name one text of megabytes
LONGEST_CELL: Final = 1000
# Ten thousand lines of 25 columns, each with a text of its own
MOST_ELEMENTS: Final = 1_050_000
# Elements and their attributes: a cell has three
MOST_THINGS: Final = 2_200_000
# The same of one row, which is in memory as a whole: 16,384 columns at most
MOST_IN_A_ROW: Final = 150_000
# And of names and links, of each of which an object is made: a sheet may have 65,530 links
MOST_OTHERS: Final = 600_000
# Attributes of one element are all there before they can be counted
LONGEST_TAG: Final = 1_000_000
DEEPEST: Final = 100
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_WITH_ATTRIBUTES: Final = frozenset({"row", "c", "f"})
_IN_A_ROW: Final = frozenset({"c", "v", "f", "is"})
_OF_SHEETS: Final = _IN_A_ROW | {"row", "t"}
_OF_TEXTS: Final = frozenset({"si", "t"})
_TYPES: Final = "[Content_Types].xml"
AT_ONCE: Final = 65_536
# By name: what has one of these is not there for openpyxl, whatever another part says that it is
_NOT_OF_CELLS: Final = (
    *("customXml/", "docProps/", "xl/calcChain", "xl/charts/", "xl/chartsheets/", "xl/comments", "xl/drawings/"),
    *("xl/embeddings/", "xl/externalLinks/", "xl/media/", "xl/persons/", "xl/pivotCache/", "xl/pivotTables/"),
    *("xl/styles.xml", "xl/theme/", "xl/threadedComments/"),
)

# What openpyxl raises for a file that is none: it checks little itself
_BROKEN = (
    *(BadZipFile, zlib.error, KeyError, IndexError, ValueError, TypeError, AttributeError),
    # The last two are of encrypted parts and of XML that is none
    *(EOFError, OSError, RuntimeError, SyntaxError),
)


class BadUpload(Exception):
    """The file cannot be used: its text says why and what to do, in the language that was active."""


def sheet_rows(content: bytes) -> Iterator[tuple[int, Sequence[str]]]:
    """Number of each row, from 1, and its cells; whole numbers without a fraction. Raises BadUpload."""
    try:
        yield from _rows(_harmless(content))
    except _BROKEN as error:
        raise BadUpload(_("The spreadsheet cannot be read: open it and save it as .xlsx again, or as CSV.")) from error


def _harmless(content: bytes) -> BytesIO:
    """The parts that openpyxl may read, each of which has been judged. Raises BadUpload."""
    kept = BytesIO()
    with ZipFile(BytesIO(content)) as archive, ZipFile(kept, "w", ZIP_STORED) as judged:
        parts = archive.infolist()
        if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_UNPACKED:
            raise _too_large()
        # Of other methods Python may unpack more than the part says
        if any(part.flag_bits & 1 or part.compress_type not in {ZIP_STORED, ZIP_DEFLATED} for part in parts):
            raise BadUpload(
                _("The spreadsheet is packed in an unusual way: save it as .xlsx again, without a password.")
            )
        bounds = _Bounds()
        # A name may stand twice: openpyxl would read the last
        for name in sorted({part.filename for part in parts}, key=lambda name: (name != _TYPES, name)):
            if not name.startswith(_NOT_OF_CELLS):
                body = archive.read(name)
                bounds.hold(name, body)
                judged.writestr(name, body)
    return kept


class _Bounds:
    """Of the elements of all parts together. Read as XML is, as a part may have any name and any encoding.

    Of a sheet openpyxl forgets each row that it has read, of the texts each text. All else it keeps as it stands there,
    and that of whatever is declared to be the workbook. The list of what is declared is to be held first.
    """

    def __init__(self) -> None:
        self._elements = self._things = self._others = self._in_a_row = self._depth = 0
        self._forgotten = dict.fromkeys((_TYPES, "xl/workbook.xml"), frozenset[str]())

    def hold(self, name: str, part: bytes) -> None:
        """Raises BadUpload."""
        parser = expat.ParserCreate(namespace_separator="}")
        parser.ordered_attributes = True
        parser.StartDoctypeDeclHandler = _refuse_declaration
        forgotten = frozenset() if name.endswith(".rels") else self._forgotten.get(name, _OF_SHEETS)
        parser.StartElementHandler = partial(self._begin, forgotten, declares=name == _TYPES)
        parser.EndElementHandler = self._end
        self._depth = 0
        # A picture, or what openpyxl fails at as well
        with suppress(expat.ExpatError):
            for start in range(0, len(part), AT_ONCE):
                parser.Parse(part[start : start + AT_ONCE])
                if start - parser.CurrentByteIndex > LONGEST_TAG:
                    raise _too_large()
            parser.Parse(b"", True)  # noqa: FBT003 - it takes no keywords

    def _begin(self, forgotten: frozenset[str], name: str, attributes: list[str], *, declares: bool) -> None:
        tag, more = name.removeprefix(_MAIN) if name.startswith(_MAIN) else "", len(attributes) // 2
        self._depth += 1
        self._elements += 1
        self._things += 1 + more
        if tag not in forgotten:
            self._others += 1 + more
        elif tag not in _WITH_ATTRIBUTES:
            self._others += more
        # worksheet, sheetData, row
        is_between_rows = self._depth <= 3 and tag not in _IN_A_ROW
        self._in_a_row = more if is_between_rows else self._in_a_row + 1 + more
        if declares and name.endswith("}Override"):
            self._declare(dict(zip(attributes[::2], attributes[1::2], strict=True)))
        self._judge()

    def _declare(self, said: Mapping[str, str]) -> None:
        name, content_type = said.get("PartName", "")[1:], said.get("ContentType", "")
        if content_type.endswith(".main+xml"):
            self._forgotten[name] = frozenset()
        elif content_type.endswith(".sharedStrings+xml"):
            self._forgotten.setdefault(name, _OF_TEXTS)

    def _judge(self) -> None:
        if (
            self._elements > MOST_ELEMENTS
            or self._things > MOST_THINGS
            or self._others > MOST_OTHERS
            or self._in_a_row > MOST_IN_A_ROW
            or self._depth > DEEPEST
        ):
            raise _too_large()

    def _end(self, _name: str) -> None:
        self._depth -= 1


def _too_large() -> BadUpload:
    return BadUpload(_("The spreadsheet is too large when unpacked: leave only the column of RUCs in it."))


def _refuse_declaration(*_of_document: object) -> None:
    """No spreadsheet needs one, and its entities can grow without end."""
    raise BadUpload(_("The spreadsheet has parts that none needs: save it as .xlsx again."))


def _rows(content: BytesIO) -> Iterator[tuple[int, Sequence[str]]]:
    book = load_workbook(content, read_only=True, data_only=True, keep_links=False)
    try:
        if not book.worksheets:
            raise BadUpload(_("The spreadsheet has no sheet with cells."))
        sheet: Any = book.worksheets[0]
        # What the file says of its own size may be wrong, and would hide rows
        sheet.reset_dimensions()
        for number, cells in enumerate(sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS), 1):
            if number > LAST_ROW:
                raise BadUpload(_("The sheet has a cell below row %d: delete the rows that are not needed.") % LAST_ROW)
            if any(cell is not None for cell in cells):
                yield number, tuple(map(_text, cells))
    finally:
        book.close()


def _text(value: object) -> str:
    """A RUC that was typed as a number is a float in many files."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)[:LONGEST_CELL]
