"""Marks as invalid by hand, as the log has them. What `ruc_acts` writes there is read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib.admin.models import LogEntry
from django.db.models import Q, QuerySet

from api_service.admin import audit

MARKED: Final = re.compile(r"mark: (beside_an_answer, )?reason=\w+ hours=(?P<hours>\d+)")
# What began or ended a mark: an answer of APIMIGO takes its place, be it a record or none; a failure leaves it
_MARKED = Q(change_message__startswith="mark: ") & ~Q(change_message__startswith="mark: failed")
_UNMARKED = Q(change_message__in=["unmark: yes", "unmark: nothing_there"])
_NO_ANSWER = Q(change_message="refresh: asked") | Q(change_message__startswith="refresh: failed")
_ANSWERED = Q(change_message__startswith="refresh: ") & ~_NO_ANSWER


@dataclass(frozen=True, slots=True)
class Mark:
    made_at: datetime
    until: datetime


def logged_as(number: str) -> str:
    """What the log calls a RUC."""
    return f"{audit.RUC_PREFIX}{number}"


def done_to(number: str) -> QuerySet[LogEntry]:
    """All that was done to this RUC by hand, newest first."""
    return LogEntry.objects.filter(content_type=None, object_repr=logged_as(number)).order_by("-pk")


def last(number: str) -> Mark | None:
    """The last mark that nobody has ended by hand since. One query, however much was done since."""
    row = done_to(number).filter(_MARKED | _UNMARKED | _ANSWERED).first()
    return None if row is None else _mark(row.action_time, row.change_message)


def _mark(at: datetime, said: str) -> Mark | None:
    found = MARKED.fullmatch(said)
    return found and Mark(at, at + timedelta(hours=int(found["hours"])))
