"""/health/cache/history: who may read it, what is in it, and that a page has an end."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from api_service.models import HealthSample, NodeSample
from api_service.services import health_history, monitoring, role_groups
from api_service.services.roles import Role
from tests.conftest import UseCacheUrl
from tests.integration.http.conftest import API_TOKEN
from tests.servers import Memcached

pytestmark = pytest.mark.django_db

URL = "/health/cache/history"
TOKEN = "operations-token-of-the-tests"
NOW = datetime(2026, 1, 28, 12, 0, tzinfo=UTC)


@pytest.fixture
def operator(settings: Settings) -> Client:
    settings.API_TOKEN, settings.OPERATIONS_TOKEN = API_TOKEN, TOKEN
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def runs(*minutes_ago: int, now: datetime = NOW) -> list[HealthSample]:
    samples = [
        HealthSample(taken_at=now - timedelta(minutes=minutes), status="warning", backend="memcached", duration_ms=9.0)
        for minutes in minutes_ago
    ]
    HealthSample.objects.bulk_create(samples)
    NodeSample.objects.bulk_create(NodeSample(sample=each, node="a:1", reachable=True) for each in samples)
    return samples


@pytest.mark.usefixtures("counts_at_once")
def test_a_run_is_told_with_its_nodes_and_its_findings(
    operator: Client, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[2].kill()
    monitoring.run_health_check()
    answer = operator.get(URL)

    assert answer.status_code == 200
    (sample,) = answer.json()["samples"]
    assert (sample["status"], sample["hourly"]) == ("unhealthy", False)
    assert [(one["code"], one["node"]) for one in sample["findings"]] == [("node_down", own_cluster[2].address)]
    assert {"code": "memory_high", "node": own_cluster[2].address} in sample["unknown"]
    assert [node["reachable"] for node in sample["nodes"]] == [True, True, False]
    assert 0 < sample["nodes"][0]["latency_ms"] <= sample["nodes"][0]["latency_worst_ms"]
    assert sample["nodes"][0]["bytes_limit"] == 64 * 2**20
    assert sample["nodes"][2]["details"]["first_error"]


def test_the_hours_asked_for_are_told_oldest_first_in_as_many_queries_for_any_number(
    operator: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    runs(5, 30, 59, 61, now=timezone.now())
    with django_assert_num_queries(2):
        hour = operator.get(f"{URL}?hours=1").json()
    day = operator.get(URL).json()

    assert (len(hour["samples"]), len(day["samples"])) == (3, 4)
    assert [one["taken_at"] for one in day["samples"]] == sorted(one["taken_at"] for one in day["samples"])
    assert (hour["older"], day["older"]) == (None, None)


def test_what_does_not_fit_on_a_page_is_at_the_address_of_the_older_ones(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_history, "PAGE", 2)
    samples = runs(350, 200, 100, 50, 10)
    seen: list[str] = []
    url = f"{URL}?hours=6&until={NOW:%Y-%m-%dT%H:%M:%SZ}"
    while url:
        page = operator.get(url).json()
        seen = [*(one["taken_at"] for one in page["samples"]), *seen]
        url = page["older"]

    assert [datetime.fromisoformat(moment) for moment in seen] == [sample.taken_at for sample in samples]


@pytest.mark.parametrize("query", ["hours=0", "hours=-1", "hours=x", "hours=1.5", "hours=99999999999", "hours=2161"])
def test_more_than_is_kept_is_refused_in_clear_words(operator: Client, query: str) -> None:
    answer = operator.get(f"{URL}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")
    assert "2160" in answer.json()["error"]


@pytest.mark.parametrize("moment", ["yesterday", "2026-02-30T00:00:00Z", "", "0001-01-01T00:00:00Z"])
def test_a_time_that_is_none_is_refused(operator: Client, moment: str) -> None:
    answer = operator.get(f"{URL}?until={moment}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")


def test_viewers_and_the_token_of_operations_read_it_and_nobody_else(settings: Settings) -> None:
    settings.API_TOKEN, settings.OPERATIONS_TOKEN = API_TOKEN, TOKEN
    viewer, login, user = Client(), Client(), User.objects.create_user("ana")
    role_groups.give(user, Role.VIEWER)
    viewer.force_login(user)
    login.force_login(User.objects.create_user("luis", is_staff=True))
    answers = {
        "viewer": viewer.get(URL).status_code,
        "token": Client(headers={"Authorization": f"Bearer {TOKEN}"}).get(URL).status_code,
        "login": login.get(URL).status_code,
        "nobody": Client().get(URL).status_code,
        "look-ups": Client(headers={"Authorization": f"Bearer {API_TOKEN}"}).get(URL).status_code,
    }

    assert answers == {"viewer": 200, "token": 200, "login": 403, "nobody": 401, "look-ups": 401}


def test_an_empty_setting_opens_nothing(settings: Settings) -> None:
    settings.OPERATIONS_TOKEN = ""
    assert Client(headers={"Authorization": "Bearer "}).get(URL).status_code == 401


def test_without_a_database_it_says_so(operator: Client) -> None:
    lost = OperationalError("could not connect to 10.9.8.7")
    with patch.object(connections["default"], "cursor", autospec=True, side_effect=lost):
        answer = operator.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "10.9.8.7" not in answer.content.decode()
