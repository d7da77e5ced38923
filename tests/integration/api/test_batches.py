"""POST /api/v1/rucs/batch: each RUC once, as a list or as lines, and what fails fails alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from api_service.services.token_rules import Scope
from tests.integration.api.conftest import ApiClient, problem_of
from tests.migo_fixtures import IMPOSSIBLE, RUC, known_rucs, unknown_rucs
from tests.sandbox_fixture import RunningSandbox

pytestmark = pytest.mark.usefixtures("migo")
URL = "/api/v1/rucs/batch"
LINES = {"Accept": "application/x-ndjson"}


def ask(client: Client, rucs: list[str], **more: Any) -> Any:
    headers = more.pop("headers", {})
    return client.post(URL, {"rucs": rucs, **more}, content_type="application/json", headers=headers)


def lines(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.getvalue().splitlines()]


def test_every_ruc_is_asked_for_once_and_has_an_outcome_of_its_own(api: ApiClient, sandbox: RunningSandbox) -> None:
    (unknown,) = unknown_rucs(1)
    body = ask(api(Scope.LOOKUP), [RUC, IMPOSSIBLE, unknown, "20-10003814-6", "ñ"]).json()
    assert [(one["ruc"], one["status"]) for one in body["results"]] == [
        (RUC, "found"),
        (IMPOSSIBLE, "malformed"),
        (unknown, "not_found"),
        ("ñ", "malformed"),
    ]
    counts = {name: number for name, number in body.items() if name != "results"}
    assert counts == {"total": 5, "distinct": 4, "found": 1, "not_found": 1, "malformed": 2, "failed": 0}
    assert body["results"][0]["record"]["nombre_o_razon_social"]
    assert body["results"][2]["problem"]["next_step"]
    assert sandbox.billed == 2


def test_lines_come_as_they_are_there_the_cached_ones_first(
    api: ApiClient, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_PARALLEL = 1
    client, rucs = api(), known_rucs(250)
    ask(client, rucs[-2:])
    answer = ask(client, rucs, headers=LINES)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    stream = iter(answer)
    first = [json.loads(line) for line in next(stream).splitlines()]
    assert {one["ruc"] for one in first} == set(rucs[-2:])
    assert {one["cache"]["source"] for one in first} == {"cache"}
    # Nothing has been paid for yet but what was cached
    assert sandbox.billed == 2
    rest = [json.loads(line) for chunk in stream for line in chunk.splitlines()]
    assert rest[-1] == {
        "summary": {"total": 250, "distinct": 250, "found": 250, "not_found": 0, "malformed": 0, "failed": 0}
    }
    assert {one["ruc"] for one in [*first, *rest[:-1]]} == set(rucs)
    assert sandbox.billed == 250


def test_what_apimigo_fails_at_fails_alone_and_says_when_to_come_again(api: ApiClient, sandbox: RunningSandbox) -> None:
    client, rucs = api(), known_rucs(3)
    ask(client, rucs[:1])
    sandbox.switch(script=["503:12"])
    by_ruc = {one["ruc"]: one for one in ask(client, rucs).json()["results"]}
    assert [by_ruc[ruc]["status"] for ruc in rucs] == ["found", "failed", "failed"]
    assert by_ruc[rucs[1]]["problem"]["retry_after"] == 12
    assert by_ruc[rucs[1]]["problem"]["permanent"] is False


def test_a_batch_says_of_each_whether_it_can_be_invoiced(api: ApiClient) -> None:
    (unknown,) = unknown_rucs(1)
    found, absent = ask(api(), [RUC, unknown], billing=True).json()["results"]
    assert found["billing"]["valid"] is not bool(found["billing"]["errors"])
    assert absent["billing"]["errors"][0]["code"] == "not_found"


def test_texts_of_a_stream_are_in_the_readers_language(api: ApiClient) -> None:
    answer = ask(api(), [IMPOSSIBLE], headers={**LINES, "Accept-Language": "en"})
    assert lines(answer)[0]["problem"]["detail"] == "The number does not have a valid form."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rucs": []},
        {"rucs": [RUC] * 1001},
        {"rucs": [1]},
        {"rucs": [RUC], "biling": True},
        [],
        {"rucs": ["1" * 41]},
    ],
)
def test_a_body_that_is_not_understood_asks_nothing(api: ApiClient, sandbox: RunningSandbox, body: Any) -> None:
    answer = api().post(URL, body, content_type="application/json")
    assert problem_of(answer, 422, "invalid_request")["errors"]
    assert sandbox.log == []


def test_a_body_that_is_no_json_is_said_to_be_none(api: ApiClient) -> None:
    problem_of(api().post(URL, "{", content_type="application/json"), 400, "malformed_body")


def test_a_large_batch_takes_more_of_the_minute(api: ApiClient) -> None:
    client = api(Scope.LOOKUP, per_minute=10)
    answer = ask(client, known_rucs(250))
    assert answer.headers["RateLimit"].startswith('"minute";r=7;t=')
