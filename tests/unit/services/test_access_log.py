import gzip
from pathlib import Path

import pytest

from api_service.services import access_log
from api_service.services.access_log import BadLog


def test_comments_a_header_and_blank_lines_are_passed_over() -> None:
    log = access_log.parse(["# a comment\n", "timestamp,key\n", "\n", "10,a\n", "# b\n", "20,b\n", "20,a\n"])
    assert (list(log.times), list(log.keys), log.names) == ([10, 20, 20], [0, 1, 0], ["a", "b"])


def test_iso_times_keep_the_hours_that_they_show() -> None:
    """08:00 in Lima is eight o'clock for the people there; the second line is half an hour later, told in UTC."""
    log = access_log.parse(["2026-01-05T08:00:00-05:00,a", "2026-01-05T13:30:00Z,b"])
    assert log.times[0] % 86_400 == 8 * 3600
    assert log.times[1] - log.times[0] == 1800


def test_iso_times_without_a_zone_are_taken_as_they_stand() -> None:
    assert access_log.parse(["1970-01-02 00:00:01,a"]).times[0] == 86_401


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("20", "not timestamp,key"),
        ("20,", "not timestamp,key"),
        ("yesterday,b", "neither Unix seconds nor an ISO 8601 time"),
        ("nan,b", "neither Unix seconds"),
        ("-5,b", "neither Unix seconds"),
        ("9,b", "earlier than the line before"),
        ("9000000000,b", "more than 20 years"),
    ],
)
def test_a_line_that_cannot_be_is_named(line: str, reason: str) -> None:
    with pytest.raises(BadLog, match=rf"^line 3: .*{reason}"):
        access_log.parse(["# c", "10,a", line, "30,c"])


@pytest.mark.parametrize("moment", ["10000000000", "9999-12-31T00:00:00", "1900-01-01T00:00:00"])
def test_a_time_of_another_century_is_refused(moment: str) -> None:
    with pytest.raises(BadLog, match=r"^line 1: .*from 1970 to 2100"):
        access_log.parse([f"{moment},a", f"{moment},b"])


def test_a_log_of_comments_only_is_none() -> None:
    with pytest.raises(BadLog, match="no look-ups"):
        access_log.parse(["# c", "timestamp,key"])


def test_plain_and_packed_files_read_alike(tmp_path: Path) -> None:
    text = "10,a\n20,ñ\n"
    (tmp_path / "plain.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "packed").write_bytes(gzip.compress(text.encode()))
    plain, packed = access_log.read(str(tmp_path / "plain.csv")), access_log.read(str(tmp_path / "packed"))
    assert plain == packed
    assert plain.names == ["a", "ñ"]


# Named: packed bytes have the time in them, and the processes of a test run would not agree on the test's name
@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"10,a\n" * 5000)[:-20], b"10,\xff\xfe\n", None],
    ids=["cut off", "garbled", "missing"],
)
def test_a_file_that_is_cut_off_garbled_or_missing_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadLog, match="cannot be read"):
        access_log.read(str(path))
