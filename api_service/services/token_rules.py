"""Tokens of the HTTP API: what one looks like, what it opens, and until when. Pure but for `new_secret`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

# What secret scanners, and our own logs, know a token by
MARK: Final = "cw"
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_PREFIX_LENGTH: Final = 8
_SECRET_BYTES: Final = 32
_FORM = re.compile(rf"{MARK}_([{_ALPHABET}]{{{_PREFIX_LENGTH}}})_([A-Za-z0-9_-]{{43}})")


class Scope(StrEnum):
    """What a token may be allowed. Reading operations and changing them are apart; a look-up may cost money."""

    LOOKUP = "lookup"
    OPERATIONS_READ = "operations:read"
    CACHE_CLEAR = "cache:clear"
    WARMING_RUN = "warming:run"
    INCIDENTS_WRITE = "incidents:write"


class State(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asks, and what they may. `id` is the token's prefix, or the name of the setting that it is in.

    `per_minute` is 0 where there is no limit.
    """

    id: str
    name: str
    scopes: frozenset[str]
    per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A token's row as it was read at `read_at` (Unix seconds)."""

    digest: str
    grant: Grant
    state_until: datetime | None
    revoked: bool
    used_at: datetime | None
    read_at: float

    def opens(self, text: str, now: datetime) -> bool:
        """Compared in constant time, whatever the state is."""
        right = hmac.compare_digest(self.digest, digest(text))
        return right and state(self.state_until, revoked=self.revoked, now=now) is State.ACTIVE


def new_secret() -> tuple[str, str]:
    """A token's prefix and its whole text."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_LENGTH))
    return prefix, f"{MARK}_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def prefix_of(text: str) -> str | None:
    """None for what is no token of this form: it costs no query."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def state(expires_at: datetime | None, *, revoked: bool, now: datetime) -> State:
    if revoked:
        return State.REVOKED
    return State.EXPIRED if expires_at is not None and expires_at <= now else State.ACTIVE
