"""Sends one alert through the outgoing door. One attempt: the outbox repeats what may work later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from api_service.sentences import sentence
from api_service.services.errors import UpstreamError
from api_service.services.upstream import ANSWERED, Patience, Request, Response, door, error_for
from workers.alerts.channels import SEND_SECONDS, ChannelError

PATIENCE = Patience(connect=3.05, read=8.0, deadline=SEND_SECONDS, attempts=1)


def post(
    url: str,
    *,
    headers: Mapping[str, str],
    json: object = None,
    data: bytes | None = None,
    seconds: float = SEND_SECONDS,
) -> None:
    """Returns when the other side has accepted, within `seconds`; otherwise a ChannelError with what it said."""
    patience = replace(PATIENCE, deadline=seconds)
    try:
        response = door().call(Request("POST", url, headers, json, data), patience, _as_it_is)
    except UpstreamError as error:
        raise ChannelError(error.message, permanent=error.permanent, retry_after=error.retry_after) from error
    if (refusal := error_for(response, datetime.now(UTC))) is not None:
        raise ChannelError(_why(response), permanent=refusal.permanent, retry_after=refusal.retry_after)


def _why(response: Response) -> str:
    """Slack names the cause in a word ("no_service"), Sentry in a sentence; a proxy sends a page."""
    facts = {"status": response.status, "said": " ".join(response.text.split())[:120].rstrip(": ")}
    answered = sentence("the service answered %(status)s: %(said)s")
    return (answered if facts["said"] else ANSWERED) % facts


def _as_it_is(response: Response) -> Response:
    return response
