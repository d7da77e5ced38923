"""Tokens of the HTTP API: made, revoked, and recognised at each request.

A process remembers a token's row for `FRESH_SECONDS`: a request costs a query only then, and a token that is revoked
opens nothing from then on. While the database is in trouble what was known is good for `KEPT_SECONDS`, so that
answers in the cache are still served.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Q

from api_service.models import ApiToken
from api_service.sentences import sentence
from api_service.services import token_rules
from api_service.services.bounded import BoundedCalls, Breaker, DatabaseThread, OneAProcess, with_reconnect
from api_service.services.token_rules import Grant, Known, Scope

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 300.0
USE_IS_WRITTEN_EVERY: Final = timedelta(minutes=1)
DEFAULT_PER_MINUTE: Final = 600
MOST_PER_MINUTE: Final = 1_000_000

_reads = BoundedCalls("api-tokens", Breaker(sentence("API tokens")))
_uses = DatabaseThread("api-token-uses")


class _Memory(OneAProcess):
    """Only tokens that exist get in, so it is as large as the table at most."""

    def begin(self) -> None:
        self.known: dict[str, Known] = {}


_memory = _Memory()


class NoSuchToken(Exception):
    """No row of that prefix."""


def create(
    name: str,
    scopes: Iterable[str],
    *,
    by: str,
    now: datetime,
    expires_at: datetime | None = None,
    per_minute: int = DEFAULT_PER_MINUTE,
) -> tuple[ApiToken, str]:
    """The row, and the token's text, which is nowhere else: to be shown once. ValueError names what cannot be."""
    chosen = sorted({Scope(scope) for scope in scopes})
    if not name.strip() or not chosen:
        raise ValueError("a token needs a name and at least one scope")
    if expires_at is not None and expires_at <= now:
        raise ValueError("a token that has expired already opens nothing")
    if not 0 <= per_minute <= MOST_PER_MINUTE:
        raise ValueError(f"requests a minute: 0 (no limit) to {MOST_PER_MINUTE}")
    prefix, text = token_rules.new_secret()
    row = ApiToken.objects.create(
        name=name.strip()[:100],
        prefix=prefix,
        digest=token_rules.digest(text),
        scopes=[str(scope) for scope in chosen],
        per_minute=per_minute,
        created_by=by[:150],
        created_at=now,
        expires_at=expires_at,
    )
    logger.info("API token %s made by %s: %s", row, by, ", ".join(row.scopes))
    return row, text


def revoke(prefix: str, *, by: str, now: datetime) -> bool:
    """False when it was revoked before. NoSuchToken for a prefix that no token has."""
    if not ApiToken.objects.filter(prefix=prefix).exists():
        raise NoSuchToken(f"no token begins with {prefix!r}")
    done = ApiToken.objects.filter(prefix=prefix, revoked_at=None).update(revoked_at=now, revoked_by=by[:150])
    forget()
    if done:
        logger.info("API token %s revoked by %s", prefix, by)
    return bool(done)


def forget() -> None:
    """What this process remembers: the next request of each token reads its row."""
    _memory.known = {}


def recognise(text: str, now: datetime) -> Grant | None:
    """Whom this token stands for; None for one that opens nothing. Raises Django's database error if nobody knows."""
    prefix = token_rules.prefix_of(text)
    known = _known(prefix, now) if prefix else None
    if known is None or not known.opens(text, now):
        return None
    if known.used_at is None or now - known.used_at >= USE_IS_WRITTEN_EVERY:
        _note_use(known, now)
    return known.grant


def _known(prefix: str, now: datetime) -> Known | None:
    at, known = now.timestamp(), _memory.known.get(prefix)
    if known is not None and 0 <= at - known.read_at < FRESH_SECONDS:
        return known
    try:
        row = _read(prefix)
    except (DatabaseError, InterfaceError) as error:
        if known is None or at - known.read_at >= KEPT_SECONDS:
            raise
        logger.debug("API token %s as it was known: %s", prefix, error)
        return known
    if row is None:
        _memory.known.pop(prefix, None)
        return None
    known = _memory.known[prefix] = _of_row(row, at)
    return known


def _read(prefix: str) -> ApiToken | None:
    act = partial(_row, prefix)
    return _reads.call(act, settings.ANSWER_STORE_SECONDS) if settings.ANSWER_STORE_SECONDS > 0 else act()


def _row(prefix: str) -> ApiToken | None:
    return ApiToken.objects.filter(prefix=prefix).first()


def _of_row(row: ApiToken, at: float) -> Known:
    grant = Grant(row.prefix, row.name, frozenset(row.scopes), row.per_minute)
    return Known(row.digest, grant, row.expires_at, row.revoked_at is not None, row.last_used_at, at)


def _note_use(known: Known, now: datetime) -> None:
    """Nobody waits for it: on SQLite another writer may be at work for seconds."""
    prefix = known.grant.id
    _memory.known[prefix] = replace(known, used_at=now)
    if settings.ANSWER_STORE_SECONDS > 0:
        _uses.submit(partial(_write_use, prefix, now))
    else:
        _write_use(prefix, now)


def _write_use(prefix: str, now: datetime) -> None:
    """Of several processes one writes."""
    due = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_IS_WRITTEN_EVERY)
    rows = ApiToken.objects.filter(due, prefix=prefix)
    try:
        with_reconnect(partial(rows.update, last_used_at=now))
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the use of API token %s was not written: %s", prefix, error)
