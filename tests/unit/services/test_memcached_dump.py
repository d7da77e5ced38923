from io import BytesIO

import pytest

from api_service.services.backends import memcached_dump
from api_service.services.backends.base import Entry, InventoryError
from api_service.services.backends.memcached_dump import _Busy, _raise_if_refused, parse_dump

RUC = b"key=%3A1%3Amigo%3Aruc_1 exp=1795366162 la=1 cas=3 fetch=yes cls=11 size=786\n"


def parsed(*lines: bytes, prefix: str = "") -> list[Entry]:
    return list(parse_dump(BytesIO(b"".join(lines) + b"END\r\n"), prefix))


def line(key: str, rest: str = "exp=-1 la=1 cas=3 fetch=no cls=1 size=70") -> bytes:
    return f"key={key} {rest}\n".encode()


def test_a_line_is_an_entry() -> None:
    assert parsed(RUC) == [Entry(":1:migo:ruc_1", 786, 1795366162.0, read=True)]
    assert parsed(line("a")) == [Entry("a", 70, None, read=False)]
    assert parsed() == []


@pytest.mark.parametrize(
    ("quoted", "key"),
    [
        ("a%20b", "a b"),
        ("%253A", "%3A"),
        ("%25253A", "%253A"),
        ("100%25", "100%"),
        ("%C3%B1and%C3%BA", "ñandú"),
        ("%3A%3A%25", "::%"),
        ("key%3Dx%20exp%3D9", "key=x exp=9"),
        ("x" * 250, "x" * 250),
    ],
)
def test_quoted_characters_come_back(quoted: str, key: str) -> None:
    assert [entry.key for entry in parsed(RUC, line(quoted), RUC)] == [":1:migo:ruc_1", key, ":1:migo:ruc_1"]
    assert key in [entry.key for entry in parsed(RUC, line(quoted), prefix=key)]


def test_a_prefix_is_literal() -> None:
    keys = ("%3A1%3Amigo%3Aa", "%3A1%3Amigo2%3Aa", "%3A1%3Amig", "1%3Amigo%3Aa", "x.1%3Amigo%3Aa")

    assert [entry.key for entry in parsed(*map(line, keys), prefix=":1:migo:")] == [":1:migo:a"]
    assert parsed(*map(line, keys), prefix=".") == []


def test_locks_and_probes_are_not_listed_whatever_their_prefix() -> None:
    keys = ("%3A1%3Amigo%3Aa", "cache-operations-lock.dump", "%3A1%3Acache-operations-lock.alias.5f")

    assert [entry.key for entry in parsed(*map(line, keys))] == [":1:migo:a"]


@pytest.mark.parametrize(
    "rest",
    [
        "exp=-1 la=1 cas=3 fetch=yes cls=11 size=786 flags=74",
        "exp=-1 new=1 la=1 cas=3 fetch=yes cls=11 size=786",
        "size=786 fetch=yes exp=-1",
        "exp=-1 la=1 cas=3 fetch=yes cls=11 size=786 \r",
    ],
)
def test_fields_that_a_later_memcached_adds_or_moves_are_no_matter(rest: str) -> None:
    expected = [Entry("a", 786, None, read=True)]

    assert parsed(line("a", rest)) == expected
    # Some lines have more fields than the first
    assert parsed(RUC, line("a", rest), RUC)[1:2] == expected


def test_blocks_end_where_lines_do(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line(f"%3A1%3Amigo%3Aruc_{number}") for number in range(300)]
    for size in (1, 7, 70, 1000):
        monkeypatch.setattr(memcached_dump, "BLOCK_BYTES", size)
        assert [entry.key for entry in parsed(*lines)] == [f":1:migo:ruc_{number}" for number in range(300)]


@pytest.mark.parametrize("broken", ["exp=soon fetch=no size=1", "exp=-1 fetch=no", "exp=-1 fetch=no size=big", "junk"])
def test_a_line_that_cannot_be_read_is_an_error_and_no_key_less(broken: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        parsed(RUC, line("a", broken), RUC)


def test_a_key_that_reads_like_a_refusal_is_none() -> None:
    for head in (b"key=ERROR exp=-1 la=1\n", b"END\r\n", b"ERRO"):
        _raise_if_refused("n", head)


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(InventoryError, match="switch the crawler on with `lru_crawler enable`"):
        _raise_if_refused("n", b"CLIENT_ERROR lru crawler disabled\r\n")
    for old in (b"ERROR\r\n", b"BADCLASS invalid class id\r\n"):
        with pytest.raises(InventoryError, match=r"too old .* memcached 1\.6\.9 or later"):
            _raise_if_refused("n", old)
    with pytest.raises(InventoryError, match="start memcached without -X"):
        _raise_if_refused("n", b"ERROR metadump not allowed\r\n")
    with pytest.raises(_Busy):
        _raise_if_refused("n", b"BUSY currently processing crawler request\r\n")
