"""The answer store: the last good answer of each look-up, free to serve again while inside its life time.

It is a benefit, never a condition. A look-up waits at most `ANSWER_STORE_SECONDS` for it, and not at all while the
database is in trouble; answers wait in memory then and are written once it is back. With 0 all happens in the
caller's own thread and transaction, however long it takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypedDict

import orjson
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from api_service.services import answer_rows, bounded
from api_service.services.answer_rows import Identity, Kept
from api_service.services.bounded import BoundedCalls, NoAnswerInTime
from api_service.services.group_commit import GroupCommit

logger = logging.getLogger(__name__)

# One read: a caller with more has the limit for each, and others have their turn in between
IDENTIFIERS_A_READ = 1000
# About 20 MB of answers
MOST_WAITING = 20_000

_writer: GroupCommit[Identity, Kept] = GroupCommit(
    bounded.answer_writes, answer_rows.write, answer_rows.newest, MOST_WAITING
)
_reader = BoundedCalls("answers-reader", bounded.answer_reads)


@dataclass(frozen=True, slots=True)
class Stored:
    data: dict[str, Any]
    born_at: float  # Unix seconds


class Pruned(TypedDict):
    too_old: int
    too_many: int


def save(service: str, kind: str, answers: Mapping[str, dict[str, Any]], born_at: float, *, wait: bool = True) -> None:
    """Keep the answers by identifier, unless the store has newer ones. One that is no JSON is logged and left out.

    Without `wait` they are only handed over: a process that is killed then may lose those of the last moments.
    """
    texts = {name: text for name, data in answers.items() if (text := _text(service, kind, data)) is not None}
    _keep({(service, kind, name): Kept(text, born_at) for name, text in texts.items()}, wait=wait)


def flush(seconds: float) -> bool:
    """Whether all that this process was given is written, waited for at most so long."""
    return _writer.flush(seconds)


def forget(service: str, kind: str, identifiers: Iterable[str], at: float) -> None:
    """Drop what turned out at that time not to exist any more."""
    _keep({(service, kind, name): Kept(None, at) for name in identifiers})


def fresh(service: str, kind: str, identifiers: Iterable[str], life: float, now: float) -> dict[str, Stored]:
    """The answers younger than `life` seconds, by identifier; those that a database in trouble gives, maybe none."""
    names, oldest = list(identifiers), now - life
    found: dict[str, Stored] = {}
    try:
        for start in range(0, len(names), IDENTIFIERS_A_READ):
            found |= _read(service, kind, names[start : start + IDENTIFIERS_A_READ], oldest)
    except NoAnswerInTime:
        logger.debug("the answer store is not waited for")
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the answer store cannot be read: %s", error)
    return _with_waiting(found, service, kind, names, oldest)


def may_have_been_forgotten(since: float) -> bool:
    """Whether somebody clears stored answers, or has since then (Unix seconds); also when the database does not say."""
    act = partial(answer_rows.were_cleared, _moment(since))
    try:
        return _reader.call(act, settings.ANSWER_STORE_SECONDS) if settings.ANSWER_STORE_SECONDS > 0 else act()
    except (DatabaseError, InterfaceError):
        return True


def read(service: str, kind: str, identifiers: Iterable[str], life: float, now: float) -> dict[str, Stored]:
    """As `fresh`, for those who would rather not go on without the store: no limit of time, and errors are raised."""
    names, oldest = list(identifiers), now - life
    found = _stored(answer_rows.read(service, kind, names, _moment(oldest)))
    return _with_waiting(found, service, kind, names, oldest)


def prune(now: datetime) -> Pruned:
    """Drop answers beyond `ANSWER_RETENTION_DAYS`, then the oldest beyond `ANSWER_MAX_ROWS`."""
    too_old = answer_rows.drop_older(now - timedelta(days=settings.ANSWER_RETENTION_DAYS))
    most = settings.ANSWER_MAX_ROWS
    return {"too_old": too_old, "too_many": answer_rows.drop_beyond(most) if most else 0}


def _keep(items: Mapping[Identity, Kept], *, wait: bool = True) -> None:
    seconds = settings.ANSWER_STORE_SECONDS
    if not items:
        return
    if seconds <= 0:
        _keep_now(items)
    elif not wait or (connection.vendor == "sqlite" and connection.in_atomic_block):
        # A caller that holds the only write lock there is would wait for itself
        _writer.put(items)
    else:
        _writer.hand_over(items, seconds)


def _keep_now(items: Mapping[Identity, Kept]) -> None:
    try:
        with transaction.atomic():
            answer_rows.write(items)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("%d answers were not kept in the store: %s", len(items), error)


def _read(service: str, kind: str, names: list[str], oldest: float) -> dict[str, Stored]:
    act = partial(answer_rows.read, service, kind, names, _moment(oldest))
    if settings.ANSWER_STORE_SECONDS > 0:
        return _stored(_reader.call(act, settings.ANSWER_STORE_SECONDS))
    return _stored(act())


def _stored(rows: Iterable[tuple[str, str, datetime]]) -> dict[str, Stored]:
    return {name: Stored(orjson.loads(data), born.timestamp()) for name, data, born in rows}


def _with_waiting(
    found: dict[str, Stored], service: str, kind: str, names: Iterable[str], oldest: float
) -> dict[str, Stored]:
    """What is not written yet counts already: an answer of this process, or that there is none any more."""
    waiting = _writer.waiting((service, kind, name) for name in names)
    for (_service, _kind, name), kept in waiting.items():
        if name in found and found[name].born_at > kept.born_at:
            continue
        found.pop(name, None)
        if kept.data is not None and kept.born_at > oldest:
            found[name] = Stored(orjson.loads(kept.data), kept.born_at)
    return found


def _text(service: str, kind: str, data: dict[str, Any]) -> str | None:
    """Half of a surrogate pair, or a number beyond 64 bits, passes the provider's JSON and not ours."""
    try:
        return orjson.dumps(data).decode()
    except TypeError:
        logger.exception("an answer of %s %s cannot be kept", service, kind)
        return None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_default_timezone())
