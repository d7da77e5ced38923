"""Many taxpayers in one request: each once, the cached ones first, as a stream or as a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from api_service.api.access import Token, charge_more
from api_service.api.lookups import record_of, verdict_on
from api_service.api.rendering import JSON, NDJSON, line
from api_service.api.schemas import Batch, BatchResult
from api_service.services import lookup, results
from api_service.services.cache_service import MIGO
from api_service.services.failures import Trouble
from api_service.services.outcomes import Lookup, Source
from api_service.services.ruc import normalise
from api_service.services.subjects import RUC
from api_service.services.token_rules import Scope

router = Router(tags=["Look-ups"], auth=Token(Scope.LOOKUP))

# As the provider's collections: a batch takes as much of the token's minute as it has begun hundreds
RUCS_A_REQUEST = 100
# They tell it: a proxy that gathers the answer would make one piece of the stream
UNBUFFERED = {"X-Accel-Buffering": "no"}

STREAM = {
    "responses": {
        200: {
            "content": {
                NDJSON: {
                    "schema": {
                        "description": "One RucOutcome a line as they come, and a last line with the summary.",
                        "type": "string",
                    }
                }
            }
        }
    }
}


@router.post("/rucs/batch", response={200: BatchResult}, summary="Up to 1,000 taxpayers", openapi_extra=STREAM)
def batch(request: HttpRequest, asked: Batch) -> HttpResponseBase:
    """Each distinct RUC is asked for once: cache, then answer store, then APIMIGO, paid for one by one.

    With `Accept: application/x-ndjson` each comes as a line as soon as it is there, the cached ones at once, and the
    last line is `{"summary": …}`. Otherwise one JSON list in the order asked for. One that failed fails no other:
    look at its `problem`, and ask again for those that are not `permanent`. Each hundred RUCs begun counts as
    a request of the token's minute.
    """
    rucs = list(dict.fromkeys(normalise(ruc) for ruc in asked.rucs))
    charge_more(request, ceil(len(rucs) / RUCS_A_REQUEST) - 1)
    parts = _outcomes(rucs, asked)
    if NDJSON in request.headers.get("Accept", ""):
        return StreamingHttpResponse(
            _lines(parts, _Counts(len(asked.rucs), len(rucs))),
            content_type=NDJSON,
            headers=UNBUFFERED,
        )
    return _list(parts, rucs, len(asked.rucs))


def _list(parts: Iterator[list[dict[str, Any]]], rucs: Sequence[str], total: int) -> HttpResponse:
    counts = _Counts(total, len(rucs))
    found = {outcome["ruc"]: outcome for part in parts for outcome in counts.of(part)}
    return HttpResponse(line({**counts.summary(), "results": [found[ruc] for ruc in rucs]}), content_type=JSON)


def _lines(parts: Iterator[list[dict[str, Any]]], counts: _Counts) -> Iterator[bytes]:
    for part in parts:
        yield b"".join(map(line, counts.of(part)))
    yield line({"summary": counts.summary()})


def _outcomes(rucs: Sequence[str], asked: Batch) -> Iterator[list[dict[str, Any]]]:
    at_once = RUCS_A_REQUEST * settings.MIGO_PARALLEL
    for part in lookup.stream_many(MIGO, RUC, rucs, max_stale=asked.max_stale, at_once=at_once):
        yield [_outcome(ruc, answer, billing=asked.billing) for ruc, answer in part.items()]


def _outcome(ruc: str, answer: Lookup | Trouble, *, billing: bool) -> dict[str, Any]:
    """A `RucOutcome`."""
    result = results.of_answer(answer)
    record = record_of(answer.data) if isinstance(answer, Lookup) and answer.data is not None else None
    return {
        "ruc": ruc,
        "status": _status(answer),
        "record": record,
        "reason": result.get("reason") if record is None else None,
        "problem": None if record is not None else _trouble(result),
        "cache": result.get("cache"),
        "billing": _billing(record, result) if billing and isinstance(answer, Lookup) else None,
    }


def _status(answer: Lookup | Trouble) -> str:
    if not isinstance(answer, Lookup):
        return "failed"
    if answer.data is not None:
        return "found"
    return "malformed" if answer.source is Source.VALIDATION else "not_found"


def _trouble(result: Mapping[str, Any]) -> dict[str, Any]:
    names = ("code", "next_step", "permanent", "retry_after")
    return {"detail": result["error"], **{name: result[name] for name in names}}


def _billing(record: Mapping[str, Any] | None, result: Mapping[str, Any]) -> dict[str, Any]:
    if record is not None:
        return verdict_on(record)
    return {"valid": False, "errors": [{"code": result["code"], "message": result["error"]}], "warnings": []}


class _Counts:
    """What a batch has come to so far."""

    def __init__(self, total: int, distinct: int) -> None:
        self._total, self._distinct = total, distinct
        self._by_status: Counter[str] = Counter()

    def of(self, part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._by_status.update(outcome["status"] for outcome in part)
        return part

    def summary(self) -> dict[str, int]:
        """A `BatchSummary`."""
        names = ("found", "not_found", "malformed", "failed")
        return {"total": self._total, "distinct": self._distinct, **{name: self._by_status[name] for name in names}}
