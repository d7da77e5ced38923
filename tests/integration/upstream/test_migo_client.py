"""The client against the sandbox over real HTTP, in both versions of the wire."""

import logging
import time
import traceback
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from api_service.sandbox import data
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotOffered,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from api_service.services.migo_client import MigoClient, MigoConfig
from api_service.services.migo_wire import Version
from api_service.services.providers import Found, NotFound
from api_service.services.upstream import Door
from tests.http_catcher import HttpCatcher
from tests.integration.upstream.conftest import TOKEN, ClientOf, patience_with
from tests.sandbox_fixture import RunningSandbox

RUC = "20100038146"


class Ledger:
    """Keeps what it was told; forbids the call with that number."""

    def __init__(self, forbid: int = 0) -> None:
        self.calls: list[tuple[int, bool]] = []
        self._forbid = forbid

    def __call__(self, queries: int, *, retry: bool) -> None:
        if len(self.calls) + 1 == self._forbid:
            raise PermissionError("the budget of this hour is spent")
        self.calls.append((queries, retry))


# -- answers


def test_a_taxpayer_is_found_whole(client: MigoClient, sandbox: RunningSandbox) -> None:
    answer = client.fetch("ruc", RUC)
    assert isinstance(answer, Found)
    assert answer.data["nombre_o_razon_social"] == "CONTINENTAL S.A.C."
    assert {"ubigeo", "direccion", "actualizado_en"} <= answer.data.keys()
    assert sandbox.billed == 1


def test_an_unknown_taxpayer_is_a_negative_answer_however_it_is_said(
    client: MigoClient, sandbox: RunningSandbox
) -> None:
    sandbox.switch(unknown_share=1.0)
    rucs = ["20512333797", "20600000013", "10054148289", "20100070970", "20100128056", "20100030595"]
    assert [client.fetch("ruc", ruc) for ruc in rucs] == [NotFound("NO_EXISTE_SUNAT")] * len(rucs)
    assert {entry["status"] for entry in sandbox.log} == {200, 404}


def test_what_cannot_exist_is_answered_without_asking(client: MigoClient, sandbox: RunningSandbox) -> None:
    asked = [("ruc", "20123456789"), ("dni", "1"), ("tipo_cambio", "ayer"), ("ruc", "../dni/12345678")]
    assert [client.fetch(*question) for question in asked] == [NotFound("FORMATO_INVALIDO")] * 4
    assert sandbox.log == []


def test_a_citizen_is_found(client: MigoClient) -> None:
    assert client.fetch("dni", "12345678") == Found(data.citizen("12345678"))


def test_exchange_rates_are_decimal_texts(client: MigoClient) -> None:
    latest, day = client.fetch("tipo_cambio", "latest"), client.fetch("tipo_cambio", "2026-01-05")
    assert isinstance(latest, Found)
    assert isinstance(day, Found)
    assert day.data["fecha"] == "2026-01-05"
    for rate in (latest.data, day.data):
        assert isinstance(rate["precio_compra"], str)
        assert Decimal(rate["precio_compra"]) < Decimal(rate["precio_venta"])


def test_a_day_without_rate_is_a_negative_answer(client: MigoClient) -> None:
    assert client.fetch("tipo_cambio", "1999-01-05") == NotFound("NO_EXISTE_SUNAT")


def test_version_one_also_has_ranges_representatives_and_the_account(
    client_of: ClientOf, sandbox: RunningSandbox
) -> None:
    client = client_of("v1")
    rates: list[Any] = client.exchange_range(date(2026, 1, 1), date(2026, 1, 31))["data"]
    people = client.fetch("representantes", RUC)
    sandbox.switch(consultas=77)
    account = client.account()
    assert (len(rates), rates[0]["fecha"]) == (31, "2026-01-01")
    assert isinstance(people, Found)
    assert people.data["data"][0]["cargo"]
    assert (account.queries_left, account.email) == (77, "pruebas@example.com")


def test_version_two_says_at_once_what_it_does_not_offer(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    with pytest.raises(UpstreamNotOffered):
        client_of("v2").account()
    with pytest.raises(UpstreamNotOffered) as caught:
        client_of("v2").fetch("representantes", RUC)
    assert "v1" in caught.value.next_step
    assert sandbox.log == []


def test_the_account_counts_down_and_an_exhausted_plan_refuses(client_of: ClientOf, sandbox: RunningSandbox) -> None:
    sandbox.switch(consultas=2)
    client = client_of("v1")
    client.fetch("ruc", RUC)
    assert client.account().queries_left == 1
    client.fetch("ruc", RUC)
    with pytest.raises(UpstreamAuthRefused) as caught:
        client.fetch("ruc", RUC)
    assert (caught.value.status, caught.value.permanent) == (403, True)


# -- the error table


@pytest.mark.parametrize(
    ("step", "kind", "requests"),
    [
        ("401", UpstreamAuthRefused, 1),
        ("403", UpstreamAuthRefused, 1),
        ("400", UpstreamRefused, 1),
        ("refused:Su plan ha vencido", UpstreamRefused, 1),
        ("html404", UpstreamBadAnswer, 1),
        ("429:0", UpstreamRateLimited, 3),
        ("429", UpstreamRateLimited, 3),
        ("500", UpstreamServerError, 3),
        ("502", UpstreamServerError, 3),
        ("503", UpstreamServerError, 3),
        ("504", UpstreamServerError, 3),
        ("html", UpstreamServerError, 3),
        ("broken_json", UpstreamBadAnswer, 3),
        ("timeout", UpstreamTimeout, 3),
    ],
)
def test_each_row_of_the_error_table(
    client_of: ClientOf,
    version: Version,
    sandbox: RunningSandbox,
    step: str,
    kind: type[UpstreamError],
    requests: int,
) -> None:
    sandbox.switch(script=[step] * 3)
    with pytest.raises(UpstreamError) as caught:
        client_of(version, read_timeout=patience_with(step)).fetch("ruc", RUC)
    assert type(caught.value) is kind
    assert len(sandbox.log) == requests
    assert caught.value.permanent is (requests == 1)


@pytest.mark.parametrize("step", ["429:1", "500", "html", "broken_json", "timeout"])
def test_a_failure_that_passes_is_an_answer_in_the_end(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox, step: str
) -> None:
    sandbox.switch(script=[step, "ok"])
    assert isinstance(client_of(version, read_timeout=patience_with(step)).fetch("ruc", RUC), Found)
    assert [entry["fault"] for entry in sandbox.log] == [step.partition(":")[0], "ok"]


def test_the_answer_for_another_number_is_never_taken_for_the_right_one(
    client: MigoClient, sandbox: RunningSandbox
) -> None:
    sandbox.switch(script=["wrong_ruc"] * 3)
    with pytest.raises(UpstreamBadAnswer):
        client.fetch("ruc", RUC)


def test_422_is_a_malformed_number_unless_it_is_about_another_field(
    version: Version, http_catcher: HttpCatcher, door: Door
) -> None:
    client = MigoClient(MigoConfig(TOKEN, http_catcher.url, version), door)
    http_catcher.answer(status=422, body='{"success": false, "errors": {"ruc": ["mal"]}}', times=1)
    assert client.fetch("ruc", RUC) == NotFound("FORMATO_INVALIDO")
    http_catcher.answer(status=422, body='{"success": false, "errors": {"token": ["falta"]}}')
    with pytest.raises(UpstreamMalformed):
        client.fetch("ruc", RUC)


def test_a_dripping_answer_ends_at_the_deadline(client_of: ClientOf, version: Version, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["drip:0.05"] * 3)
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        client_of(version, deadline=1.0).fetch("ruc", RUC)
    # The whole answer would take 20 s
    assert time.monotonic() - started < 10


def test_a_service_that_is_gone_is_unreachable_within_the_deadline(
    version: Version, door: Door, free_port: int
) -> None:
    client = MigoClient(MigoConfig(TOKEN, f"http://127.0.0.1:{free_port}", version, deadline=2.0), door)
    started = time.monotonic()
    with pytest.raises(UpstreamUnreachable):
        client.fetch("ruc", RUC)
    assert time.monotonic() - started < 10


def test_without_a_token_nothing_is_sent(client_of: ClientOf, version: Version, sandbox: RunningSandbox) -> None:
    client, ledger = client_of(version, token=""), Ledger()
    with pytest.raises(UpstreamAuthRefused, match="MIGO_TOKEN"):
        client.fetch("ruc", RUC, spend=ledger)
    assert all(isinstance(one, UpstreamAuthRefused) for one in client.fetch_many("ruc", [RUC], spend=ledger).values())
    assert (sandbox.log, ledger.calls) == ([], [])


# -- what is spent


def test_every_attempt_is_reported_before_it_is_made(client: MigoClient, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["500", "broken_json", "ok"])
    ledger = Ledger()
    client.fetch("ruc", RUC, spend=ledger)
    assert ledger.calls == [(1, False), (1, True), (1, True)]
    assert len(sandbox.log) == 3


@pytest.mark.parametrize("forbidden", [1, 2])
def test_what_forbids_an_attempt_passes_untouched(client: MigoClient, sandbox: RunningSandbox, forbidden: int) -> None:
    sandbox.switch(script=["500"] * 3)
    with pytest.raises(PermissionError, match="spent"):
        client.fetch("ruc", RUC, spend=Ledger(forbid=forbidden))
    assert len(sandbox.log) == forbidden - 1


# -- secrets


@pytest.mark.parametrize("step", ["401", "500", "broken_json", "timeout", f"refused:Token {TOKEN} vencido"])
def test_the_token_is_in_no_address_error_or_log(
    client_of: ClientOf, version: Version, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    sandbox.switch(script=[step] * 3)
    with caplog.at_level(logging.DEBUG), pytest.raises(UpstreamError) as caught:
        client_of(version, read_timeout=patience_with(step)).fetch("ruc", RUC)
    records = "".join(str(record.__dict__) for record in caplog.records)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + records + caplog.text
    assert TOKEN not in shown
    assert TOKEN not in str(sandbox.log)


def test_the_token_travels_in_the_body_of_v1_and_in_the_header_of_v2(http_catcher: HttpCatcher, door: Door) -> None:
    http_catcher.answer(body=f'{{"success": true, "ruc": "{RUC}"}}')
    for version in ("v1", "v2"):
        MigoClient(MigoConfig(TOKEN, http_catcher.url, version), door).fetch("ruc", RUC)
    one, two = http_catcher.requests
    assert (one.method, one.target, one.json()) == ("POST", "/api/v1/ruc", {"token": TOKEN, "ruc": RUC})
    assert (two.method, two.target, two.body) == ("GET", f"/api/v2/ruc/{RUC}", b"")
    assert "authorization" not in one.headers
    assert two.headers["authorization"] == f"Bearer {TOKEN}"
    assert one.headers["accept"] == two.headers["accept"] == one.headers["content-type"] == "application/json"
