"""What ninja's OpenAPI document does not say by itself: scopes, problems, and the headers of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ninja.main import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from api_service.api.access import Token
from api_service.api.problems import CONTENT_TYPE
from api_service.api.schemas import Problem

PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
# Of every operation; the others are named where they occur
EVERYWHERE: Final = {
    401: "No token, or one that opens nothing",
    403: "The token lacks the scope",
    422: "The request is not understood; nothing was done",
    429: "Too many requests of this token, or the limit of paid queries is reached: see Retry-After",
    502: "APIMIGO gave no usable answer",
    503: "Not now: APIMIGO, the database or the broker does not answer",
    504: "APIMIGO did not answer in time",
}
TO_TRY_AGAIN: Final = {"Retry-After": "Seconds after which it may be asked for again; without it nobody knows."}
TO_GET_IN: Final = {"WWW-Authenticate": "What is missing: a token, or a scope of it."}
OF_FAILURES: Final = {401: TO_GET_IN, 403: TO_GET_IN, **dict.fromkeys((429, 502, 503, 504), TO_TRY_AGAIN)}
WITH_A_BODY: Final = {400: "The body cannot be read", 413: "The body is too large"}
LIMITS: Final = {
    "X-Request-ID": "The id of this request in our logs: the caller's own, or a new one.",
    "RateLimit": "What is left of this minute, for a token with a limit.",
    "RateLimit-Policy": "The limit of the token.",
}
FRESHNESS: Final = {
    "Age": "Seconds since the answer was made.",
    "Cache-Status": "Where it came from and how long it holds (RFC 9211).",
    "ETag": "For If-None-Match: a 304 has no body.",
}


class Api(NinjaAPI):
    """With a document that says all that an answer may be."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Short, and the same wherever the code is moved to: clients are generated with it."""
        return f"{operation.view_func.__module__.rpartition('.')[2]}_{operation.view_func.__name__}"

    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**kwargs)
        document["components"]["schemas"]["Problem"] = Problem.json_schema()
        for prefix, path, operation in self._operations():
            where = document["paths"][f"{prefix}{path}"]
            for method in operation.methods:
                _complete(where[method.lower()], operation)
        return document

    def _operations(self) -> Iterator[tuple[str, str, Operation]]:
        prefix = self.get_root_path({}).rstrip("/")
        for bound in self._get_bound_routers():
            for path, view in bound.path_operations.items():
                for operation in view.operations:
                    yield prefix, path, operation


def _complete(described: dict[str, Any], operation: Operation) -> None:
    scopes = sorted({scope for auth in operation.auth_callbacks if isinstance(auth, Token) for scope in auth.scopes})
    described["description"] = f"{described['description']}\n\nScope: {' or '.join(f'`{s}`' for s in scopes)}."
    responses = described["responses"]
    known = EVERYWHERE | (WITH_A_BODY if "requestBody" in described else {})
    for status, text in sorted(known.items()):
        responses.setdefault(status, {"description": text})
    for status, response in responses.items():
        if status >= 400:
            response["content"] = {CONTENT_TYPE: {"schema": PROBLEM}}
        is_fresh = 304 in responses and status < 400
        response["headers"] = _headers(LIMITS | (FRESHNESS if is_fresh else OF_FAILURES.get(status, {})))


def _headers(named: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in named.items()}
