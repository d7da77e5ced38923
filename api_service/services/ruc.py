"""Peruvian tax numbers (RUC) and identity numbers (DNI). Pure: nothing here is paid for."""

import re
from functools import lru_cache
from typing import Final

from stdnum.pe.ruc import calc_check_digit

NO_EXISTE_SUNAT: Final = "NO_EXISTE_SUNAT"
FORMATO_INVALIDO: Final = "FORMATO_INVALIDO"

# stdnum's own list lacks 16, which SUNAT gives to some non-domiciled taxpayers: only its check digit is used here.
PREFIXES: Final = ("10", "15", "16", "17", "20")

_ELEVEN_DIGITS = re.compile(r"[0-9]{11}")
_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015\u200b\ufeff]+")


def normalise(text: str) -> str:
    """The number without the blanks and dashes that people paste with it."""
    return _SEPARATORS.sub("", text)


def is_eleven_digits(ruc: str) -> bool:
    return _ELEVEN_DIGITS.fullmatch(ruc) is not None


# Every look-up asks, the hot ones again and again
@lru_cache(maxsize=10_000)
def is_valid(ruc: str) -> bool:
    """Whether such a RUC can exist. The text must be normalised already."""
    return is_eleven_digits(ruc) and ruc.startswith(PREFIXES) and calc_check_digit(ruc) == ruc[-1]


def reason(ruc: str) -> str | None:
    """Why this RUC cannot exist, or None when it can."""
    return None if is_valid(ruc) else FORMATO_INVALIDO


def is_dni(dni: str) -> bool:
    return _EIGHT_DIGITS.fullmatch(dni) is not None


def dni_reason(dni: str) -> str | None:
    return None if is_dni(dni) else FORMATO_INVALIDO
