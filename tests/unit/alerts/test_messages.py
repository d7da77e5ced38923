"""What an alert says, in both languages."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.utils import translation
from pytest_django import Settings

from api_service.services import around_rules, beat_rules, health_rules, money_rules
from tests.unit.alerts.factories import finding, message
from workers.alerts import explanations, messages

ROOT = Path(__file__).resolve().parents[3]
# 16:47 in Lima
CLOSED = "2026-01-28T21:47:00+00:00"
RECOVERED = {"event": "recovered", "severity": "healthy", "previous": "unhealthy", "resolved_at": CLOSED}


def emitted_codes() -> set[str]:
    """The codes that the rules can emit: the first argument of every Finding made there."""
    sources = [inspect.getsource(module) for module in (health_rules, money_rules, around_rules, beat_rules)]
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)))
    calls = (node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    first = (call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Finding")
    return {
        argument.value for argument in first if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_an_opened_alert_says_what_broke_since_when_what_it_means_and_what_to_do() -> None:
    text = message().text
    assert "El nodo 10.0.0.7:11211 no responde: refused" in text
    assert "2026-01-28 10:30, hora de Lima" in text
    assert "cada una es una consulta pagada a APIMIGO" in text
    assert "arránquelo de nuevo" in text
    assert "2 de 3" in text
    assert "con fallas (antes: saludable)" in text


def test_it_speaks_english_when_the_setting_says_so(settings: Settings) -> None:
    settings.ALERT_LANGUAGE = "en"
    text = message().text
    assert "Node 10.0.0.7:11211 does not answer: refused" in text
    assert "2026-01-28 10:30, Lima time" in text
    assert "unhealthy (was healthy)" in text
    assert "nodo" not in text


def test_it_links_to_the_incident_and_to_the_runbook_entry_of_each_code(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://cache.example.pe"
    settings.RUNBOOK_URL = "https://wiki.example.pe/cache"
    alert = message(findings=[finding(), finding("node_slow", value=80.2, limit=50.0)])
    assert alert.link == "https://cache.example.pe/admin/api_service/incident/3/change/"
    assert alert.link in alert.text
    assert [problem.runbook.partition("#")[2] for problem in alert.problems] == ["node_down", "node_slow"]
    assert alert.problems[0].runbook == "https://wiki.example.pe/cache#node_down"


def test_a_recovery_says_for_how_long_and_asks_for_nothing() -> None:
    alert = message(**RECOVERED, duration_seconds=22_620.0)
    assert "6 h 17 min" in alert.summary
    assert "«con fallas»" in alert.summary
    assert "2026-01-28 16:47, hora de Lima" in alert.text
    assert alert.problems[0].what == "Superado: El nodo 10.0.0.7:11211 no responde: refused"
    assert alert.problems[0].next_step == ""
    assert "→" not in alert.text


def test_a_worse_alert_tells_both_times() -> None:
    alert = message(event="worse", previous="warning", at="2026-01-28T15:45:00+00:00")
    assert ("Desde", "2026-01-28 10:30, hora de Lima") in alert.details
    assert ("Peor desde", "2026-01-28 10:45, hora de Lima") in alert.details


@pytest.mark.parametrize(
    ("code", "value", "limit", "text"),
    [
        ("node_slow", 80.2, 50.0, "responde en 80.2 ms (límite 50 ms)"),
        ("memory_high", 0.967, 0.95, "usa el 96.7 % de su memoria (límite 95 %)"),
        ("connections_high", 0.912, 0.9, "usa el 91.2 % de sus conexiones (límite 90 %)"),
        ("evictions_high", 61.5, 60.0, "descarta 61.5 respuestas por minuto (límite 60)"),
    ],
)
def test_a_measured_value_stands_beside_its_limit(code: str, value: float, limit: float, text: str) -> None:
    assert text in message(findings=[finding(code, value=value, limit=limit)]).text


def test_a_code_without_an_explanation_is_still_told() -> None:
    alert = message(findings=[finding("made_up_tomorrow", value=3.0, limit=2.0)])
    assert alert.problems[0].what == "made_up_tomorrow en 10.0.0.7:11211: 3 (límite 2)"


def test_a_percent_sign_in_an_error_is_only_text() -> None:
    assert "disk 100%(full)s" in message(findings=[finding(value="disk 100%(full)s")]).text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "menos de un minuto"),
        (300, "5 min"),
        (3_599, "1 h 0 min"),
        (86_400, "1 día 0 h"),
        (190_000, "2 días 4 h"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds: float, text: str) -> None:
    assert text in message(**RECOVERED, duration_seconds=seconds).summary


def test_the_same_delivery_has_the_same_id_and_another_one_another() -> None:
    assert message("slack").id == message("slack").id
    assert message("slack").id != message("sentry").id
    assert re.fullmatch(r"[0-9a-f]{32}", message().id)


def test_every_code_that_the_rules_emit_is_explained() -> None:
    assert len(emitted_codes()) >= 7
    assert set(explanations.TABLE) == emitted_codes()


def test_the_runbook_has_an_entry_for_every_code() -> None:
    text = (ROOT / messages.RUNBOOK).read_text(encoding="utf-8")
    headings = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert headings == emitted_codes()


def translations(catalog: Catalog) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Singular and plural alike as tuples: the two files differ in how they write them."""
    return {(context_of(one), *as_tuple(one.id)): as_tuple(one.string) for one in catalog if one.id}


def context_of(message: Message) -> str:
    """Babel reads it from a compiled file as bytes."""
    context: object = message.context
    return context.decode() if isinstance(context, bytes) else str(context or "")


def as_tuple(texts: object) -> tuple[str, ...]:
    return tuple(map(str, texts)) if isinstance(texts, list | tuple) else (str(texts),)


def test_every_text_is_translated_and_the_compiled_file_is_up_to_date() -> None:
    folder = ROOT / "workers" / "locale" / "es" / "LC_MESSAGES"
    with (folder / "django.po").open("rb") as source, (folder / "django.mo").open("rb") as compiled:
        written, shipped = translations(read_po(source, locale="es")), translations(read_mo(compiled))
    assert written == shipped
    assert len(written) > 40
    assert all(all(texts) for texts in written.values())


def test_every_text_of_the_code_is_in_the_spanish_catalogue() -> None:
    rows = [*explanations.TABLE.values(), explanations.UNEXPLAINED]
    texts = [text for row in rows for text in (row.what, row.meaning, row.next_step)]
    with translation.override("en"):
        english = [str(text) for text in [*texts, *messages.TITLES.values(), *messages.SEVERITIES.values()]]
    with translation.override("es"):
        spanish = [str(text) for text in [*texts, *messages.TITLES.values(), *messages.SEVERITIES.values()]]
    same = [text for text, other in zip(english, spanish, strict=True) if text == other]
    assert same == []
