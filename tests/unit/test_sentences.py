"""What is found again in a stored text, and that it never fails nor loses a sign."""

from __future__ import annotations

from typing import Final

import pytest

from api_service.sentences import Piece, Reader

READER = Reader(
    {
        "timed out": "sin tiempo",
        "interrupted; resume it": "interrumpida; continúela",
        "without a reason": "sin motivo",
        "the service refused: %(said)s": "el servicio se negó: %(said)s",
        "the service refused: %(said)s, and that is all": "eso es todo lo que dijo el servicio: %(said)s",
        "%(node)s does not answer (%(error)s): later": "%(node)s no responde (%(error)s): luego",
        "moved from %(a)s to %(b)s": "a %(b)s desde %(a)s",
        "%(a)s is %(a)s": "%(a)s es lo mismo",
    }
)


def read(text: str) -> str:
    return "".join(piece.text for piece in READER.read(text))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("timed out", "sin tiempo"),
        ("moved from one to two words", "a two words desde one"),
        ("moved from one\nline to two", "a two desde one\nline"),
        ("n1 is n1", "n1 es lo mismo"),
        ("n1 is n2", "n1 is n2"),
        # The longer sentence was meant
        ("the service refused: no, and that is all", "eso es todo lo que dijo el servicio: no"),
    ],
)
def test_a_sentence_is_found_with_what_was_filled_in(stored: str, shown: str) -> None:
    assert read(stored) == shown


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("127.0.0.1:11211: timed out", "127.0.0.1:11211: sin tiempo"),
        ("InventoryError: 127.0.0.1:11211: timed out", "InventoryError: 127.0.0.1:11211: sin tiempo"),
        ("n1: timed out; n2: Connection refused", "n1: sin tiempo; n2: Connection refused"),
        ("n1: Connection refused; n2: timed out", "n1: Connection refused; n2: sin tiempo"),
        ("n1: interrupted; resume it; n2: timed out", "n1: interrumpida; continúela; n2: sin tiempo"),
        ("n1 does not answer (n2: timed out): later", "n1 no responde (n2: sin tiempo): luego"),
        ("n1 does not answer (a (b): c): later", "n1 no responde (a (b): c): luego"),
    ],
)
def test_it_is_found_behind_a_node_in_a_list_and_within_another_sentence(stored: str, shown: str) -> None:
    assert read(stored) == shown


def test_what_is_of_others_is_told_apart_from_what_is_ours() -> None:
    assert READER.read("n1 does not answer (OSError: [Errno 111] Connection refused): later") == (
        Piece("n1 no responde (OSError: "),
        Piece("[Errno 111] Connection refused", is_foreign=True),
        Piece("): luego"),
    )


@pytest.mark.parametrize("text", ["10.0.0.7:11211, 10.0.0.8:11211", "12 ms > 5 ms", "noeviction", "TimeoutError"])
def test_an_address_a_number_or_a_name_belongs_to_no_language(text: str) -> None:
    assert READER.read(text) == (Piece(text),)


def test_words_of_a_service_are_not_looked_up_and_no_language_is_claimed_of_them() -> None:
    assert READER.read("the service refused: timed out") == (Piece("el servicio se negó: timed out"),)


def test_names_of_ours_are_found_in_a_list_of_names_and_nowhere_else() -> None:
    assert read("timed out, migo, without a reason") == "sin tiempo, migo, sin motivo"
    assert read("timed out, somebody says") == "timed out, somebody says"


@pytest.mark.parametrize(
    "text", ["", " ", ": ", "; ", ";", "a: ", ": a", "%(a)s", "%", "{}", "\0", "é: ñ; 日本", "a; ; b"]
)
def test_a_text_of_others_comes_back_sign_by_sign(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize("part", ["; ", ": ", "a: ", "a; ", "a: b; ", "(", "moved from ", " to ", "does not answer ("])
def test_a_text_made_to_be_looked_at_everywhere_comes_back_as_well(part: str) -> None:
    text = part * 1000
    assert read(text) == text


def test_sentences_within_sentences_end_somewhere() -> None:
    deep = "n1 does not answer (" * 60 + "timed out" + "): later" * 60
    assert read(deep).startswith("n1 no responde (n1 no responde (")
    assert read(deep).endswith("): luego): luego")
    assert "timed out" in read(deep)


LAST: Final = "it was looked for everywhere"
CUT: Final = Reader({LAST: "se buscó en todas partes", "it was looked for in vain": "se buscó en vano"})


@pytest.mark.parametrize("length", [20, 25, len(LAST)])
def test_a_sentence_that_is_cut_at_the_length_of_its_column_is_told_whole(length: int) -> None:
    told = "".join(piece.text for piece in CUT.read(f"n1: {LAST}; n2: {LAST[:length]}"))
    assert told == "n1: se buscó en todas partes; n2: se buscó en todas partes"


@pytest.mark.parametrize("beginning", ["it was looked for ", "it was loo", "it was looked for elsewhere"])
def test_what_two_sentences_begin_with_or_none_is_not_guessed(beginning: str) -> None:
    assert CUT.read(f"n1: {beginning}")[-1] == Piece(beginning, is_foreign=True)


def test_a_text_longer_than_any_row_keeps_is_shown_and_not_searched() -> None:
    text = "n1: timed out; n2: words of others ".ljust(2000, "x")
    assert read(text).startswith("n1: sin tiempo; n2: words of others x")
    assert READER.read(f"{text}x") == (Piece(f"{text}x", is_foreign=True),)


def test_a_language_without_sentences_shows_every_text_whole() -> None:
    text = "n1: timed out after 3 s; n2: timed out"
    assert Reader({}).read(text) == (Piece(text, is_foreign=True),)
