"""The sandbox itself, asked the way a stranger's client would ask it."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest
import requests

from api_service.sandbox.faults import Switches
from api_service.sandbox.server import SandboxServer
from tests.integration.upstream.test_fetch_many import rucs
from tests.sandbox_fixture import RunningSandbox
from tests.waiting import wait_until

TOKEN = "any-token-at-all"
RUC = "20100038146"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def v1(sandbox: RunningSandbox, path: str, timeout: float = 30.0, **body: object) -> requests.Response:
    return requests.post(f"{sandbox.url}/api/v1{path}", json={"token": TOKEN, **body}, timeout=timeout)


def v2(sandbox: RunningSandbox, path: str, headers: Mapping[str, str] = BEARER) -> requests.Response:
    return requests.get(f"{sandbox.url}/api/v2{path}", headers=dict(headers), timeout=30)


def test_both_versions_give_the_same_record(sandbox: RunningSandbox) -> None:
    one, two = v1(sandbox, "/ruc", ruc=RUC), v2(sandbox, f"/ruc/{RUC}")
    assert one.json() == two.json()
    assert one.json()["success"] is True
    assert one.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/account", {}),
        ("/ruc", {"ruc": RUC}),
        ("/ruc/collection", {"ruc": [RUC]}),
        ("/ruc/representantes-legales", {"ruc": RUC}),
        ("/dni", {"dni": "12345678"}),
        ("/exchange", {"fecha_inicio": "2026-01-01", "fecha_fin": "2026-01-31"}),
        ("/exchange/latest", {}),
        ("/exchange/date", {"fecha": "2026-01-05"}),
    ],
)
def test_every_query_of_version_one_is_there(sandbox: RunningSandbox, path: str, body: dict[str, Any]) -> None:
    answer = v1(sandbox, path, **body)
    assert answer.status_code == 200
    assert "token" not in answer.text


@pytest.mark.parametrize(
    "path", [f"/ruc/{RUC}", "/dni/12345678", "/tipo-cambio/sunat/ultimo", "/tipo-cambio/sunat?fecha=2026-01-05"]
)
def test_every_query_of_version_two_is_there(sandbox: RunningSandbox, path: str) -> None:
    assert v2(sandbox, path).json()["success"] is True


def test_a_form_is_understood_as_some_clients_send_it(sandbox: RunningSandbox) -> None:
    answer = requests.post(f"{sandbox.url}/api/v1/ruc", data={"token": TOKEN, "ruc": RUC}, timeout=5)
    assert answer.json()["ruc"] == RUC


def test_a_missing_or_wrong_token_is_refused_and_not_billed() -> None:
    server = SandboxServer(token="the-only-one").start()
    strict = RunningSandbox(server.url)
    try:
        assert [v1(strict, "/ruc", ruc=RUC).status_code, v2(strict, f"/ruc/{RUC}").status_code] == [401, 401]
        assert v2(strict, f"/ruc/{RUC}", {"Authorization": "Bearer the-only-one"}).status_code == 200
        assert v2(strict, f"/ruc/{RUC}?token=the-only-one", {}).status_code == 401
        assert strict.billed == 1
    finally:
        server.stop()


def test_collections_take_up_to_a_hundred_valid_numbers(sandbox: RunningSandbox) -> None:
    assert len(v1(sandbox, "/ruc/collection", ruc=rucs(100)).json()) >= 95
    too_many = v1(sandbox, "/ruc/collection", ruc=rucs(101))
    wrong = v1(sandbox, "/ruc/collection", ruc=[RUC, "20123456789"])
    assert (too_many.status_code, wrong.status_code) == (422, 422)
    assert wrong.json()["errors"] == {"ruc.1": ["El RUC no es válido."]}
    assert sandbox.billed == 100


def test_unknown_numbers_of_a_collection_are_refused_or_left_out(sandbox: RunningSandbox) -> None:
    sandbox.switch(unknown_share=1.0)
    entries = v1(sandbox, "/ruc/collection", ruc=rucs(60)).json()
    assert 15 < len(entries) < 45
    assert {entry["success"] for entry in entries} == {False}


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v3/ruc", "/"])
def test_a_wrong_address_is_an_html_page(sandbox: RunningSandbox, path: str) -> None:
    answer = requests.post(f"{sandbox.url}{path}", json={"token": TOKEN}, timeout=5)
    assert answer.status_code == 404
    assert answer.text.startswith("<!DOCTYPE html>")


def test_the_plan_counts_down_to_a_refusal(sandbox: RunningSandbox) -> None:
    sandbox.switch(consultas=3)
    assert v1(sandbox, "/ruc/collection", ruc=rucs(2)).status_code == 200
    assert v1(sandbox, "/ruc/collection", ruc=rucs(2)).status_code == 403
    assert v1(sandbox, "/account").json()["consultas"] == 1


def test_more_requests_than_a_minute_allows_are_told_when_to_come_back(sandbox: RunningSandbox) -> None:
    sandbox.switch(rate_limit_per_minute=2)
    answers = [v1(sandbox, "/ruc", ruc=RUC) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert sandbox.billed == 2


def test_a_script_is_played_once_and_logged(sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["500", "429:2", "broken_json", "html", "ok"])
    answers = [v1(sandbox, "/ruc", ruc=RUC) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [500, 429, 200, 502, 200, 200]
    assert answers[1].headers["Retry-After"] == "2"
    assert [entry["fault"] for entry in sandbox.log] == ["500", "429", "broken_json", "html", "ok", "ok"]
    entry = {"method": "POST", "path": "/api/v1/ruc", "rucs": [RUC], "billed": 1, "status": 200, "fault": "ok"}
    assert sandbox.log[-1] == entry


@pytest.mark.parametrize("wrong", [{"latenci": 1}, {"error_rate": 2}, {"script": ["boom"]}])
def test_a_wrong_switch_changes_nothing(sandbox: RunningSandbox, wrong: dict[str, Any]) -> None:
    before = sandbox.state
    answer = requests.post(f"{sandbox.url}/_sandbox/switches", json={"consultas": 5, **wrong}, timeout=5)
    assert answer.status_code == 422
    assert sandbox.state == before


def test_reset_frees_those_who_are_kept_waiting(sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["timeout:600"])
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(v1, sandbox, "/ruc", 90.0, ruc=RUC)
        wait_until(lambda: sandbox.log, message="the held request")
        sandbox.reset()
        assert held.result(timeout=90).status_code == 200
    assert sandbox.log == []


def test_32_callers_are_served_side_by_side(sandbox: RunningSandbox) -> None:
    sandbox.switch(latency=0.5)
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: v1(sandbox, "/ruc", ruc=RUC).status_code, range(32)))
    assert statuses == [200] * 32
    assert sandbox.state["most_in_flight"] > 8


def test_two_servers_with_one_seed_fail_at_the_same_requests() -> None:
    servers = [SandboxServer(switches=Switches(error_rate=0.4, seed=5)).start() for _ in range(2)]
    try:
        runs = [[v1(RunningSandbox(s.url), "/ruc", ruc=RUC).status_code for _ in range(20)] for s in servers]
    finally:
        for server in servers:
            server.stop()
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


def test_a_stopped_server_lets_go_of_its_port() -> None:
    first = SandboxServer().start()
    assert v1(RunningSandbox(first.url), "/ruc", ruc=RUC).status_code == 200
    first.stop()
    second = SandboxServer(port=first.port).start()
    try:
        assert RunningSandbox(second.url).log == []
    finally:
        second.stop()


def test_a_server_that_never_served_can_be_stopped() -> None:
    server = SandboxServer()
    server.stop()

    # Its port is free again: a socket left open would refuse this one
    again = SandboxServer(port=server.port)
    again.stop()
    assert again.port == server.port


def test_a_server_whose_loop_ends_at_once_is_stopped_cleanly_and_again() -> None:
    server = SandboxServer().start()

    class EndsFirst(threading.Event):
        def set(self) -> None:
            super().set()
            while server._thread is not None and server._thread.is_alive():
                sleep(0.01)

    server._stopping = EndsFirst()
    server.stop()
    server.stop()

    assert server._thread is not None
    assert not server._thread.is_alive()
