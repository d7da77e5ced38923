"""Incidents in the admin: what happened, who was told, and what people on call do about it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from api_service.models import FindingState, Incident, MaintenanceWindow, Transition
from api_service.services import incident_acts
from tests.integration.admin.conftest import DOWN, NODE, Rows, Staff

LIST = "/admin/api_service/incident/"
WINDOWS = "/admin/api_service/maintenancewindow/"
EN = {"accept-language": "en"}


def page(row: Incident) -> str:
    return f"{LIST}{row.pk}/change/"


@pytest.fixture
def incident(rows: Rows) -> Incident:
    row: Incident = rows[Incident]
    return row


def another(**values: Any) -> Incident:
    now = timezone.now()
    known = {"code": "node_slow", "node": NODE, "severity": "warning", "current": "warning"}
    return Incident.objects.create(**{**known, "since": now, "opened_at": now, **values})


def test_open_incidents_come_first(incident: Incident, admin_client: Client) -> None:
    now = timezone.now()
    over = another(current="healthy", opened_at=now + timedelta(hours=1), resolved_at=now + timedelta(hours=2))
    listed = admin_client.get(LIST, headers=EN).text
    assert listed.index(page(incident)) < listed.index(page(over))
    assert "node does not answer" in listed


@pytest.mark.parametrize(
    ("language", "words"), [("es", f"El nodo no responde {DOWN}"), ("en", f"Node does not answer {DOWN}")]
)
@pytest.mark.parametrize("model", [Incident, Transition, FindingState])
def test_no_page_calls_a_trouble_by_its_code(
    rows: Rows, admin_client: Client, model: type[Any], language: str, words: str
) -> None:
    url = f"/admin/api_service/{model._meta.model_name}/{rows[model].pk}/change/"
    text = admin_client.get(url, headers={"accept-language": language}).text
    head, title = text[text.index("<h1") : text.index("</h1>")], text[text.index("<title>") : text.index("</title>")]
    assert words in head
    assert words.lower() in title.lower()
    assert "node_down" not in text


def test_they_are_filtered_by_kind(incident: Incident, admin_client: Client) -> None:
    slow = another()
    listed = admin_client.get(LIST, {"code": "node_slow"}).text
    assert page(slow) in listed
    assert page(incident) not in listed


def test_a_page_tells_the_course_and_who_was_told(incident: Incident, admin_client: Client) -> None:
    incident_acts.acknowledge(incident.pk, "ana", "<b>on my way</b>", timezone.now())
    Transition.objects.create(
        incident=incident,
        event="worse",
        at=timezone.now(),
        facts={"severity": "unhealthy", "value": 1},
        telling="quiet",
        held_by="flapping",
    )
    said = admin_client.get(page(incident), headers=EN).text
    # The labels of two fields: "Messages" is a heading inside the first one, too
    _, course, sent = re.split(r">\s*(?:Course|Messages)\s*</label>", said)
    assert course.index("opened") < course.index("acknowledged") < course.index("worse")
    assert "&lt;b&gt;on my way&lt;/b&gt;" in course
    assert "not told: comes and goes" in course
    assert ">slack<" in sent
    assert "/admin/api_service/delivery/" in sent


def test_from_its_page_one_is_acknowledged_and_muted_with_a_note(incident: Incident, staff: Staff) -> None:
    client = staff("view_incident", "change_incident")
    before = client.get(page(incident), headers=EN).text
    assert "Acknowledge" in before
    assert "Unmute" not in before
    answer = client.post(f"{LIST}{incident.pk}/act/", {"act": "acknowledge", "note": " on my way "})
    assert answer.headers["location"] == page(incident)
    step = Transition.objects.get(event="acknowledged")
    assert (step.by, step.note) == ("mirona", "on my way")
    client.post(f"{LIST}{incident.pk}/act/", {"act": "mute_8h", "note": ""})
    incident.refresh_from_db()
    assert incident.muted_until is not None
    assert timedelta(hours=7.9) < incident.muted_until - timezone.now() <= timedelta(hours=8)
    after = client.get(page(incident), headers=EN).text
    assert 'value="acknowledge"' not in after
    assert 'value="unmute"' in after
    assert "open, muted" in after


def test_who_did_it_is_in_the_log_with_the_note(incident: Incident, admin_client: Client) -> None:
    for _twice in range(2):
        admin_client.post(f"{LIST}{incident.pk}/act/", {"act": "acknowledge", "note": "on it"})
    done = LogEntry.objects.select_related("user").get()
    assert (done.user.get_username(), done.object_id) == ("admin", str(incident.pk))
    assert done.change_message == "act=acknowledge note=on it"


def test_what_was_done_before_is_said_so(incident: Incident, admin_client: Client) -> None:
    for expected in ("Acknowledge: 1 incident.", "nothing to do, it is over or was done before"):
        answer = admin_client.post(f"{LIST}{incident.pk}/act/", {"act": "acknowledge"}, follow=True, headers=EN)
        assert expected in answer.text


def test_from_the_list_several_are_asked_for_and_then_done(incident: Incident, admin_client: Client) -> None:
    slow, over = another(), another(node="", current="healthy", resolved_at=timezone.now())
    chosen = {"action": "mute_1h", "_selected_action": [incident.pk, slow.pk, over.pk]}
    question = admin_client.post(LIST, chosen, headers=EN).text
    assert f"node does not answer {DOWN}" in question
    assert f'value="{over.pk}"' not in question
    assert not Transition.objects.filter(event="muted").exists()
    answer = admin_client.post(LIST, {**chosen, "confirmed": "yes", "note": "we know"}, follow=True, headers=EN)
    assert "Mute for 1 hour: 2 incidents." in answer.text
    assert list(Transition.objects.filter(event="muted").values_list("note", flat=True)) == ["we know"] * 2


def test_who_may_only_look_does_nothing(incident: Incident, staff: Staff) -> None:
    client = staff("view_incident")
    assert f"{LIST}{incident.pk}/act/" not in client.get(page(incident)).text
    assert 'value="mute_1h"' not in client.get(LIST).text
    assert client.post(f"{LIST}{incident.pk}/act/", {"act": "acknowledge"}).status_code == 403
    client.post(LIST, {"action": "mute_1h", "_selected_action": [incident.pk], "confirmed": "yes"})
    assert not Transition.objects.exclude(event="opened").exists()


def test_nothing_is_done_by_a_link_nor_to_what_is_not_there(incident: Incident, admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}{incident.pk}/act/").status_code == 405
    assert admin_client.post(f"{LIST}{incident.pk}/act/", {"act": "delete"}).status_code == 404
    assert admin_client.post(f"{LIST}999999/act/", {"act": "acknowledge"}).status_code == 404


def test_an_incident_that_is_over_offers_nothing(incident: Incident, admin_client: Client) -> None:
    Incident.objects.update(resolved_at=timezone.now())
    assert f"{LIST}{incident.pk}/act/" not in admin_client.get(page(incident)).text


def test_the_mute_of_an_incident_that_is_over_is_found_and_taken_back(incident: Incident, admin_client: Client) -> None:
    now = timezone.now()
    Incident.objects.update(resolved_at=now, muted_until=now + timedelta(hours=1), muted_by="ana")
    listed = admin_client.get(f"{LIST}?open=muted", headers={"accept-language": "en"}).text
    assert "resolved, muted" in listed
    text = admin_client.get(page(incident)).text
    assert [name for name in ("acknowledge", "mute_1h", "unmute") if f'value="{name}"' in text] == ["unmute"]
    asked = {"action": "unmute", "_selected_action": [incident.pk]}
    assert f"<li>node does not answer {DOWN}</li>" in admin_client.post(LIST, asked, headers=EN).text
    admin_client.post(f"{LIST}{incident.pk}/act/", {"act": "unmute", "note": "seen"})
    incident.refresh_from_db()
    assert (incident.muted_until, incident.transitions.latest("pk").event) == (None, "unmuted")
    assert f"{LIST}{incident.pk}/act/" not in admin_client.get(page(incident)).text


# -- maintenance windows ---------------------------------------------------------------------------------------------


def window(**changed: str) -> dict[str, str]:
    day = timezone.localtime() + timedelta(days=1)
    said = {"name": "patch night", "repeats": "once", "minutes": "60", "service": "", "node": "", "enabled": "on"}
    return {**said, "starts_at_0": f"{day:%Y-%m-%d}", "starts_at_1": "23:00:00", **changed}


def test_a_window_is_planned_in_lima_time_by_who_may(rows: Rows, staff: Staff) -> None:
    client = staff("view_maintenancewindow", "add_maintenancewindow")
    MaintenanceWindow.objects.all().delete()
    assert client.post(f"{WINDOWS}add/", window(node=NODE)).headers["location"] == WINDOWS
    kept = MaintenanceWindow.objects.get()
    assert (kept.created_by, kept.node, kept.minutes) == ("mirona", NODE, 60)
    assert timezone.localtime(kept.starts_at).hour == 23
    assert staff_without(client, kept)


def staff_without(client: Client, kept: MaintenanceWindow) -> bool:
    """Who may add may not change."""
    return client.post(f"{WINDOWS}{kept.pk}/change/", window(minutes="5")).status_code == 403


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"minutes": "0"}, "greater than or equal to 1"),
        ({"minutes": "10081"}, "less than or equal to 10080"),
        ({"service": "sunatt"}, "There is no such service; there are: migo"),
        ({"starts_at_0": "2020-01-01"}, "This window is over already"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(
    changed: dict[str, str], said: str, db: None, admin_client: Client
) -> None:
    answer = admin_client.post(f"{WINDOWS}add/", window(**changed), headers=EN)
    assert (answer.status_code, said in answer.text) == (200, True)
    assert not MaintenanceWindow.objects.exists()


def test_a_weekly_window_may_have_begun_long_ago(db: None, admin_client: Client) -> None:
    admin_client.post(f"{WINDOWS}add/", window(repeats="weekly", starts_at_0="2020-01-01"))
    assert MaintenanceWindow.objects.get().repeats == "weekly"


def test_a_node_that_nobody_has_seen_is_kept_with_a_hint(rows: Rows, admin_client: Client) -> None:
    answer = admin_client.post(f"{WINDOWS}add/", window(node="10.9.9.9:1"), follow=True, headers=EN)
    assert "did not see a node 10.9.9.9:1" in answer.text
    answer = admin_client.post(f"{WINDOWS}add/", window(node=NODE), follow=True, headers=EN)
    assert "did not see a node" not in answer.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"starts_at": timedelta(minutes=-5), "minutes": 60}, "under way, ends"),
        ({"starts_at": timedelta(hours=1), "minutes": 60}, "planned"),
        ({"starts_at": timedelta(hours=-3), "minutes": 60}, "over"),
        ({"starts_at": timedelta(hours=-3), "minutes": 60, "repeats": "weekly"}, "planned"),
        ({"starts_at": timedelta(minutes=-5), "minutes": 60, "enabled": False}, "off"),
    ],
)
def test_the_list_says_what_is_under_way(values: dict[str, Any], said: str, db: None, admin_client: Client) -> None:
    MaintenanceWindow.objects.create(**{**values, "name": "x", "starts_at": timezone.now() + values["starts_at"]})
    listed = admin_client.get(WINDOWS, headers=EN).text
    assert f">{said}</span>" in listed
    assert "everything" in listed


def test_what_ended_as_nobody_could_judge_it_is_not_shown_as_well(incident: Incident, admin_client: Client) -> None:
    step = incident.transitions.create(event="resolved", at=timezone.now(), facts={"unjudged": True})
    assert "no longer judged" in admin_client.get(page(incident), headers={"accept-language": "en"}).text
    assert "ya no se puede juzgar" in admin_client.get(f"/admin/api_service/transition/{step.pk}/change/").text
