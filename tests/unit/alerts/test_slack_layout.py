"""The Block Kit form of an alert: Slack refuses the whole message when one limit is exceeded."""

import json
import re
from typing import Any

import pytest
from pytest_django import Settings

from tests.unit.alerts.factories import HOSTILE, channel_off, hostile, message, over, step
from workers.alerts.channels.slack import escape, fit, payload
from workers.alerts.messages import Message


def texts(block: dict[str, Any]) -> list[str]:
    found = [block["text"]["text"]] if "text" in block else []
    found += [field["text"] for field in block.get("fields", ())]
    return found + [element["text"] for element in block.get("elements", ())]


def all_texts(body: dict[str, Any]) -> str:
    return "\n".join(text for block in body["blocks"] for text in texts(block))


def within_limits(body: dict[str, Any]) -> None:
    """As documented for Block Kit."""
    assert 1 <= len(body["blocks"]) <= 50
    assert 1 <= len(body["text"]) <= 4000
    for block in body["blocks"]:
        kind = block["type"]
        assert kind in {"header", "section", "context"}
        assert all(1 <= len(text) <= {"header": 150, "section": 3000, "context": 3000}[kind] for text in texts(block))
        assert len(block.get("fields", ())) <= 10
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", ()))
        assert len(block.get("elements", ())) <= 10


def test_it_has_a_header_the_facts_each_problem_and_the_links(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://cache.example.pe"
    settings.RUNBOOK_URL = "https://wiki.example.pe/cache"
    body = payload(message())
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "section", "context"]
    assert body["blocks"][0]["text"]["text"] == "Problema: el nodo no responde (10.0.0.7:11211)"
    said = all_texts(body)
    assert "*Estado*\ncon fallas" in said
    assert "El nodo 10.0.0.7:11211 no responde: refused" in said
    assert "<https://cache.example.pe/admin/api_service/incident/3/change/|#3>" in said
    assert "<https://wiki.example.pe/cache#node_down|node_down>" in said
    assert "<https://cache.example.pe/admin/api_service/incident/3/change/|Incidente en la administración>" in said


def test_a_runbook_inside_the_repository_is_named_and_not_linked(settings: Settings) -> None:
    settings.RUNBOOK_URL = ""
    assert "`docs/runbook.md#node_down`" in all_texts(payload(message()))


def test_the_text_for_notifications_is_always_there() -> None:
    body = payload(message())
    assert body["text"].startswith("Problema: el nodo no responde (10.0.0.7:11211)\n")
    assert "no responde: refused" in body["text"]


def test_what_slack_would_read_as_markup_is_escaped() -> None:
    body = payload(message(value="<!channel> & <http://x|y>"))
    assert "&lt;!channel&gt; &amp; &lt;http://x|y&gt;" in all_texts(body)
    assert "<!channel>" not in json.dumps(body)


def test_names_that_look_like_mentions_stay_text() -> None:
    body = payload(message(value="@here #general"))
    assert body["link_names"] is False
    objects = [block["text"] for block in body["blocks"] if block["type"] == "section" and "text" in block]
    assert objects
    assert all(one["verbatim"] is True for one in objects)


def one_of_each() -> Message:
    return message(step(), step("node_slow", "a:1"), over(node="b:1"))


@pytest.mark.parametrize("make", [message, one_of_each, channel_off, hostile], ids=lambda make: make.__name__)
def test_no_limit_of_slack_is_exceeded(make: Any) -> None:
    within_limits(payload(make()))


def test_a_refusal_of_a_channel_in_hostile_words_keeps_the_limits() -> None:
    body = payload(channel_off(reason=HOSTILE * 10))
    within_limits(body)
    assert "<!channel>" not in json.dumps(body)


def test_hostile_names_of_a_hundred_nodes_ping_nobody_and_break_no_line() -> None:
    said = json.dumps(payload(hostile()), ensure_ascii=False)
    # The only things in angle brackets are our own links
    assert [found for found in re.findall(r"<[^>]*>", said) if not found.startswith("<http://127.0.0.1:8000/")] == []
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", said)
    assert "\\u0000" not in said
    assert "\\u001b" not in said


def test_who_is_not_shown_is_counted() -> None:
    codes = [step(f"code_{number}") for number in range(80)]
    assert "+ 35" in all_texts(payload(message(*codes)))


def test_a_text_is_never_cut_inside_an_entity() -> None:
    assert fit("&&&&", 12) == "&amp;&amp;…"
    assert fit("a<b", 100) == escape("a<b") == "a&lt;b"
    assert len(fit("x" * 200, 150)) == 150
