"""The answer store: the last good answer of each look-up, free to serve again while inside its life time.

It is a benefit, never a condition: a database that is down is logged, and the look-up goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.utils import timezone

from api_service.models import StoredAnswer

logger = logging.getLogger(__name__)

IDENTIFIERS_A_QUERY = 500  # SQLite takes a limited number of parameters


@dataclass(frozen=True, slots=True)
class Stored:
    data: dict[str, Any]
    born_at: float  # Unix seconds


def save(service: str, kind: str, answers: Mapping[str, dict[str, Any]], born_at: float) -> None:
    """Keep the answers by identifier."""
    born = datetime.fromtimestamp(born_at, tz=timezone.get_default_timezone())
    rows = [
        StoredAnswer(service=service, kind=kind, identifier=name, data=orjson.dumps(data).decode(), born_at=born)
        # In one order everywhere: two writers of the same rows wait for each other in turn, not for ever
        for name, data in sorted(answers.items())
    ]
    try:
        with transaction.atomic():
            StoredAnswer.objects.bulk_create(
                rows,
                batch_size=500,
                update_conflicts=True,
                unique_fields=["service", "kind", "identifier"],
                update_fields=["data", "born_at"],
            )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("%d answers were not kept in the store: %s", len(rows), error)


def fresh(service: str, kind: str, identifiers: Iterable[str], life: float, now: float) -> dict[str, Stored]:
    """The answers younger than `life` seconds, by identifier."""
    oldest = datetime.fromtimestamp(now, tz=timezone.get_default_timezone()) - timedelta(seconds=life)
    rows = StoredAnswer.objects.filter(service=service, kind=kind, born_at__gt=oldest)
    names, found = list(identifiers), dict[str, Stored]()
    try:
        with transaction.atomic():
            for start in range(0, len(names), IDENTIFIERS_A_QUERY):
                some = rows.filter(identifier__in=names[start : start + IDENTIFIERS_A_QUERY])
                for name, data, born in some.values_list("identifier", "data", "born_at"):
                    found[name] = Stored(orjson.loads(data), born.timestamp())
            return found
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the answer store cannot be read: %s", error)
        return {}


def forget(service: str, kind: str, identifier: str) -> None:
    """Drop what turned out not to exist any more."""
    try:
        with transaction.atomic():
            StoredAnswer.objects.filter(service=service, kind=kind, identifier=identifier).delete()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("a stored answer was not dropped: %s", error)


def prune(now: datetime) -> int:
    """Drop answers beyond `ANSWER_RETENTION_DAYS`; the number dropped."""
    oldest = now - timedelta(days=settings.ANSWER_RETENTION_DAYS)
    return StoredAnswer.objects.filter(born_at__lt=oldest).delete()[0]
