"""GET /api/v1/ruc/<ruc>: each status, and what stands in each answer."""

import re

import pytest
from django.test import Client
from pytest_django import Settings

from api_service.services import migo_client
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import provider
from tests.conftest import UseCacheUrl
from tests.integration.http.conftest import API_TOKEN
from tests.migo_fixtures import IMPOSSIBLE, RUC, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, free_port

pytestmark = pytest.mark.usefixtures("migo")
URL = f"/api/v1/ruc/{RUC}"


def test_the_answer_comes_with_its_source_and_age(api: Client, sandbox: RunningSandbox) -> None:
    first, second = api.get(URL), api.get(URL)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["nombre_o_razon_social"]
    assert [answer.json()["cache"]["source"] for answer in (first, second)] == ["upstream", "cache"]
    assert sandbox.billed == 1


def test_the_age_header_is_in_whole_seconds_and_no_shared_cache_keeps_the_answer(api: Client) -> None:
    api.get(URL)
    cached = APICacheService().read_ruc(RUC)
    APICacheService().set_ruc(RUC, cached.value, born_at=cached.born_at - 90)
    answer = api.get(URL)
    assert 90 <= int(answer.headers["Age"]) < 150
    assert answer.headers["Cache-Control"].startswith("private")
    assert "Authorization" in answer.headers["Vary"]


def test_names_come_in_readable_letters(api: Client) -> None:
    answer = api.get(URL)
    assert answer.headers["Content-Type"] == "application/json"
    assert "\\u00" not in answer.content.decode()


@pytest.mark.parametrize("path", ["20-10003814-6", "%2020100038146%20", f"{RUC}/"])
def test_pasted_forms_of_the_number_are_the_number(api: Client, path: str) -> None:
    answer = api.get(f"/api/v1/ruc/{path}")
    assert (answer.status_code, answer.json()["ruc"]) == (200, RUC)


@pytest.mark.parametrize("wrong", [IMPOSSIBLE, "123", "abc", "", "%00", "ñ" * 300])
def test_a_malformed_ruc_is_a_bad_request(api: Client, sandbox: RunningSandbox, wrong: str) -> None:
    answer = api.get(f"/api/v1/ruc/{wrong}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert answer.json()["next_step"]
    assert sandbox.log == []


def test_an_unknown_ruc_is_not_found_with_its_reason_also_from_the_cache(api: Client) -> None:
    (ruc,) = unknown_rucs(1)
    for source in ("upstream", "cache"):
        answer = api.get(f"/api/v1/ruc/{ruc}")
        body = answer.json()
        assert (answer.status_code, body["reason"], body["cache"]["source"]) == (404, "NO_EXISTE_SUNAT", source)
        assert body["error"]
        assert "Age" in answer.headers


FAULTS = [
    ("429:30", 429, "30"),
    ("401", 502, None),
    ("refused:Su plan ha vencido.", 502, None),
    ("broken_json", 502, None),
    ("wrong_ruc", 502, None),
    ("500", 503, None),
    ("503:12", 503, "12"),
]


@pytest.mark.parametrize(("fault", "status", "retry_after"), FAULTS, ids=[fault for fault, *_ in FAULTS])
def test_trouble_of_apimigo_is_a_status_of_its_own(
    api: Client, sandbox: RunningSandbox, fault: str, status: int, retry_after: str | None
) -> None:
    sandbox.switch(script=[fault])
    answer = api.get(URL)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert {"error", "code", "next_step"} <= {name for name, value in answer.json().items() if value}
    assert "Age" not in answer.headers


def test_a_silent_apimigo_is_a_gateway_timeout(api: Client, sandbox: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_READ_TIMEOUT = 0.2
    provider.cache_clear()
    sandbox.switch(script=["timeout:3"])
    answer = api.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")


def test_an_apimigo_that_cannot_be_reached_is_unavailable(api: Client, settings: Settings) -> None:
    settings.MIGO_BASE_URL = f"http://127.0.0.1:{free_port()}"
    provider.cache_clear()
    answer = api.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "upstream_unreachable")


def test_a_reached_cap_says_when_to_come_again(api: Client, settings: Settings) -> None:
    settings.MIGO_MAX_PER_DAY = 1
    api.get("/api/v1/ruc/20131312955")
    answer = api.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (429, "budget_exhausted")
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400


def test_a_dead_cache_does_not_stop_an_answer(
    api: Client, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    answer = api.get(URL)
    assert (answer.status_code, answer.json()["cache"]["outcome"]) == (200, "outage")


# -- the token


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {API_TOKEN}",
        API_TOKEN,
        f"Bearer {API_TOKEN}x",
        "Bearer ñ",
    ],
)
def test_without_the_token_nothing_is_looked_up(api: Client, sandbox: RunningSandbox, header: str | None) -> None:
    answer = Client(headers={} if header is None else {"Authorization": header}).get(URL)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert API_TOKEN not in answer.content.decode()
    assert sandbox.log == []


def test_an_empty_token_in_the_settings_opens_nothing(api: Client, settings: Settings) -> None:
    settings.API_TOKEN = ""
    assert Client(headers={"Authorization": "Bearer "}).get(URL).status_code == 401
    assert Client().get(URL).status_code == 401


def test_the_scheme_is_read_in_any_spelling(api: Client) -> None:
    assert Client(headers={"Authorization": f"bearer  {API_TOKEN} "}).get(URL).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "options"])
def test_only_reading_is_offered(api: Client, method: str) -> None:
    answer = getattr(Client(enforce_csrf_checks=True, headers=api.defaults), method)(URL)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.json()["next_step"]


def test_head_tells_the_status_without_the_answer(api: Client) -> None:
    answer = api.head(URL)
    assert (answer.status_code, answer.content) == (200, b"")
    assert api.head(f"/api/v1/ruc/{IMPOSSIBLE}").status_code == 400


def test_texts_are_in_the_readers_language_and_codes_are_not(api: Client) -> None:
    english = api.get(f"/api/v1/ruc/{IMPOSSIBLE}", headers={"Accept-Language": "en"}).json()
    assert english["error"] == "The number does not have a valid form."
    assert english["code"] == "malformed"


def test_no_secret_of_the_other_side_is_in_a_failure(api: Client, sandbox: RunningSandbox, settings: Settings) -> None:
    for fault in ("401", "500", "html", "broken_json"):
        sandbox.switch(script=[fault])
        text = api.get(URL).content.decode()
        assert settings.MIGO_TOKEN not in text
        assert not re.search(r"Traceback|File \"", text)


def test_both_versions_of_apimigo_give_the_same_answer(api: Client, settings: Settings, migo: MigoAPIService) -> None:
    first = api.get(URL).json()
    settings.MIGO_API_VERSION = "v2"
    provider.cache_clear()
    assert isinstance(provider("migo"), migo_client.MigoClient)
    second = migo.consultar_ruc(RUC, force_refresh=True)
    assert {**first, "cache": None} == {**second, "cache": None}
