"""`manage.py incidents`: what is open, and what a person on call does about it."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from api_service.models import Incident, Transition
from tests.integration.incidents.conftest import NODES, at, budget, down, outage, run

pytestmark = pytest.mark.django_db


def incidents(*arguments: str) -> str:
    out = StringIO()
    call_command("incidents", *arguments, stdout=out)
    return out.getvalue()


def test_nothing_open_is_said_in_words() -> None:
    assert incidents() == "nothing is open\n"
    assert json.loads(incidents("--json")) == {"incidents": []}


def test_the_list_has_the_worst_first_and_nothing_that_is_over() -> None:
    run(-10, budget())
    run(-5)
    incident = outage()
    lines = incidents().splitlines()
    assert lines[0].split()[:4] == ["ID", "SEVERITY", "WHAT", "NODE"]
    assert lines[1].split()[:5] == [str(incident.pk), "unhealthy", "node_down", NODES[0], "open"]
    assert len(lines) == 2
    run(10, down(), budget())
    assert [one["code"] for one in json.loads(incidents("--json"))["incidents"]] == ["node_down", "budget_low"]


def test_json_has_the_whole_of_it() -> None:
    incident = outage()
    (found,) = json.loads(incidents("--json"))["incidents"]
    assert found == {
        "id": incident.pk,
        "code": "node_down",
        "node": NODES[0],
        "severity": "unhealthy",
        "state": "open",
        "since": at(0).isoformat(),
        "value": "connection refused",
        "acknowledged_by": "",
        "muted_until": None,
    }


def test_acknowledging_by_name_with_a_note() -> None:
    incident = outage()
    said = incidents("acknowledge", str(incident.pk), "--by", "ana", "--note", "on my way")
    assert said == f"node_down {NODES[0]}: acknowledged\n"
    step = Transition.objects.get(event="acknowledged")
    assert (step.by, step.note) == ("ana", "on my way")
    with pytest.raises(CommandError, match="done before") as refused:
        incidents("acknowledge", str(incident.pk))
    assert refused.value.returncode == 2


def test_muting_for_hours_and_back() -> None:
    incident = outage()
    before = timezone.now()
    assert json.loads(incidents("mute", str(incident.pk), "--hours", "2", "--json"))["state"] == "muted"
    incident.refresh_from_db()
    assert incident.muted_until is not None
    assert 7200 <= (incident.muted_until - before).total_seconds() < 7260
    assert incidents("unmute", str(incident.pk)).endswith(": open\n")


def test_a_mute_that_outlived_its_incident_is_listed_and_taken_back() -> None:
    incident = outage()
    incidents("mute", str(incident.pk), "--hours", "2")
    Incident.objects.update(resolved_at=timezone.now(), current="healthy")
    (found,) = json.loads(incidents("--json"))["incidents"]
    assert (found["id"], found["state"], found["muted_until"] is None) == (incident.pk, "over", False)
    assert incidents().splitlines()[0].endswith("MUTED UNTIL")
    assert incidents("unmute", str(incident.pk)).endswith(": over\n")
    assert incidents() == "nothing is open\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("acknowledge",), "needs the ID"),
        (("acknowledge", "999"), "is not open"),
        (("mute", "1"), "--hours between"),
        (("mute", "1", "--hours", "-1"), "--hours between"),
        (("mute", "1", "--hours", "nan"), "--hours between"),
        (("mute", "1", "--hours", "9999"), "--hours between"),
    ],
)
def test_what_cannot_be_done_says_why(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        incidents(*arguments)
    assert refused.value.returncode == 2
    assert not Incident.objects.exists()


def test_the_help_names_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("incidents", "--help")
    assert ended.value.code == 0
    assert "acknowledge" in capsys.readouterr().out
