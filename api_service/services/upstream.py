"""The only door to other people's HTTP servers: APIMIGO, Slack and Sentry are all reached through it.

It promises that a call ends by its deadline, that only failures which may pass are tried again (as late as the server
asked), and that no error text holds a secret. Proxies and certificate bundles of the environment are honoured
(`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE`), because many offices have no other way out; a `.netrc` is not, as it
would replace the credentials of a call by the host's name. Redirects are not followed: they would carry a token to
another host.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar

import requests
import stamina
import urllib3
from requests.auth import HTTPBasicAuth
from requests.structures import CaseInsensitiveDict
from requests.utils import get_auth_from_url

from api_service.sentences import sentence
from api_service.services import foreign_json
from api_service.services.deadline import DeadlineAdapter, read_until
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamCircuitOpen,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from api_service.services.redaction import redact

LARGEST_BODY: Final = 5 * 1024 * 1024
LONGEST_BACKOFF: Final = 5.0
ANSWERED: Final = sentence("the service answered %(status)s")
_CHUNK: Final = 64 * 1024
_CLASS_OF_STATUS: Final[dict[int, type[UpstreamError]]] = {
    HTTPStatus.UNAUTHORIZED: UpstreamAuthRefused,
    HTTPStatus.FORBIDDEN: UpstreamAuthRefused,
    HTTPStatus.UNPROCESSABLE_ENTITY: UpstreamMalformed,
    HTTPStatus.TOO_MANY_REQUESTS: UpstreamRateLimited,
}
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: object = field(default=None, repr=False)
    data: bytes | Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Patience:
    """How long one call may take. `deadline` bounds it with all its attempts and the waits between them."""

    connect: float = 3.05
    read: float = 10.0
    deadline: float = 25.0
    attempts: int = 3


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    elapsed: float

    @property
    def ok(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, which names seconds or a date; None when it says nothing usable."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def delay_before_retry(error: Exception, *, attempt: int, left: float, chance: float) -> float | None:
    """Seconds until the next attempt, or None to give up. `chance` is a random number from 0 to 1.

    A server that names a time is never asked earlier. When the wait would not end before the deadline there is no
    next attempt, so the caller learns now, with `retry_after`, what it would otherwise learn late.
    """
    if not isinstance(error, UpstreamError) or error.permanent or isinstance(error, UpstreamCircuitOpen):
        return None
    if error.retry_after is not None:
        delay = error.retry_after + 0.1 * chance
    else:
        delay = min(LONGEST_BACKOFF, 0.2 * 2 ** (attempt - 1)) * (0.5 + chance / 2)
    return delay if delay < left else None


def error_for(response: Response, now: datetime) -> UpstreamError | None:
    """What a status means when nothing more is known of the service."""
    status = response.status
    if response.ok:
        return None
    wait = retry_after_seconds(response.headers.get("Retry-After"), now)
    # A redirect is not followed: the address is wrong.
    permanent = True if status < HTTPStatus.BAD_REQUEST else None
    kind = _error_class(status)
    return kind(ANSWERED % {"status": status}, status=status, retry_after=wait, permanent=permanent)


def _error_class(status: int) -> type[UpstreamError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        return UpstreamServerError
    if status < HTTPStatus.BAD_REQUEST:
        return UpstreamBadAnswer
    return _CLASS_OF_STATUS.get(status, UpstreamRefused)


def accept_success(response: Response) -> Response:
    """The response itself, or the error that its status means."""
    if (error := error_for(response, datetime.now(UTC))) is not None:
        raise error
    return response


def with_retries(patience: Patience, once: Callable[[int, float], T]) -> T:
    """What `once(number of the attempt, monotonic end)` returns, tried again while its UpstreamErrors may pass."""
    ends_at = time.monotonic() + patience.deadline
    number = 0

    def give_up_or_wait(error: Exception) -> bool | float:
        left = ends_at - time.monotonic()
        delay = delay_before_retry(error, attempt=number, left=left, chance=random.random())  # noqa: S311  jitter
        return False if delay is None else delay

    # No time-out for stamina: it would look at the clock before a wait, not at where the wait ends.
    for trial in stamina.retry_context(on=give_up_or_wait, attempts=patience.attempts, timeout=None):
        with trial:
            number = trial.num
            return once(number, ends_at)
    msg = "the last attempt returns or raises"
    raise AssertionError(msg)


class Door:
    """A pool of connections, shared by all threads of a process; a forked child opens its own."""

    def __init__(self, *, pool_size: int = 32) -> None:
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._pid = 0

    def call(
        self,
        request: Request,
        patience: Patience,
        read: Callable[[Response], T],
        *,
        before: Callable[[int], None] | None = None,
    ) -> T:
        """What `read` makes of the response. It may raise an UpstreamError to have the call tried again.

        `before` is told the number of each attempt, from 1; what it raises ends the call untouched.
        """

        def once(number: int, ends_at: float) -> T:
            if before is not None:
                before(number)
            return read(self._exchange(request, patience, ends_at))

        return with_retries(patience, once)

    def close(self) -> None:
        with self._lock:
            if self._session is not None and self._pid == os.getpid():
                self._session.close()
            self._session = None

    def _exchange(self, request: Request, patience: Patience, ends_at: float) -> Response:
        """One attempt. The driver's exception is replaced outside its handler, so that nothing refers to it."""
        try:
            return self._send(request, patience, ends_at)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as caught:
            error, cause = _error_from(caught), _clean(caught)
        raise error from cause

    def _send(self, request: Request, patience: Patience, ends_at: float) -> Response:
        started = time.monotonic()
        left = ends_at - started
        if left <= 0:
            msg = sentence("no time was left to ask")
            raise requests.Timeout(msg)
        with (
            read_until(ends_at, patience.read),
            self._pool().request(
                request.method,
                request.url,
                headers=dict(request.headers),
                json=request.json,
                data=request.data,
                timeout=(min(patience.connect, left), min(patience.read, left)),
                allow_redirects=False,
                stream=True,
            ) as answer,
        ):
            body = _read_body(answer)
        return Response(answer.status_code, CaseInsensitiveDict(answer.headers), body, time.monotonic() - started)

    def _pool(self) -> requests.Session:
        with self._lock:
            if self._session is None or self._pid != os.getpid():
                # A socket shared with the parent would mix up the answers of both.
                self._session, self._pid = _new_session(self._pool_size), os.getpid()
            return self._session


def _new_session(pool_size: int) -> requests.Session:
    session = requests.Session()
    adapter = DeadlineAdapter(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # No cookie of one service or tenant travels with the call of another.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _credentials_of_url
    return session


def _credentials_of_url(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    user, password = get_auth_from_url(prepared.url or "")
    return HTTPBasicAuth(user, password)(prepared) if user or password else prepared


def _read_body(answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        body += chunk
        if len(body) > LARGEST_BODY:
            msg = sentence("the answer is larger than %(most)s bytes") % {"most": LARGEST_BODY}
            raise UpstreamBadAnswer(msg, status=answer.status_code, permanent=True)
    return bytes(body)


def _clean(caught: Exception) -> Exception:
    """A stand-in of the same class and place without what drivers put into theirs: addresses, headers, bodies."""
    text = redact(str(caught))
    try:
        twin = type(caught)(text)
    except TypeError:
        twin = OSError(f"{type(caught).__name__}: {text}")
    return twin.with_traceback(caught.__traceback__)


_TIMEOUTS = (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError)
_BAD_BYTES = (requests.exceptions.ContentDecodingError, requests.exceptions.ChunkedEncodingError)
_BAD_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)


def _error_from(caught: Exception) -> UpstreamError:
    kind = {"kind": type(caught).__name__}
    # requests wraps a time-out within the body as a ConnectionError: the driver's own error is its argument.
    if any(isinstance(layer, _TIMEOUTS) for layer in (caught, *caught.args)):
        return UpstreamTimeout(sentence("no answer in time (%(kind)s)") % kind)
    if isinstance(caught, _BAD_BYTES):
        return UpstreamBadAnswer(
            sentence("the answer broke off or is badly encoded (%(kind)s)") % kind, of_service=True
        )
    if isinstance(caught, _BAD_ADDRESS):
        return UpstreamUnreachable(sentence("the address of the service is wrong (%(kind)s)") % kind, permanent=True)
    return UpstreamUnreachable(sentence("no connection (%(kind)s)") % kind)


def json_of(response: Response) -> Any:
    """The JSON body, decimal numbers as text."""
    text = response.body.decode("utf-8-sig", "replace").strip()
    if text.startswith("<"):
        msg = sentence("an HTML page instead of JSON (status %(status)s)") % {"status": response.status}
        raise UpstreamBadAnswer(msg, status=response.status, of_service=response.ok)
    try:
        return foreign_json.loads(text)
    except ValueError:
        facts = {"size": len(response.body), "status": response.status}
        msg = sentence("broken JSON of %(size)s bytes (status %(status)s)") % facts
        raise UpstreamBadAnswer(msg, status=response.status, of_service=response.ok) from None


class _Shared:
    door = Door()


def door() -> Door:
    """The door of this process."""
    return _Shared.door
