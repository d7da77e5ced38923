"""Texts of rows and errors, which are in English, in the language that is active."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.utils.translation import get_language, trans_real

from api_service.sentences import CONTEXT, Piece, Reader


def translated(text: str) -> str:
    """What is a sentence of ours in the active language; all else as it is."""
    return "".join(piece.text for piece in pieces(text))


def pieces(text: str) -> tuple[Piece, ...]:
    """The same, for who marks what stays in English."""
    return _reader(get_language()).read(text)


@cache
def _reader(language: str | None) -> Reader:
    """Of the active language; it knows no sentence where none is translated, as they are English already."""
    if language is None:
        return Reader({})
    lead = f"{CONTEXT}\4"
    # gettext answers for a text that is known; here the text is to be found that one was made of
    catalog: Any = trans_real.catalog()
    every = catalog._catalog.items()  # noqa: SLF001 - what Django has for "the whole message catalog" ends here
    return Reader({text.removeprefix(lead): shown for text, shown in every if str(text).startswith(lead)})
