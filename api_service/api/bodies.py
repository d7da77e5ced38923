"""How a body is read. Of two values for one name Python takes the last: a clearing of one RUC could be one of all."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser


class EachNameOnce(Parser):
    """JSON as RFC 7493 (I-JSON) has it in this; ninja makes a 400 of the ValueError."""

    def parse_body(self, request: HttpRequest) -> Any:
        return loads(request.body)


def loads(body: bytes) -> Any:
    """Raises ValueError, also for what is nested too deeply."""
    try:
        return json.loads(body, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found
