"""The sandbox as a WSGI application: faults first, then the token, then the contract's answer.

`/_sandbox/…` is for the people and tests behind the scenes: POST switches, POST reset, GET log, GET state.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from api_service.sandbox import answers
from api_service.sandbox.answers import NOT_FOUND_HTML, Reply, World, failure
from api_service.sandbox.faults import Fault, Switches
from api_service.sandbox.state import Admission, Entry, State

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LARGEST_REQUEST: Final = 1024 * 1024
# Longer than any sensible read time-out, short enough not to outlive a test run.
SILENCE: Final = 60.0
_SERVER_ERROR_HTML: Final = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"


def today_in_lima() -> date:
    return datetime.now(ZoneInfo("America/Lima")).date()


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    params: Mapping[str, Any]
    token: str


class Sandbox:
    """`token` is the one accepted; empty accepts any that is not empty."""

    def __init__(
        self, switches: Switches | None = None, *, token: str = "", today: Callable[[], date] = today_in_lima
    ) -> None:
        self.state = State(switches or Switches())
        self._token = token
        self._today = today

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        call = _read_call(environ)
        if path.startswith("/_sandbox/"):
            return _send(self._backstage(call), start_response)
        admission = self.state.admit()
        release = self.state.release
        began = time.monotonic()
        reply = self._answer(call, admission)
        # The latency is what the caller waits: our own work is part of it
        if (left := began + admission.delay - time.monotonic()) > 0:
            release.wait(left)
        fault = admission.fault
        self.state.done(Entry(call.method, path, reply.rucs, reply.queries, reply.status, fault.kind))
        if fault.kind == "timeout":
            release.wait(fault.seconds(SILENCE))
        sent = _send(reply, start_response)
        return _dripping(sent, release.wait, fault.seconds(0.05)) if fault.kind == "drip" else sent

    def _answer(self, call: Call, admission: Admission) -> Reply:
        if admission.retry_after is not None:
            return replace(_too_many(), headers={"Retry-After": str(admission.retry_after)})
        if (instead := _reply_instead(admission.fault)) is not None:
            return instead
        found = answers.route(call.method, call.path)
        if found is None:
            return Reply(404, NOT_FOUND_HTML)
        if not call.token or (self._token and call.token != self._token):
            return failure(401, "Token inválido.", error="Unauthenticated.")
        handler, named = found
        world = World(self._today(), self.state.switches.unknown_share, self.state.queries_left)
        reply = handler({**call.params, **named}, world)
        if reply.queries and not self.state.bill(reply.queries):
            return failure(403, "Su plan no tiene consultas disponibles.")
        return _spoiled(reply, admission.fault)

    def _backstage(self, call: Call) -> Reply:
        match call.method, call.path.removeprefix("/_sandbox/"):
            case "GET", "log":
                return Reply(200, self.state.log())
            case "GET", "state":
                return Reply(200, self.state.summary())
            case "POST", "reset":
                self.state.reset()
                return Reply(200, self.state.summary())
            case "POST", "switches":
                return self._switch(call.params)
            case _:
                return failure(404, "POST switches, POST reset, GET log or GET state")

    def _switch(self, wanted: Mapping[str, Any]) -> Reply:
        try:
            self.state.switch(wanted)
        except ValueError as wrong:
            return failure(422, str(wrong))
        return Reply(200, self.state.summary())


def _too_many() -> Reply:
    return failure(429, "Demasiadas solicitudes.")


def _reply_instead(fault: Fault) -> Reply | None:
    """Faults that need no look at the question, and are never billed."""
    match fault.kind:
        case "html":
            return Reply(502, _SERVER_ERROR_HTML)
        case "html404":
            return Reply(404, NOT_FOUND_HTML)
        case "refused":
            return failure(200, fault.detail or "Su plan ha vencido.")
        case "429":
            return replace(_too_many(), headers={"Retry-After": fault.detail} if fault.detail else {})
    if fault.status is None or fault.status == HTTPStatus.OK:
        return None
    headers = {"Retry-After": fault.detail} if fault.detail else {}
    return replace(failure(fault.status, f"Error {fault.status}"), headers=headers)


def _spoiled(reply: Reply, fault: Fault) -> Reply:
    """Faults on the way back: the work was done, so the vendor bills it."""
    if fault.kind == "broken_json":
        return replace(reply, body=_encoded(reply.body)[:-7])
    if fault.kind == "wrong_ruc" and isinstance(reply.body, dict):
        return replace(reply, body={**reply.body, "ruc": "20131312955"})
    return reply


def _read_call(environ: "WSGIEnvironment") -> Call:
    query = dict(parse_qsl(str(environ.get("QUERY_STRING", ""))))
    body = _read_body(environ)
    params = {**query, **body}
    scheme, _, bearer = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    path = str(environ["PATH_INFO"])
    in_header = path.startswith("/api/v2/")
    token = (bearer if scheme == "Bearer" else "") if in_header else str(body.get("token") or "")
    params.pop("token", None)
    return Call(str(environ["REQUEST_METHOD"]), path, params, token)


def _read_body(environ: "WSGIEnvironment") -> dict[str, Any]:
    """JSON, or a form as some of APIMIGO's clients send it."""
    raw = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), LARGEST_REQUEST))
    if str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode("utf-8", "replace")))
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


def _send(reply: Reply, start_response: "StartResponse") -> list[bytes]:
    body = _encoded(reply.body)
    kind = "text/html; charset=utf-8" if body.startswith(b"<") else "application/json"
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), **reply.headers}
    start_response(f"{reply.status} {http.client.responses.get(reply.status, 'Unknown')}", list(headers.items()))
    return [body]


def _dripping(body: list[bytes], wait: Callable[[float], bool], pause: float) -> Iterator[bytes]:
    for byte in b"".join(body):
        wait(pause)
        yield bytes([byte])
