import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from api_service.services.redaction import register_secrets
from api_service.services.upstream import LARGEST_BODY, Door, Patience, Request, Response, accept_success
from tests.http_catcher import HttpCatcher
from tests.integration.upstream.conftest import RawServer, ask
from tests.waiting import wait_until

ServerOf = Callable[..., RawServer]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECRET = "door-secret-value-0001"


# -- deadlines


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 400\r\n\r\n" + b"x" * 400,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nxxxxx\r\n" * 80,
        HEAD + b"X-Slow: " + b"y" * 400,
        HEAD + b"\r\n" + b"z" * 400,
    ],
    ids=["body", "chunked body", "headers", "body without length"],
)
def test_a_server_that_drips_bytes_is_left_at_the_deadline(door: Door, raw_server: ServerOf, sent: bytes) -> None:
    server = raw_server(sent, 0.05)
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout) as caught:
        ask(door, "GET", server.url, timeout=(1.0, 5.0), deadline=0.6, attempts=3)
    # All that it has to say would take 20 s
    assert 0.4 < time.monotonic() - started < 10
    assert not caught.value.permanent
    wait_until(lambda: server.connections)
    assert server.connections == 1


def test_a_silent_server_is_left_at_the_read_time_out_and_asked_again(door: Door, raw_server: ServerOf) -> None:
    server = raw_server(b"HTTP/1.1 200 OK\r\n", 60.0)
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        ask(door, "GET", server.url, timeout=(1.0, 0.2), deadline=60.0, attempts=2)
    assert time.monotonic() - started < 30
    wait_until(lambda: server.connections == 2)
    assert server.connections == 2


class Resolver:
    """The system's, which keeps names that end in .test to itself until `answers`, or for `seconds`."""

    def __init__(self, port: int, seconds: float = 30.0) -> None:
        self.answers = threading.Event()
        self._found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        self._seconds = seconds

    def getaddrinfo(self, *_args: object, **_kwargs: object) -> object:
        self.answers.wait(self._seconds)
        return self._found


def test_a_name_look_up_that_hangs_is_left_at_the_deadline_and_closes_what_it_finds_later(
    door: Door, http_catcher: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(http_catcher.port)
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    before, started = set(threading.enumerate()), time.monotonic()
    with pytest.raises(UpstreamTimeout):
        ask(door, "GET", f"http://slow.test:{http_catcher.port}/", deadline=0.3)
    # The resolver's own patience
    assert time.monotonic() - started < 30

    (left,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "connect"]
    resolver.answers.set()
    left.join(10)
    assert not left.is_alive()
    assert http_catcher.requests == []


def test_a_name_look_up_may_take_longer_than_a_connection(
    door: Door, http_catcher: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two name servers is down: the resolver asks the second one after five seconds."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(http_catcher.port, seconds=0.4).getaddrinfo)
    assert ask(door, "GET", f"http://slow.test:{http_catcher.port}/", timeout=(0.2, 10)).body == b"ok"


def test_slow_but_steady_within_the_deadline_is_an_answer(door: Door, raw_server: ServerOf) -> None:
    server = raw_server(HEAD + b"Content-Length: 5\r\n\r\nhello", 0.005)
    answer = ask(door, "GET", server.url, deadline=60.0)
    assert answer.body == b"hello"
    assert 0.2 < answer.elapsed < 60.0


def test_a_wait_longer_than_the_deadline_is_reported_and_not_waited(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(status=429, headers={"Retry-After": "300"})
    started = time.monotonic()
    with pytest.raises(UpstreamRateLimited) as caught:
        ask(door, "GET", http_catcher.url, deadline=60.0)
    assert time.monotonic() - started < 30
    assert caught.value.retry_after == 300.0
    assert len(http_catcher.requests) == 1


# -- retries


def test_it_waits_as_long_as_the_server_asked_before_the_next_attempt(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(status=429, headers={"Retry-After": "1"}, times=1)
    started = time.monotonic()
    assert ask(door, "GET", http_catcher.url, deadline=60.0).status == 200
    assert 1.0 <= time.monotonic() - started < 30
    assert len(http_catcher.requests) == 2


def test_a_date_in_retry_after_is_honoured_too(door: Door, http_catcher: HttpCatcher) -> None:
    moment = (datetime.now(UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    http_catcher.answer(status=503, headers={"Retry-After": moment})
    with pytest.raises(UpstreamServerError) as caught:
        ask(door, "GET", http_catcher.url, deadline=60.0)
    assert 3500 < (caught.value.retry_after or 0) <= 3600


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(door: Door, http_catcher: HttpCatcher, status: int) -> None:
    http_catcher.answer(status=status, times=2)
    assert ask(door, "POST", http_catcher.url, json={"a": 1}).body == b"ok"
    assert [request.json() for request in http_catcher.requests] == [{"a": 1}] * 3


@pytest.mark.parametrize(
    ("status", "kind"), [(400, UpstreamRefused), (401, UpstreamAuthRefused), (410, UpstreamRefused)]
)
def test_a_refusal_is_final(door: Door, http_catcher: HttpCatcher, status: int, kind: type[UpstreamError]) -> None:
    http_catcher.answer(status=status)
    with pytest.raises(kind) as caught:
        ask(door, "GET", http_catcher.url)
    assert caught.value.permanent
    assert len(http_catcher.requests) == 1


def test_attempts_end(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(status=500)
    with pytest.raises(UpstreamServerError):
        ask(door, "GET", http_catcher.url, attempts=2)
    assert len(http_catcher.requests) == 2


def test_the_reader_decides_about_another_attempt_too(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(body=b"<html>", times=1)

    def read(response: Response) -> bytes:
        if response.body.startswith(b"<"):
            raise UpstreamBadAnswer("HTML")
        return response.body

    assert door.call(Request("GET", http_catcher.url), Patience(), read) == b"ok"
    assert len(http_catcher.requests) == 2


def test_what_forbids_an_attempt_ends_the_call_untouched(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(status=500)
    forbidden = PermissionError("no more today")
    numbers: list[int] = []

    def before(number: int) -> None:
        numbers.append(number)
        if number == 2:
            raise forbidden

    with pytest.raises(PermissionError) as caught:
        door.call(Request("GET", http_catcher.url), Patience(), accept_success, before=before)
    assert caught.value is forbidden
    assert numbers == [1, 2]
    assert len(http_catcher.requests) == 1


# -- what may come in


def test_an_answer_too_large_to_be_one_is_cut_off(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(body=b"x" * (LARGEST_BODY + 1))
    with pytest.raises(UpstreamBadAnswer, match="larger") as caught:
        ask(door, "GET", http_catcher.url)
    assert caught.value.permanent
    assert len(http_catcher.requests) == 1


def test_a_redirect_is_a_wrong_address_and_takes_no_token_anywhere(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer("/old", status=302, headers={"Location": f"{http_catcher.url}/new"})
    with pytest.raises(UpstreamBadAnswer) as caught:
        ask(door, "GET", f"{http_catcher.url}/old", headers={"Authorization": "Bearer x"})
    assert (caught.value.permanent, caught.value.status) == (True, 302)
    assert [request.path for request in http_catcher.requests] == ["/old"]


def test_an_answer_that_breaks_off_is_tried_again(door: Door, raw_server: ServerOf) -> None:
    server = raw_server(HEAD + b"Content-Length: 50\r\n\r\nhalf")
    with pytest.raises(UpstreamBadAnswer) as caught:
        ask(door, "GET", server.url, attempts=2)
    assert not caught.value.permanent
    assert server.connections == 2


def test_bytes_that_are_not_http_are_an_upstream_error(door: Door, raw_server: ServerOf) -> None:
    with pytest.raises(UpstreamError):
        ask(door, "GET", raw_server(b"SSH-2.0-OpenSSH\r\n\r\n").url, attempts=1)


def test_nobody_listening_is_unreachable(door: Door, free_port: int) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        ask(door, "GET", f"http://127.0.0.1:{free_port}/", attempts=2)
    assert not caught.value.permanent


@pytest.mark.parametrize("url", ["", "api.migo.pe", "htp://x/", "http://"])
def test_an_address_that_is_none_is_not_tried_again(door: Door, url: str) -> None:
    attempts: list[int] = []
    with pytest.raises(UpstreamUnreachable) as caught:
        door.call(Request("GET", url), Patience(), accept_success, before=attempts.append)
    assert caught.value.permanent
    assert attempts == [1]


# -- what goes out


def test_no_cookie_travels_from_one_call_to_the_next(door: Door, http_catcher: HttpCatcher) -> None:
    http_catcher.answer(headers={"Set-Cookie": "session=abc; Path=/"})
    for _ in range(2):
        ask(door, "GET", http_catcher.url)
    assert all("cookie" not in request.headers for request in http_catcher.requests)


def test_a_netrc_does_not_replace_the_token(
    door: Door, http_catcher: HttpCatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login intruder password other\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    ask(door, "GET", http_catcher.url, headers={"Authorization": "Bearer mine"})
    assert http_catcher.requests[0].headers["authorization"] == "Bearer mine"


def test_credentials_in_an_address_are_sent_as_such(door: Door, http_catcher: HttpCatcher) -> None:
    ask(door, "GET", http_catcher.url.replace("//", "//user:pass@"))
    assert http_catcher.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNz"


def test_the_proxy_of_the_office_is_used_and_the_deadline_holds_there_too(
    door: Door, raw_server: ServerOf, http_catcher: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", http_catcher.url)
    monkeypatch.setenv("http_proxy", http_catcher.url)
    assert ask(door, "GET", "http://api.example.test/x").body == b"ok"
    assert http_catcher.requests[0].target == "http://api.example.test/x"
    dripping = raw_server(HEAD + b"Content-Length: 400\r\n\r\n" + b"x" * 400, 0.05)
    monkeypatch.setenv("http_proxy", dripping.url.removesuffix("/slow"))
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        ask(door, "GET", "http://api.example.test/x", deadline=0.5)
    assert time.monotonic() - started < 10


def test_32_threads_share_one_pool_of_connections(door: Door, http_catcher: HttpCatcher) -> None:
    def send(number: int) -> bytes:
        return ask(door, "POST", f"{http_catcher.url}/{number}", data=str(number).encode()).body

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(send, range(320))) == [b"ok"] * 320
    assert sorted(int(request.body) for request in http_catcher.requests) == list(range(320))
    assert len({request.headers["host"] for request in http_catcher.requests}) == 1


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(door: Door, http_catcher: HttpCatcher) -> None:
    ask(door, "GET", f"{http_catcher.url}/parent")
    child = os.fork()
    if child == 0:
        try:
            ask(door, "GET", f"{http_catcher.url}/child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: len(http_catcher.requests) == 2, message="the child's request")
    assert ask(door, "GET", f"{http_catcher.url}/parent").body == b"ok"


# -- secrets


def test_errors_with_their_whole_chain_hold_neither_secret_nor_query_nor_userinfo(
    door: Door, caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    register_secrets([SECRET])
    url = f"http://user:pw-in-url@127.0.0.1:{free_port}/services/{SECRET}?key=query-secret"
    with caplog.at_level(logging.DEBUG), pytest.raises(UpstreamUnreachable) as caught:
        ask(door, "POST", url, json={"token": SECRET}, attempts=2)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert caught.value.__cause__ is not None
    assert caught.value.__context__ is None
    assert not [secret for secret in (SECRET, "pw-in-url", "query-secret") if secret in shown]
    assert "ConnectionError" in shown


def test_a_timed_out_call_has_a_clean_cause_too(door: Door, raw_server: ServerOf) -> None:
    server = raw_server(b"HTTP/1.1 ", 30.0)
    with pytest.raises(UpstreamTimeout) as caught:
        ask(door, "GET", f"{server.url}?token={SECRET}", timeout=(1.0, 0.2), attempts=1)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "next_step" in caught.value.facts()
