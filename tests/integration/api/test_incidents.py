"""Incidents over the API: seen, acknowledged, muted, by the token's name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api_service.models import Incident, Transition
from api_service.services.token_rules import Scope
from tests.integration.api.conftest import ApiClient, problem_of

pytestmark = pytest.mark.django_db
URL = "/api/v1/incidents"


@pytest.fixture
def incident(db: None) -> Incident:
    now = timezone.now()
    trouble = {"code": "node_down", "node": "10.0.4.12:11211", "severity": "unhealthy", "current": "unhealthy"}
    return Incident.objects.create(**trouble, value="refused", since=now, opened_at=now)


def act(client: Client, incident: Incident, what: str, **said: Any) -> Any:
    return client.post(f"{URL}/{incident.pk}/{what}", said, content_type="application/json")


def test_what_is_open_is_listed_and_all_when_asked_for(api: ApiClient, incident: Incident) -> None:
    now = timezone.now()
    Incident.objects.create(
        code="node_slow", severity="warning", current="healthy", since=now, opened_at=now, resolved_at=now
    )
    client = api(Scope.OPERATIONS_READ)
    assert [item["code"] for item in client.get(URL).json()["items"]] == ["node_down"]
    assert [item["code"] for item in client.get(URL, {"open": "false"}).json()["items"]] == ["node_slow", "node_down"]


def test_an_incident_is_acknowledged_once_by_the_tokens_name_and_tells_its_course(
    api: ApiClient, incident: Incident
) -> None:
    client = api(Scope.INCIDENTS_WRITE)
    for _ in range(2):
        answer = act(client, incident, "acknowledge", note="on it")
        assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "tests")
    course = client.get(f"{URL}/{incident.pk}").json()["course"]
    assert [(step["event"], step["by"], step["note"]) for step in course] == [("acknowledged", "tests", "on it")]


def test_an_incident_is_muted_for_a_time_and_unmuted(api: ApiClient, incident: Incident) -> None:
    client = api(Scope.INCIDENTS_WRITE)
    muted = act(client, incident, "mute", hours=2).json()
    incident.refresh_from_db()
    assert incident.muted_until is not None
    assert timedelta(minutes=119) < incident.muted_until - timezone.now() <= timedelta(hours=2)
    assert muted["muted_by"] == "tests"
    assert act(client, incident, "unmute").json()["muted_until"] is None
    assert list(Transition.objects.order_by("pk").values_list("event", flat=True)) == ["muted", "unmuted"]


def test_about_what_is_over_or_never_was_there_is_nothing_to_do(api: ApiClient, incident: Incident) -> None:
    client = api()
    problem_of(client.get(f"{URL}/99999"), 404, "not_found")
    Incident.objects.update(resolved_at=timezone.now())
    problem_of(act(client, incident, "acknowledge"), 409, "not_open")
    incident.pk += 99
    problem_of(act(client, incident, "acknowledge"), 404, "not_found")
    assert Transition.objects.count() == 0


def test_the_mute_of_an_incident_that_is_over_is_taken_back_once(api: ApiClient, incident: Incident) -> None:
    client, now = api(), timezone.now()
    Incident.objects.update(resolved_at=now, muted_until=now + timedelta(hours=1), muted_by="ana")
    assert client.get(f"{URL}?open=false").json()["items"][0]["muted_by"] == "ana"
    answer = act(client, incident, "unmute")
    assert (answer.status_code, answer.json()["muted_until"]) == (200, None)
    problem_of(act(client, incident, "unmute"), 409, "not_open")


@pytest.mark.parametrize("said", [{}, {"hours": 0}, {"hours": 721}, {"hours": "2"}, {"hours": 2, "why": "x"}])
def test_a_mute_that_is_not_understood_is_none(api: ApiClient, incident: Incident, said: dict[str, Any]) -> None:
    problem_of(act(api(), incident, "mute", **said), 422, "invalid_request")
    assert Transition.objects.count() == 0


def test_who_may_only_look_on_changes_nothing(api: ApiClient, incident: Incident) -> None:
    for what in ("acknowledge", "mute", "unmute"):
        problem_of(act(api(Scope.OPERATIONS_READ), incident, what), 403, "scope_missing")
    assert Transition.objects.count() == 0
