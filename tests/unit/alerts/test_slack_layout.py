"""The Block Kit form of an alert: Slack refuses the whole message when one limit is exceeded."""

import json
from typing import Any

from pytest_django import Settings

from tests.unit.alerts.factories import finding, message
from workers.alerts.channels.slack import escape, fit, payload


def texts(block: dict[str, Any]) -> list[str]:
    found = [block["text"]["text"]] if "text" in block else []
    found += [field["text"] for field in block.get("fields", ())]
    return found + [element["text"] for element in block.get("elements", ())]


def all_texts(body: dict[str, Any]) -> str:
    return "\n".join(text for block in body["blocks"] for text in texts(block))


def test_it_has_a_header_the_facts_each_problem_and_the_links(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://cache.example.pe"
    settings.RUNBOOK_URL = "https://wiki.example.pe/cache"
    body = payload(message())
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "section", "context"]
    assert body["blocks"][0]["text"]["text"] == "Caché: se detectó un problema"
    said = all_texts(body)
    assert "*Estado*\ncon fallas (antes: saludable)" in said
    assert "*El nodo 10.0.0.7:11211 no responde: refused*" in said
    assert "<https://wiki.example.pe/cache#node_down|node_down>" in said
    assert "<https://cache.example.pe/admin/api_service/incident/3/change/|Incidente en la administración>" in said


def test_a_runbook_inside_the_repository_is_named_and_not_linked(settings: Settings) -> None:
    settings.RUNBOOK_URL = ""
    assert "`docs/runbook.md#node_down`" in all_texts(payload(message()))


def test_the_text_for_notifications_is_always_there() -> None:
    body = payload(message())
    assert body["text"].startswith("Caché: se detectó un problema\n")
    assert "no responde" in body["text"]


def test_what_slack_would_read_as_markup_is_escaped() -> None:
    body = payload(message(findings=[finding(value="<!channel> & <http://x|y>")]))
    assert "&lt;!channel&gt; &amp; &lt;http://x|y&gt;" in all_texts(body)
    assert "<!channel>" not in json.dumps(body)


def test_no_limit_of_slack_is_exceeded_by_many_nodes_with_long_errors() -> None:
    nodes = [finding(node=f"node-{number}:11211", value="&" * 5000) for number in range(80)]
    body = payload(message(findings=nodes))
    assert len(body["blocks"]) <= 50
    assert len(body["text"]) <= 4000
    assert all(len(text) <= 3000 for block in body["blocks"] for text in texts(block))
    # Who is not shown is counted
    assert "+ 35" in all_texts(body)


def test_a_text_is_never_cut_inside_an_entity() -> None:
    assert fit("&&&&", 12) == "&amp;&amp;…"
    assert fit("a<b", 100) == escape("a<b") == "a&lt;b"
    assert len(fit("x" * 200, 150)) == 150
