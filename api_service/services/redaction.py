"""Keeps secrets out of everything that is written down: logs, errors, events, results.

Two nets. Known secret values are replaced wherever they stand, in each spelling they take on the way (URL-encoded,
JSON-escaped, the secret parts of an URL alone). Whatever looks like credentials inside an URL goes too, known or not.
"""

import json
import logging
import re
from collections.abc import Iterable
from typing import TypeVar, cast
from urllib.parse import quote, quote_plus, unquote, urlsplit

MARK = "[redacted]"
SHORTEST_SECRET = 6
# Shorter user names and paths ("postgres", "/5") are ordinary words: replacing them would blot out whole logs.
SHORTEST_URL_PART = 16

_URL_USERINFO = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^\s/@'\"<>]+@")
_QUERY = re.compile(r"\?[^\s'\"<>()\[\]{}=?]{1,200}=[^\s'\"<>()\[\]{}]*")
# Tokens of our own API, made at run time: they are known by their form (token_rules.py)
_API_TOKEN = re.compile(r"\bcw_(?P<prefix>[a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_BEARER = re.compile(r"(?P<scheme>\b(?:Bearer|Basic))\s+[A-Za-z0-9._~+/=-]{6,}")

T = TypeVar("T")


class Redactor:
    """Replaces the given secret values. Immutable: build a new one to know more."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        spellings = {spelling for value in values for spelling in _spellings(value)}
        # The longest first: a secret that contains another one must go as a whole.
        ordered = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def redact(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MARK, text)
        if "://" in text:
            text = _URL_USERINFO.sub(rf"\g<scheme>{MARK}@", text)
        if "?" in text:
            text = _QUERY.sub(f"?{MARK}", text)
        if "Bearer" in text or "Basic" in text:
            text = _BEARER.sub(rf"\g<scheme> {MARK}", text)
        if "cw_" in text:
            text = _API_TOKEN.sub(rf"cw_\g<prefix>_{MARK}", text)
        return text

    def scrub(self, value: T) -> T:
        """The same structure with every text in it redacted; keys too. Other values are kept as they are."""
        return cast("T", self._scrub(value))

    def _scrub(self, value: object) -> object:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, bytes | bytearray):
            # latin-1 keeps every byte, whatever the encoding of the rest.
            return self.redact(bytes(value).decode("latin-1")).encode("latin-1")
        if isinstance(value, dict):
            return {self._scrub(key): self._scrub(item) for key, item in value.items()}
        # A named tuple is built otherwise, so it becomes a plain one.
        plain = next((kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind)), None)
        return value if plain is None else plain(map(self._scrub, cast("Iterable[object]", value)))


def _spellings(value: str) -> set[str]:
    value = value.strip()
    if len(value) < SHORTEST_SECRET:
        return set()
    wholes = {value, *_secret_parts_of_url(value)}
    return {spelling for whole in wholes for spelling in _encodings(whole)}


def _encodings(value: str) -> set[str]:
    escaped = json.dumps(value)[1:-1]
    return {
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        escaped,
        json.dumps(value, ensure_ascii=False)[1:-1],
        escaped.replace("/", "\\/"),
        repr(value)[1:-1],
    }


def _secret_parts_of_url(value: str) -> set[str]:
    """A client names host and path apart, so the path of a webhook and the password of a DSN must be known alone."""
    if "://" not in value:
        return set()
    parts = urlsplit(value)
    found = {part for part in (parts.password, unquote(parts.password or "")) if len(part or "") >= SHORTEST_SECRET}
    candidates = [parts.username or "", parts.query]
    if parts.scheme in {"http", "https"}:
        candidates += [parts.path.strip("/"), parts.path.rstrip("/").rpartition("/")[2]]
    return {part for part in (*found, *(c for c in candidates if len(c) >= SHORTEST_URL_PART)) if part}


class _Process:
    """What this process knows to be secret. Replaced as a whole, so readers need no lock."""

    values: frozenset[str] = frozenset()
    redactor = Redactor()


def register_secrets(values: Iterable[str]) -> None:
    """From now on these values appear in no text that goes through `redact` in this process."""
    _Process.values = _Process.values | {value for value in values if value}
    _Process.redactor = Redactor(_Process.values)


def redact(text: str) -> str:
    return _Process.redactor.redact(text)


def scrub(value: T) -> T:
    return _Process.redactor.scrub(value)


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line: message, arguments and traceback alike."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
