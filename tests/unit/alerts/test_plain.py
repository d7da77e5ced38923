"""Text from elsewhere, made harmless."""

import pytest

from workers.alerts.plain import cut, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:11211", "10.0.0.1:11211"),
        ("caché ñandú 世界 ☎", "caché ñandú 世界 ☎"),
        ("two\r\nlines\tand\x0bmore", "two lines and more"),
        ("bell\x07 escape\x1b[31m nul\x00", "bell escape [31m nul"),
        ("paragraph\u2029separator\u2028", "paragraph separator"),
        ("\u202eright to left\u202c \u2067isolate\u2069", "right to left isolate"),
        ("zero\u200bwidth\ufeff\u200d", "zerowidth"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("", ""),
    ],
)
def test_it_is_one_line_that_reads_as_it_is(text: str, expected: str) -> None:
    assert plain(text, 100) == expected


def test_it_is_no_longer_than_asked_for() -> None:
    assert plain("N" * 500, 100) == "N" * 99 + "…"
    assert len(plain("\x00" * 10_000 + "N" * 500, 100)) <= 100
    assert cut("N" * 100, 100) == "N" * 100


def test_a_very_long_text_costs_no_more_than_its_beginning() -> None:
    assert plain(" a" * 5_000_000, 5) == "a a …"
