"""JSON by orjson: a fifth of the time, and times as ISO 8601."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpRequest
from ninja.renderers import BaseRenderer

JSON = "application/json"
NDJSON = "application/x-ndjson"


class OrjsonRenderer(BaseRenderer):
    media_type = JSON

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:  # noqa: ARG002 - ninja's
        return orjson.dumps(data)


def line(data: Any) -> bytes:
    """One line of NDJSON."""
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)
