"""The body and the signature of the webhook."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.alerts.factories import OPENED, channel_off, hostile, message, over, step
from workers.alerts.channels.webhook import body_of, signed

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "webhook.schema.json").read_text())


def mixed() -> Any:
    return message(step(), step(node="b:1"), over("node_slow", "c:1", value=80.5, limit=50.0), step(event="escalated"))


def unjudged() -> Any:
    return message(over("hit_ratio_low", unjudged=True), over("hit_ratio_low", "b:1"))


@pytest.mark.parametrize("make", [message, mixed, unjudged, channel_off, hostile], ids=lambda make: make.__name__)
def test_the_body_is_as_the_published_schema_says(make: Any) -> None:
    body = body_of(make())
    jsonschema.validate(json.loads(json.dumps(body)), SCHEMA, jsonschema.Draft202012Validator)
    assert len(json.dumps(body)) < 500_000


def test_the_schema_refuses_what_is_not_a_body() -> None:
    body: Any = json.loads(json.dumps(body_of(message())))
    del body["data"]["problems"][0]["code"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, SCHEMA, jsonschema.Draft202012Validator)


def test_the_body_says_what_machines_ask_for() -> None:
    body = body_of(message(*(step(node=f"node-{number}:1", incident=number) for number in range(150))))
    (problem,) = body["data"]["problems"]
    assert (problem["code"], problem["event"], problem["severity"]) == ("node_down", "opened", "unhealthy")
    assert (problem["count"], len(problem["incidents"])) == (150, 100)
    assert problem["incidents"][0]["since"] == OPENED.isoformat()


def test_the_body_tells_what_nobody_can_judge_any_more_from_what_is_well() -> None:
    problems = [*body_of(unjudged())["data"]["problems"], *body_of(message())["data"]["problems"]]
    told = [(problem["event"], problem["severity"], problem["unjudged"]) for problem in problems]
    assert told == [("resolved", "healthy", True), ("resolved", "healthy", False), ("opened", "unhealthy", False)]


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of standardwebhooks.com."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    then = datetime.fromtimestamp(1614265330, UTC)
    assert signed("msg_p5jXN8AQM9LWM0D4loKWxJek", then, b'{"test": 2432232314}', secret) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_may_also_be_plain_text() -> None:
    assert signed("a", OPENED, b"{}", "x" * 24) != signed("a", OPENED, b"{}", "y" * 24)


def test_another_body_id_or_time_is_another_signature() -> None:
    secret = "x" * 24
    first = signed("a", OPENED, b"{}", secret)["webhook-signature"]
    assert signed("b", OPENED, b"{}", secret)["webhook-signature"] != first
    assert signed("a", OPENED, b"{ }", secret)["webhook-signature"] != first
