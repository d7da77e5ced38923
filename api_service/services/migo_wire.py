"""APIMIGO's wire, decided without touching it: what to send for a question, and what an answer means.

The contract leaves much open (see its *assumed* marks), and a wrong reading is expensive in one direction: a refusal
taken for "this RUC does not exist" hides a real company for a day. So a negative answer needs words or a field that
are about the thing asked for; everything else is an error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any, Final, Literal, get_args
from urllib.parse import quote, urlencode, urlsplit

from api_service.sentences import sentence
from api_service.services import ruc as numbers
from api_service.services.errors import (
    UpstreamBadAnswer,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotOffered,
    UpstreamRefused,
    UpstreamServerError,
)
from api_service.services.providers import Answer, Found, JSONDict, NotFound
from api_service.services.ruc import FORMATO_INVALIDO, NO_EXISTE_SUNAT
from api_service.services.upstream import Request, Response, error_for, json_of

Version = Literal["v1", "v2"]

RUC: Final = "ruc"
DNI: Final = "dni"
EXCHANGE_RATE: Final = "tipo_cambio"
REPRESENTATIVES: Final = "representantes"
KINDS: Final = (RUC, DNI, EXCHANGE_RATE, REPRESENTATIVES)
LATEST: Final = "latest"
LARGEST_COLLECTION: Final = 100
# Characters of what the service says about one refusal, as far as anybody reads
LONGEST_SAID: Final = 300

# The field of an answer that must repeat what was asked. A rate may carry an earlier banking day, so it has none.
_ECHO: Final = {RUC: "ruc", DNI: "dni", REPRESENTATIVES: "ruc"}

# Tried in this order: "no se encontró un plan activo" is about the account, "SUNAT no se encuentra disponible" passes.
_ABOUT_THE_ACCOUNT = re.compile(
    r"\b(l[ií]mite|cuota|plan(es)?|saldo|suscripci[oó]n|pagos?|token|autoriz\w*|permis\w*|acceso|bloquead\w*"
    r"|(la|su|tu) cuenta|(sin|tiene|quedan|cuenta con|agot\w+( \w+)?) consultas"
    r"|consultas (agotad|disponib|insuficient|restant)\w*"
    r"|credencial\w*|unauthenticated|unauthorized|forbidden|quota|limit|too many|throttle\w*)\b",
    re.IGNORECASE,
)
_TEMPORARY = re.compile(
    r"\b(temporal\w*|mantenimiento|error interno|(m[aá]s tarde|nuevamente en|unos (minutos|segundos))"
    r"|disponible|conexi[oó]n|timeout|try again|server error)\b",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(
    r"\bno (se )?(existen?|encontr\w+|encuentra\w*|registra\w*|figura\w*|ubic\w+|hall\w+)\b|\bnot (be )?found\b"
    r"|\bno (se )?(hay|tiene|cuenta con|hubo) (datos|informaci[oó]n|resultados|registros|tipo de cambio|representantes)"
    r"|\binexistente\b|\bsin (resultados|datos|informaci[oó]n)\b",
    re.IGNORECASE,
)
_ABOUT_THE_ADDRESS = re.compile(r"\b(route|ruta|endpoint|url|method|m[eé]todo)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """One query. `identifier` is empty for what has none (the account, a range)."""

    kind: str
    identifier: str = ""

    def names(self, body: Mapping[str, Any], message: str) -> bool:
        echo = body.get(_ECHO.get(self.kind, ""))
        return bool(self.identifier) and (str(echo) == self.identifier or self.identifier in message)


@dataclass(frozen=True)
class Account:
    name: str
    email: str
    queries_left: int


@dataclass(frozen=True)
class Wire:
    """How to write a question in one of the two live versions."""

    version: Version
    root: str
    token: str = field(repr=False)

    @property
    def has_collections(self) -> bool:
        return self.version == "v1"

    def one(self, question: Question) -> Request:
        return self._v1_one(question) if self.version == "v1" else self._v2_one(question)

    def collection(self, rucs: Sequence[str]) -> Request:
        return self._post("/ruc/collection", ruc=list(rucs))

    def exchange_range(self, start: date, end: date) -> Request:
        return self._post("/exchange", fecha_inicio=start.isoformat(), fecha_fin=end.isoformat())

    def account(self) -> Request:
        return self._post("/account")

    def _v1_one(self, question: Question) -> Request:
        asked = question.identifier
        if question.kind == EXCHANGE_RATE:
            return self._post("/exchange/latest") if asked == LATEST else self._post("/exchange/date", fecha=asked)
        if question.kind == REPRESENTATIVES:
            return self._post("/ruc/representantes-legales", ruc=asked)
        return self._post(f"/{question.kind}", **{question.kind: asked})

    def _v2_one(self, question: Question) -> Request:
        asked = question.identifier
        if question.kind == EXCHANGE_RATE:
            path = "/tipo-cambio/sunat"
            return self._get(f"{path}/ultimo" if asked == LATEST else f"{path}?{urlencode({'fecha': asked})}")
        if question.kind == REPRESENTATIVES:
            raise _not_offered(sentence("legal representatives"))
        return self._get(f"/{question.kind}/{quote(asked, safe='')}")

    def _post(self, path: str, **body: object) -> Request:
        if self.version != "v1":
            raise _not_offered(path)
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return Request("POST", self.root + path, headers, json={"token": self.token, **body})

    def _get(self, path: str) -> Request:
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self.token}"}
        return Request("GET", self.root + path, headers)


def _not_offered(what: str) -> UpstreamNotOffered:
    return UpstreamNotOffered(sentence("APIMIGO v2 documents no such query: %(query)s") % {"query": what})


def version_of(text: str) -> Version:
    versions: tuple[Version, ...] = get_args(Version)
    for version in versions:
        if version == text:
            return version
    msg = f"MIGO_API_VERSION is {' or '.join(versions)}, not {text!r}"
    raise ValueError(msg)


def api_root(base_url: str, version: Version) -> str:
    """The address that paths are added to, from a base with or without the version in it."""
    base = base_url.strip().rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "MIGO_BASE_URL must be an http(s) address such as https://api.migo.pe"
        raise ValueError(msg)
    last = parts.path.rpartition("/")[2]
    if last in {"v1", "v2"}:
        if last != version:
            msg = f"MIGO_BASE_URL ends in /{last}, but MIGO_API_VERSION is {version}"
            raise ValueError(msg)
        return base
    return f"{base}/{version}" if last == "api" else f"{base}/api/{version}"


def malformed_reason(kind: str, identifier: str) -> str | None:
    """Why such an identifier cannot exist, or None. Nothing malformed is ever sent, so none is ever paid for."""
    if kind in {RUC, REPRESENTATIVES}:
        return numbers.reason(identifier)
    if kind == DNI:
        return numbers.dni_reason(identifier)
    if kind == EXCHANGE_RATE:
        return None if identifier == LATEST or _is_day(identifier) else FORMATO_INVALIDO
    msg = f"unknown kind of query {kind!r}; known: {', '.join(KINDS)}"
    raise ValueError(msg)


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def read_one(response: Response, question: Question) -> Answer:
    """What one answer means. Raises UpstreamError for whatever is not an answer to the question."""
    if (error := _error_of_status(response)) is not None:
        raise error
    body = json_of(response)
    if isinstance(body, list) and question.kind == REPRESENTATIVES and response.ok:
        body = {"success": True, "ruc": question.identifier, "data": body}
    if not isinstance(body, dict):
        raise UpstreamBadAnswer(sentence("JSON, but not an object"), status=response.status)
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return _read_422(body, question)
    if response.ok and succeeded(body):
        return _read_record(body, question)
    return _read_refusal(body, question, response.status)


def read_collection(response: Response, rucs: Sequence[str]) -> dict[str, Answer | UpstreamError]:
    """One entry for every RUC asked for, matched by number: neither order nor completeness is promised."""
    if (error := error_for(response, datetime.now(UTC))) is not None:
        raise error
    entries = _entries(json_of(response), response.status)
    known = {str(entry.get("ruc")): entry for entry in entries}
    # One unknown RUC may be left out; that a whole chunk does not exist is a failure, not a hundred negative answers
    if (entries or len(rucs) > 1) and not known.keys() & set(rucs):
        text = sentence("a collection without any of the RUCs asked for")
        raise UpstreamBadAnswer(text, status=response.status)
    return {ruc: _entry_answer(known.get(ruc), Question(RUC, ruc)) for ruc in rucs}


def read_record(response: Response) -> JSONDict:
    """An answer that cannot be negative (the account, a range of rates)."""
    if (error := error_for(response, datetime.now(UTC))) is not None:
        raise error
    body = json_of(response)
    if isinstance(body, list):
        return {"success": True, "data": body}
    if isinstance(body, dict) and succeeded(body):
        return body
    if isinstance(body, dict):
        raise _refusal(_message(body), response.status)
    raise UpstreamBadAnswer(sentence("JSON, but neither object nor list"), status=response.status)


def account_of(body: Mapping[str, Any]) -> Account:
    left = body.get("consultas")
    try:
        queries = int(str(left).replace(",", "").strip())
    except ValueError:
        raise UpstreamBadAnswer(sentence("an account without a number of queries left")) from None
    return Account(str(body.get("nombre") or ""), str(body.get("email") or ""), queries)


def succeeded(body: Mapping[str, Any]) -> bool:
    """`success`, also as text or number; an answer without it counts when it says nothing of an error."""
    if "success" in body:
        return body["success"] is True or str(body["success"]).strip().lower() in {"true", "1"}
    return not ({"message", "error", "errors"} & body.keys())


def _error_of_status(response: Response) -> UpstreamError | None:
    """404 and 422 speak of the thing asked for, as long as it is the API that speaks: their bodies are read."""
    if response.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}:
        return error_for(response, datetime.now(UTC))
    try:
        spoken = isinstance(json_of(response), dict)
    except UpstreamBadAnswer:
        spoken = False
    if spoken:
        return None
    text = sentence("status %(status)s without the API's own words: the address is wrong")
    return UpstreamBadAnswer(text % {"status": response.status}, status=response.status, permanent=True)


def _read_record(body: JSONDict, question: Question) -> Found:
    echo = _ECHO.get(question.kind)
    if echo is None:
        return Found(body)
    told = body.get(echo)
    if told is None and question.kind == RUC:
        raise UpstreamBadAnswer(sentence("a record without its RUC"))
    if told is not None and str(told).strip() != question.identifier:
        raise UpstreamBadAnswer(sentence("the record of another number than asked for"))
    return Found(body if told == question.identifier else {**body, echo: question.identifier})


def _read_422(body: Mapping[str, Any], question: Question) -> NotFound:
    errors = body.get("errors")
    fields = set(errors) if isinstance(errors, dict) else set()
    if fields and not fields & {question.kind, _ECHO.get(question.kind), "fecha"}:
        said = ", ".join(sorted(map(str, fields)))[:LONGEST_SAID]
        text = sentence("the service refuses the fields %(said)s") % {"said": said}
        raise UpstreamMalformed(text, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return NotFound(FORMATO_INVALIDO)


def _read_refusal(body: Mapping[str, Any], question: Question, status: int) -> NotFound:
    message = _message(body)
    told = body.get(_ECHO.get(question.kind, ""))
    if told is not None and question.identifier and str(told).strip() != question.identifier:
        text = sentence("a negative answer about another number than asked for")
        raise UpstreamBadAnswer(text, status=status)
    if status == HTTPStatus.NOT_FOUND and _ABOUT_THE_ADDRESS.search(message):
        text = sentence("the address is wrong: %(said)s") % {"said": message}
        raise UpstreamBadAnswer(text, status=status, permanent=True)
    if _ABOUT_THE_ACCOUNT.search(message):
        raise _refusal(message, status)
    if _TEMPORARY.search(message):
        raise UpstreamServerError(sentence("the service says: %(said)s") % {"said": message}, status=status)
    if _NOT_FOUND.search(message):
        return NotFound(NO_EXISTE_SUNAT)
    if question.names(body, message) or (status == HTTPStatus.NOT_FOUND and "success" in body):
        return NotFound(NO_EXISTE_SUNAT)
    raise _refusal(message, status)


def _refusal(message: str, status: int) -> UpstreamRefused:
    if not message:
        return UpstreamRefused(sentence("the service refused: without a reason"), status=status)
    return UpstreamRefused(sentence("the service refused: %(said)s") % {"said": message}, status=status)


def _message(body: Mapping[str, Any]) -> str:
    said = [body.get(name) for name in ("message", "error", "mensaje")]
    return " ".join(text[:LONGEST_SAID] for text in said if isinstance(text, str))


def _entries(body: object, status: int) -> list[JSONDict]:
    if isinstance(body, dict):
        if not succeeded(body) and "ruc" not in body:
            raise _refusal(_message(body), status)
        body = body.get("data", [body] if "ruc" in body else None)
    if not isinstance(body, list) or not all(isinstance(entry, dict) for entry in body):
        raise UpstreamBadAnswer(sentence("a collection that is no list of records"), status=status)
    return body


def _entry_answer(entry: JSONDict | None, question: Question) -> Answer | UpstreamError:
    if entry is None:
        return NotFound(NO_EXISTE_SUNAT)
    try:
        if succeeded(entry):
            return _read_record(entry, question)
        return _read_refusal(entry, question, HTTPStatus.OK)
    except UpstreamError as error:
        return error
