"""Channels of alerts: tried, and put right after one has refused an alert for good."""

from __future__ import annotations

from urllib.parse import urlsplit

from api_service.models import ChannelState, Delivery
from tests.acceptance.actions.incidents import node_down
from tests.acceptance.actions.person import Person
from tests.acceptance.actions.records import table
from tests.waiting import wait_until

SLACK = "slack"
DELIVER = "workers.tasks.deliver_alerts"


def try_one(person: Person) -> None:
    person.opens(ChannelState)
    person.presses("Send a test alert")
    person.main.get_by_label(SLACK, exact=True).check()
    arrives(person, "Send a test alert")


def try_chosen(person: Person) -> None:
    row = person.world.records.get(ChannelState, name=SLACK)
    person.opens(ChannelState)
    before = len(person.world.slack.requests)
    person.chooses("Send a test message", [row["id"]])
    arrived(person, before)


def arrives(person: Person, button: str) -> None:
    before = len(person.world.slack.requests)
    person.presses(button)
    arrived(person, before)


def arrived(person: Person, before: int) -> None:
    person.reads("arrived")
    texts = [request.json()["text"] for request in person.world.slack.requests[before:]]
    assert any("test" in text.lower() or "prueba" in text.lower() for text in texts), texts
    person.is_on_record("workers.tasks.send_test_alert", f"channels=['{SLACK}']")


def turn_on_and_try_again(person: Person) -> None:
    """Slack says that there is no such webhook: the alert is lost and the channel off, until a person mends both."""
    world = person.world
    path = urlsplit(world.site.process.variables["SLACK_WEBHOOK_URL"]).path
    world.slack.answer(path, status=404, body="no_service", times=1)
    with node_down(world, 2):
        address = world.site.nodes[2].address
        lost = wait_until(lambda: failed(person, address), 30, message="an alert that Slack refuses")
        turn_on(person)
        world.slack.clear()
        try_again(person, lost)
        wait_until(lambda: sent(person, lost), 60, message="the message that was tried again")
        assert any(address in request.content.decode() for request in world.slack.requests)


def failed(person: Person, address: str) -> int:
    """The newest delivery to Slack that tells of that node and is lost; 0 where there is none."""
    sql = f"SELECT id FROM {table(Delivery)} WHERE channel = ? AND state = 'failed' AND facts LIKE ? ORDER BY id DESC"
    found = person.world.records.rows(sql, SLACK, f"%{address}%")
    return int(found[0]["id"]) if found else 0


def turn_on(person: Person) -> None:
    row = person.world.records.get(ChannelState, name=SLACK)
    person.opens(ChannelState)
    person.chooses("Turn on again", [row["id"]])
    person.reads_as_it_is(person.counted(ON, ON_MANY, 1))
    assert person.world.records.get(ChannelState, name=SLACK)["disabled_at"] is None
    person.is_on_record("alert channels", f"turn_on={SLACK}")


def try_again(person: Person, delivery: int) -> None:
    person.opens(Delivery)
    person.chooses("Try again now", [delivery])
    person.reads_as_it_is(person.counted(AGAIN, AGAIN_MANY, 1))
    person.is_on_record("deliveries", f"retry={delivery}")
    person.world.site.process.trigger(DELIVER)


def sent(person: Person, delivery: int) -> bool:
    return bool(person.world.records.get(Delivery, id=delivery)["state"] == "sent")


MEANWHILE = "What failed meanwhile is sent when you try it again under «deliveries»."
ON, ON_MANY = f"%(count)s channel is on again. {MEANWHILE}", f"%(count)s channels are on again. {MEANWHILE}"
AGAIN = "%(count)s message is tried again within a minute."
AGAIN_MANY = "%(count)s messages are tried again within a minute."
