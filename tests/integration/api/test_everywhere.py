"""What holds at every address: problems for what is not there, request ids, a reference page without the internet."""

from __future__ import annotations

import logging
import re
from queue import Queue
from typing import Any
from unittest.mock import patch

import pytest
from celery import current_app
from celery.contrib.testing.worker import start_worker
from django.core.signals import got_request_exception
from django.test import Client

from api_service import request_ids
from api_service.api.document import Api
from api_service.services import lookup
from myproject.sentry import _event_without_secrets
from tests.integration.api.conftest import ApiClient, problem_of
from tests.migo_fixtures import RUC

pytestmark = pytest.mark.django_db
URL = f"/api/v1/rucs/{RUC}"


@pytest.mark.parametrize("method", ["get", "post", "delete"])
@pytest.mark.parametrize("path", ["nothing", "rucs/", "rucs/1/2/3", "docs/", ""])
def test_what_is_not_there_is_a_problem_and_no_page(method: str, path: str) -> None:
    problem_of(getattr(Client(), method)(f"/api/v1/{path}"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("post", f"rucs/{RUC}", "GET, HEAD"),
        ("get", "rucs/batch", "POST"),
        ("delete", "cache/clearings", "GET, HEAD, POST"),
        ("post", "openapi.json", "GET, HEAD"),
        ("options", "docs", "GET, HEAD"),
    ],
)
def test_another_method_is_a_problem_that_names_the_right_one(method: str, path: str, allowed: str) -> None:
    answer = getattr(Client(enforce_csrf_checks=True), method)(f"/api/v1/{path}")
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


def test_what_nobody_foresaw_is_a_problem_without_its_text_and_is_noted(
    api: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    noted: list[Any] = []
    got_request_exception.connect(lambda **kwargs: noted.append(kwargs), weak=False, dispatch_uid="tests")
    try:
        with patch.object(lookup, "get", autospec=True, side_effect=RuntimeError("10.9.8.7 said no")):
            answer = api().get(URL)
    finally:
        got_request_exception.disconnect(dispatch_uid="tests")
    problem_of(answer, 500, "internal_error")
    assert "10.9.8.7" not in answer.text
    assert len(noted) == 1
    assert "10.9.8.7 said no" in caplog.text


def test_the_old_addresses_keep_their_form() -> None:
    answer = Client().get(f"/api/v1/ruc/{RUC}")
    assert (answer.status_code, set(answer.json())) == (401, {"success", "error", "code", "next_step"})


# -- the reference page


def test_the_reference_page_and_all_it_needs_are_here() -> None:
    page = Client().get("/api/v1/docs")
    assert page.status_code == 200
    assert re.findall(r"https?://", page.text) == []
    assert '"validatorUrl": null' in page.text
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(needed) >= 4
    for url in needed:
        answer = Client().get(url)
        assert (url.startswith("/static/"), answer.status_code) == (True, 200)
        answer.close()


def test_the_document_is_openapi_3_1_and_made_once() -> None:
    """It needs no token, and takes as long as fifty requests."""
    first = Client().get("/api/v1/openapi.json")
    assert first.json()["openapi"] == "3.1.0"
    with patch.object(Api, "get_openapi_schema", autospec=True, side_effect=AssertionError):
        again = Client().get("/api/v1/openapi.json")
    assert (again.content, again.headers["ETag"]) == (first.content, first.headers["ETag"])


# -- request ids


@pytest.mark.parametrize("own", ["order-4711", "a" * 64, "0af7651916cd43dd8448eb211c80319c"])
def test_a_callers_id_is_taken_over(own: str) -> None:
    assert Client().get("/health/live", headers={"X-Request-ID": own}).headers["X-Request-ID"] == own


@pytest.mark.parametrize("own", [None, "", "a" * 65, "a b", "a\x00b", "ñ", "a;b", "a\u2028b"])
def test_what_could_forge_a_line_is_replaced_by_an_id_of_ours(own: str | None) -> None:
    headers = {} if own is None else {"X-Request-ID": own}
    first, second = (Client().get("/health/live", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second


def test_every_log_line_of_a_request_has_its_id(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(request_ids.AddRequestId())
    with patch.object(lookup, "get", autospec=True, side_effect=RuntimeError("no")):
        api().get(URL, headers={"X-Request-ID": "order-4711"})
    logging.getLogger("tests").warning("outside")
    refused = api().get(f"/api/v1/rucs/{RUC[:-1]}", headers={"X-Request-ID": "order-4712"})
    assert refused.status_code == 422
    ids = {record.getMessage(): getattr(record, "request_id", None) for record in caplog.records}
    assert ids[f"GET {URL} failed"] == "order-4711"
    assert ids[f"Unprocessable Entity: /api/v1/rucs/{RUC[:-1]}"] == "order-4712"
    assert ids["outside"] == "-"


def test_a_task_has_the_id_of_the_request_that_sent_it_and_else_its_own() -> None:
    found: Queue[tuple[str, str]] = Queue()

    @current_app.task(name="tests.what_id", bind=True, ignore_result=True)
    def what_id(self: Any) -> None:
        found.put((request_ids.current(), self.request.id))

    with start_worker(current_app, pool="solo", queues=["tests"], perform_ping_check=False, shutdown_timeout=60):
        with request_ids.under("order-4711"):
            what_id.apply_async(queue="tests")
        assert found.get(timeout=60)[0] == "order-4711"
        for headers in ({}, {"request_id": "forged\nline"}):
            what_id.apply_async(queue="tests", headers=headers)
            seen, task_id = found.get(timeout=60)
            assert seen == task_id


def test_a_task_that_is_called_within_a_request_gives_its_id_back() -> None:
    with request_ids.under("order-4711"):
        request_ids.begin_task("own")
        assert request_ids.current() == "own"
        request_ids.end_task("own")
        assert request_ids.current() == "order-4711"


def test_an_event_of_sentry_has_the_id_as_a_tag() -> None:
    with request_ids.under("order-4711"):
        assert _event_without_secrets({}, {})["tags"] == {"request_id": "order-4711"}
    assert "tags" not in _event_without_secrets({}, {})
