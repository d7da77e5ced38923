from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from api_service.services.backends import memcached_keys
from api_service.services.backends.memcached_keys import Backlog, matched

REST = b" exp=-1 la=1 cas=3 fetch=no cls=1 size=70\n"
LIST = b"".join(
    b"key=" + key + REST
    for key in (
        b"%3A1%3Amigo%3Aruc_1",
        b"%3A1%3Anubefact%3Adoc_1",
        b"%3A1%3Amigo2%3Aruc_2",
        b"%3A1%3Amigo%3Aruc_%252A",
        b"%3A1%3Amigo%3A%C3%B1%20a",
        b"x%3A1%3Amigo%3Aruc_3",
        b"%3A1%3Amigo%3Aruc_cache-operations-lock.x",
        b"%3A1%3Amigo%3Alast",
    )
)
OURS = [":1:migo:ruc_1", ":1:migo:ruc_%2A", ":1:migo:ñ a", ":1:migo:last"]


def keys(*chunks: bytes, prefix: str = ":1:migo:") -> list[str]:
    return [key for found in matched(chunks, prefix) for key in found]


def test_only_keys_of_the_prefix_are_named_and_never_a_lock() -> None:
    assert keys(LIST + b"END\r\n") == OURS
    assert len(keys(LIST + b"END\r\n", prefix="")) == 7
    assert keys(b"END\r\n") == keys() == []


def test_a_list_may_be_cut_anywhere() -> None:
    text = LIST + b"END\r\n"
    assert all(keys(text[:cut], text[cut:]) == OURS for cut in range(len(text)))
    assert keys(*(text[place : place + 1] for place in range(len(text)))) == OURS


def test_a_list_that_is_asked_for_again_after_an_empty_one_has_all_its_keys() -> None:
    assert keys(b"END\r\n", b"END\r\n", LIST, b"END\r\n") == OURS


@pytest.fixture
def backlog() -> Iterator[Backlog]:
    with TemporaryFile(buffering=0) as spill:
        yield Backlog(spill)


def test_what_nobody_takes_yet_is_spilled_and_comes_back_in_its_order(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one thread writes all before the other takes any: it never waits."""
    monkeypatch.setattr(memcached_keys, "MEMORY_BYTES", 25)
    chunks = [bytes([number]) * 10 for number in range(40)]
    for chunk in chunks[:20]:
        backlog.write(chunk)
    taking = backlog.chunks()
    taken = [next(taking) for _ in range(10)]
    for chunk in chunks[20:]:
        backlog.write(chunk)
    backlog.end()

    assert taken + list(taking) == chunks
    assert backlog.tell() == 400
    assert 300 < Path(f"/proc/self/fd/{backlog._spill.fileno()}").stat().st_size < 400, "some went through memory"


def test_what_comes_after_the_taker_has_gone_is_thrown_away(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memcached_keys, "MEMORY_BYTES", 0)
    backlog.abandon()
    backlog.write(b"x" * 100)
    backlog.end()

    assert list(backlog.chunks()) == []
    assert backlog._spill.seek(0, 2) == 0
