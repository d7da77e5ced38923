"""Pages by cursor: each begins after the last row of the one before, whatever was added since. Nothing is counted."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import orjson
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import Field

from api_service.api.problems import Refused, bad_value

M = TypeVar("M", bound=Model)

LARGEST_PAGE = 1000
LARGEST_NUMBER = 2**63 - 1


class Paging(Schema):
    cursor: str | None = Field(
        None, max_length=1000, description="`next` of the page before; without it the first page."
    )
    limit: int = Field(100, ge=1, le=LARGEST_PAGE, description="Rows at most.")


class Rows(TypedDict):
    items: list[dict[str, Any]]
    next: str | None


def page(
    rows: Sequence[M], limit: int, as_json: Callable[[M], dict[str, Any]], place: Callable[[M], list[Any]]
) -> Rows:
    """`rows` are one more than the page has, if there are so many; `place` is where a row stands in their order."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {"items": [as_json(row) for row in shown], "next": _cursor(place(shown[-1])) if more else None}


def newest_first(rows: QuerySet[M], paging: Paging, as_json: Callable[[M], dict[str, Any]]) -> Rows:
    """By number, as rows are written in the order of time."""
    if paging.cursor is not None:
        rows = rows.filter(pk__lt=number_of(paging.cursor))
    found = list(rows.order_by("-pk")[: paging.limit + 1])
    return page(found, paging.limit, as_json, lambda row: [row.pk])


def number_of(cursor: str) -> int:
    [number] = place_of(cursor, int)
    if not 0 <= number <= LARGEST_NUMBER:
        raise Refused(_bad_cursor())
    return int(number)


def place_of(cursor: str, *kinds: type) -> list[Any]:
    """What `page` put into it. Anybody may write one: only its form is believed."""
    try:
        place = orjson.loads(urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError, ValueError) as error:
        raise Refused(_bad_cursor()) from error
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds):
        raise Refused(_bad_cursor())
    if any("\x00" in part for part in place if isinstance(part, str)):
        # PostgreSQL has no such text
        raise Refused(_bad_cursor())
    return place


def _cursor(place: list[Any]) -> str:
    return urlsafe_b64encode(orjson.dumps(place)).decode()


def _bad_cursor() -> Any:
    return bad_value(_("cursor: not one of this list."))
