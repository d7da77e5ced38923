"""Lists of RUCs as spreadsheets save them: read where they can be, told line by line where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZipFile

import pytest
from django.utils.translation import override
from openpyxl import Workbook

from api_service.services import billing_sheet, billing_upload
from api_service.services.billing_upload import BadUpload, read
from tests.rucs import REAL, valid_rucs

ONE, TWO, THREE = REAL[:3]


@pytest.fixture(autouse=True)
def _in_spanish() -> Iterator[None]:
    """A request of another test leaves its language behind in this thread."""
    with override("es"):
        yield


def rucs(content: bytes | str) -> list[str]:
    return [line.ruc for line in read(content.encode() if isinstance(content, str) else content)]


def xlsx(rows: Sequence[Sequence[object]]) -> bytes:
    book, kept = Workbook(), BytesIO()
    assert book.active is not None
    for row in rows:
        book.active.append(list(row))
    book.save(kept)
    return kept.getvalue()


def repacked(content: bytes, name: str, body: bytes, method: int = ZIP_DEFLATED) -> bytes:
    """The same spreadsheet with another part in the place of that name."""
    kept = BytesIO()
    with ZipFile(BytesIO(content)) as old, ZipFile(kept, "w", method) as new:
        for part in old.infolist():
            if part.filename != name:
                new.writestr(part.filename, old.read(part))
        new.writestr(name, body)
    return kept.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize(
    "heading", ["ruc", "RUC", "N° RUC", "Nº de RUC", "numero_ruc", "Número RUC", "RUC del cliente"]
)
def test_the_column_is_found_by_its_heading_in_every_form_that_spreadsheets_save(
    heading: str, encoding: str, delimiter: str
) -> None:
    table = [["código", heading.replace("°", "º"), "razón"], ["20131312955", ONE, "ÑANDÚ"], ["1", TWO, ""]]
    assert rucs("\r\n".join(map(delimiter.join, table)).encode(encoding)) == [ONE, TWO]


def test_without_a_heading_the_column_that_looks_like_rucs_is_taken() -> None:
    assert rucs(f"a;12;{ONE}\nb;13;{TWO}\n") == [ONE, TWO]
    assert rucs(f"cliente;documento\nx;{ONE}\n") == [ONE]
    assert rucs(f"{ONE}\n{TWO}") == [ONE, TWO]
    assert rucs(xlsx([["x", int(ONE)], ["y", int(TWO)]])) == [ONE, TWO]


def test_titles_above_the_headings_are_no_lines() -> None:
    content = f"Clientes de enero\n\nnombre,RUC\nuno,{ONE}\n\ndos,{TWO}\n"
    assert [(line.number, line.ruc) for line in read(content.encode())] == [(4, ONE), (6, TWO)]


def test_numbers_texts_and_pasted_forms_are_the_same_ruc() -> None:
    forms = [int(ONE), float(ONE), f"{ONE}.0", f" {ONE} ", f"'{ONE}", f"{ONE[:2]}-{ONE[2:]}", f"\u200b{ONE}"]
    assert rucs(xlsx([["RUC"], *([form] for form in forms)])) == [ONE] * len(forms)


def test_a_line_that_is_wrong_says_so_and_the_others_are_read() -> None:
    content = f'RUC,nombre\n{ONE},"uno\n20123456789,mal\n,sin\n2.01E+10,corto\n{TWO},TUBO 2"\n=1+1,x\n{THREE},"a\nb"\n'
    lines = [(line.number, line.ruc, line.problem) for line in read(content.encode())]
    assert lines == [
        (2, ONE, ""),
        (3, "", "malformed"),
        (4, "", "no_ruc"),
        (5, "", "lost_digits"),
        (6, TWO, ""),
        (7, "", "malformed"),
        (8, THREE, ""),
    ]


def test_a_quote_that_nobody_closes_takes_no_other_line_along() -> None:
    content = f'nombre,RUC\n"abierto,{ONE}\n' + "".join(f"n,{ruc}\n" for ruc in valid_rucs(50))
    assert rucs(content) == ["", *valid_rucs(50)]


def test_a_line_longer_than_any_cell_may_be_is_one_line_with_an_error() -> None:
    content = f"RUC\n{ONE}\n{'9' * 200_000}\n{TWO}\n"
    assert [(line.ruc, line.problem) for line in read(content.encode())] == [
        (ONE, ""),
        ("", "unreadable_line"),
        (TWO, ""),
    ]


def test_ten_thousand_lines_are_read_and_one_more_is_refused() -> None:
    numbers = valid_rucs(billing_upload.MOST_LINES)
    assert rucs("RUC\n" + "\n".join(numbers)) == numbers
    with pytest.raises(BadUpload, match="10001"):
        read(("RUC\n" + "\n".join([*numbers, ONE])).encode())


def test_lines_are_counted_before_their_quotes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing_upload, "MOST_LINES_OF_TEXT", 30)
    assert rucs(f"RUC\n{ONE}" + "\n" * 28) == [ONE]
    monkeypatch.setattr(billing_upload, "_record", None)
    with pytest.raises(BadUpload, match="31"):
        read(b"RUC\n" + b'"a,\n' * 30)


def test_a_sheet_that_was_formatted_to_its_end_and_cells_of_many_lines_are_read() -> None:
    assert rucs(f"RUC;nombre\n{ONE};a\n" + ";\n" * 1_048_574) == [ONE]
    addresses = f'RUC,dirección\n{ONE},"' + "calle\n" * 19 + f'"\n{TWO},\n'
    assert rucs(addresses) == [ONE, TWO]


def test_no_more_lines_with_a_quote_that_nobody_closes_are_looked_at_than_can_be_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at, record = list[int](), billing_upload._record

    def counted(lines: Sequence[str], delimiter: str) -> tuple[Sequence[str] | None, int]:
        looked_at.append(1)
        return record(lines, delimiter)

    monkeypatch.setattr(billing_upload, "_record", counted)
    with pytest.raises(BadUpload, match="50001"):
        read(b"RUC\n" + b'"b\n' * 50_000)
    assert len(looked_at) == billing_upload.MOST_LINES + billing_upload.HEADINGS_WITHIN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"RUC\n",
        b"nombre\nuno\n",
        b"%PDF-1.7",
        b"\xd0\xcf\x11\xe0 an old one",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"PK\x03\x04 not a zip",
        b"1" * (billing_upload.MOST_BYTES + 1),
        xlsx([["nombre"], ["uno"]]),
        xlsx([]),
        xlsx([["RUC"], [ONE]])[:-200],
    ],
    # Not by content: an .xlsx begins with the time at which it was made, and processes would differ
    ids=(
        *("nothing", "blank lines", "only headings", "names", "PDF", "old xls", "image", "no zip", "too large"),
        *("sheet of names", "empty sheet", "cut off"),
    ),
)
def test_a_file_that_cannot_be_used_is_refused_as_a_whole(content: bytes) -> None:
    with pytest.raises(BadUpload):
        read(content)


SHEET = "xl/worksheets/sheet1.xml"
OPENING = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
CLOSING = b"</sheetData></worksheet>"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = repacked(xlsx([["RUC"], [ONE]]), SHEET, OPENING + b" " * billing_sheet.MOST_UNPACKED + CLOSING)
    assert len(bomb) < billing_upload.MOST_BYTES
    monkeypatch.setattr(ZipFile, "read", None)
    monkeypatch.setattr(ZipFile, "open", None)
    with pytest.raises(BadUpload):
        read(bomb)


def test_entities_that_grow_other_methods_and_made_up_rows_are_refused() -> None:
    good = xlsx([["RUC"], [ONE]])
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + OPENING + CLOSING
    far = OPENING + b'<row r="99999999999"><c r="A99999999999"><v>1</v></c></row>' + CLOSING
    for harm in (
        repacked(good, SHEET, entities),
        repacked(good, "x.bin", b"x", ZIP_BZIP2),
        repacked(good, SHEET, far),
        repacked(good, SHEET, b"<not xml"),
    ):
        with pytest.raises(BadUpload):
            read(harm)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("part", [SHEET, "xl/image1.png"])
def test_entities_are_refused_in_every_encoding_and_under_every_name(part: str, encoding: str) -> None:
    document = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "{ONE}">]><x>&a;</x>'
    with pytest.raises(BadUpload, match="partes que"):
        read(repacked(xlsx([["RUC"], [ONE]]), part, document.encode(encoding)))


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (SHEET, OPENING + b"<row>" + b"<c/>" * (billing_sheet.MOST_IN_A_ROW + 1) + b"</row>" + CLOSING),
        (SHEET, OPENING + b"<c/>" * (billing_sheet.MOST_IN_A_ROW + 1) + CLOSING),
        (SHEET, OPENING + b"<a>" * billing_sheet.DEEPEST),
        (
            SHEET,
            OPENING
            + b"<row>"
            + b"<c a='' b='' c='' d=''/>" * (billing_sheet.MOST_IN_A_ROW // 5 + 1)
            + b"</row>"
            + CLOSING,
        ),
        (
            SHEET,
            OPENING + b"<row " + b"x" * (billing_sheet.LONGEST_TAG + 2 * billing_sheet.AT_ONCE) + b"=''/>" + CLOSING,
        ),
        (SHEET, b"<worksheet>" + b"<row/>" * billing_sheet.MOST_OTHERS + b"</worksheet>"),
        ("xl/workbook.xml", OPENING + b"<row/>" * billing_sheet.MOST_OTHERS + CLOSING),
        ("xl/workbook.xml", b"<workbook><names>" + b"<name/>" * billing_sheet.MOST_OTHERS + b"</names></workbook>"),
    ],
    ids=[
        "a row",
        "cells without a row",
        "depth",
        "attributes of a row",
        "attributes of an element",
        "rows that are none",
        "rows in a workbook",
        "names",
    ],
)
def test_what_is_small_until_a_tree_is_made_of_it_is_refused(part: str, content: bytes) -> None:
    with pytest.raises(BadUpload, match="demasiado grande"):
        read(repacked(xlsx([["RUC"], [ONE]]), part, content))


LOGO = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg/>'
VALUES = b"<sheetDataSet><sheetData><row>" + b"<cell><v>1</v></cell>" * 80_000 + b"</row></sheetData></sheetDataSet>"


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("xl/media/image2.svg", LOGO),
        ("xl/calcChain.xml", b"<calcChain>" + b'<c r="A1" i="1"/>' * 60_000 + b"</calcChain>"),
        (
            "xl/externalLinks/externalLink1.xml",
            b"<externalLink><externalBook>" + VALUES + b"</externalBook></externalLink>",
        ),
        ("xl/pivotCache/pivotCacheRecords1.xml", b"<r>" + b"<x/>" * billing_sheet.MOST_OTHERS + b"</r>"),
    ],
    ids=["logo", "formulas", "values of another book", "pivot table"],
)
def test_what_a_workbook_carries_along_beside_its_cells_is_not_looked_at(part: str, content: bytes) -> None:
    assert rucs(repacked(xlsx([["RUC"], [ONE]]), part, content)) == [ONE]


@pytest.mark.parametrize("kind", ["template.main", "sharedStrings"])
def test_what_a_part_is_declared_to_be_tells_what_is_kept_of_it(kind: str) -> None:
    types = f"""<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/x.xml"
        ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.{kind}+xml"/></Types>"""
    rows = OPENING + b"<row/>" * billing_sheet.MOST_OTHERS + CLOSING
    with pytest.raises(BadUpload, match="demasiado grande"):
        read(repacked(repacked(xlsx([["RUC"], [ONE]]), "x.xml", rows), "[Content_Types].xml", types.encode()))


def test_the_parts_of_a_spreadsheet_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    content = xlsx([["RUC"], *([number] for number in valid_rucs(100))])
    assert len(read(content)) == 100
    monkeypatch.setattr(billing_sheet, "MOST_ELEMENTS", 300)
    with pytest.raises(BadUpload, match="demasiado grande"):
        read(content)


def test_rows_that_the_sheet_says_it_does_not_have_are_read() -> None:
    cell = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c></row>'
    body = cell.format(1, "RUC") + cell.format(7, ONE)
    said = OPENING.replace(b"<sheetData>", b'<dimension ref="A1"/><sheetData>') + body.encode() + CLOSING
    [line] = read(repacked(xlsx([["x"]]), SHEET, said))
    assert (line.number, line.ruc) == (7, ONE)
