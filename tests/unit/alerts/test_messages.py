"""What an alert says, in both languages."""

import ast
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.utils import translation
from pytest_django import Settings

from api_service.services import around_rules, beat_rules, health_rules, money_rules, node_checks, node_rules
from api_service.services.backends import base
from tests.unit.alerts.factories import OPENED, channel_off, hostile, message, over, step
from workers.alerts import explanations, messages, problems, wording
from workers.alerts.facts import StepFacts

ROOT = Path(__file__).resolve().parents[3]
LATER = OPENED + timedelta(hours=6)


def emitted_codes() -> set[str]:
    """The codes that the rules can emit: the first argument of every Finding made there, and the table of nodes."""
    sources = [
        inspect.getsource(module) for module in (health_rules, money_rules, around_rules, beat_rules, node_rules)
    ]
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)))
    calls = (node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    first = (call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Finding")
    return set(node_rules.RULES) | {
        argument.value for argument in first if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_an_opened_alert_says_what_broke_where_since_when_what_it_means_why_and_what_to_do() -> None:
    alert = message()
    assert alert.title == "Problema: el nodo no responde (10.0.0.7:11211)"
    assert "El nodo 10.0.0.7:11211 no responde: refused" in alert.text
    assert "Desde 2026-01-28 10:30, hora de Lima" in alert.text
    assert "Qué notan los usuarios: Su parte de la caché se perdió" in alert.text
    assert "como consultas pagadas a APIMIGO" in alert.text
    assert "Causa probable: Su proceso ha terminado" in alert.text
    assert "arránquelo de nuevo" in alert.text
    assert "Nodos que responden: 2 de 3" in alert.text
    assert "Estado: con fallas" in alert.text


def test_it_speaks_english_when_the_setting_says_so(settings: Settings) -> None:
    settings.ALERT_LANGUAGE = "en"
    text = message().text
    assert "Trouble: node does not answer (10.0.0.7:11211)" in text
    assert "Node 10.0.0.7:11211 does not answer: refused" in text
    assert "Since 2026-01-28 10:30, Lima time" in text
    assert "Likely cause: Its process has ended" in text
    assert "nodo" not in text


def test_it_links_to_the_incident_and_to_the_runbook_entry_of_each_code(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://cache.example.pe"
    settings.RUNBOOK_URL = "https://wiki.example.pe/cache"
    alert = message(step(incident=3), step("node_slow", value=80.2, limit=50.0, severity="warning", incident=4))
    assert alert.link == "https://cache.example.pe/admin/api_service/incident/"
    assert [problem.link for problem in alert.problems] == [f"{alert.link}3/change/", f"{alert.link}4/change/"]
    assert [problem.runbook.partition("#")[2] for problem in alert.problems] == ["node_down", "node_slow"]
    assert alert.problems[0].runbook == "https://wiki.example.pe/cache#node_down"
    assert all(link in alert.text for problem in alert.problems for link in (problem.link, problem.runbook))
    assert message().link == "https://cache.example.pe/admin/api_service/incident/3/change/"


def test_what_ends_unjudged_is_not_called_well_and_told_apart_from_what_is() -> None:
    def end(**values: Any) -> StepFacts:
        return over("hit_ratio_low", **{"value": 0.1, "limit": 0.2, "previous": "warning", **values})

    alert = message(end(unjudged=True))
    text = alert.text
    assert alert.title == "Ya no se puede juzgar: pocas consultas están en la caché (10.0.0.7:11211)"
    assert alert.summary == "Se cierra, pues nadie puede decir si está bien."
    assert "Durante demasiado tiempo no se pudo juzgar" in text
    assert "Duró" not in text
    both = message(end(unjudged=True), end(node="n2"))
    assert [problem.title.partition(":")[0] for problem in both.problems] == ["Ya no se puede juzgar", "Superado"]
    assert both.summary == "Superado. Ahora no hay nada que hacer."


def test_a_hundred_nodes_are_one_problem_with_the_first_ten_by_name() -> None:
    nodes = [step(node=f"10.0.0.{number:03}:1", incident=number) for number in range(100)]
    alert = message(*nodes)
    (problem,) = alert.problems
    assert alert.title == "Problema: el nodo no responde (10.0.0.000:1 y 99 más)"
    assert problem.what[0] == ", ".join(f"10.0.0.{number:03}:1" for number in range(10)) + " y 90 más"
    assert (problem.next_step, alert.severity) == (message().problems[0].next_step, "unhealthy")
    assert alert.thread == ""


def test_different_things_at_once_are_counted_in_the_title_worst_first() -> None:
    alert = message(over("node_slow", "c:1"), step(), step(node="b:1"), step("node_slow", "d:1", severity="warning"))
    assert alert.title == "Caché: 3 nuevos, 1 superado"
    assert [(one.event, one.code) for one in alert.problems] == [
        ("opened", "node_down"),
        ("opened", "node_slow"),
        ("resolved", "node_slow"),
    ]
    assert (alert.event, alert.severity) == ("several", "unhealthy")


def test_an_end_says_how_long_it_lasted_and_asks_for_nothing() -> None:
    alert = message(over(seconds=22_620.0))
    assert alert.title == "Superado: el nodo no responde (10.0.0.7:11211)"
    assert "Duró 6 h 17 min, desde 2026-01-28 10:30, hora de Lima" in alert.text
    assert (alert.severity, alert.problems[0].next_step, alert.problems[0].cause) == ("healthy", "", "")
    assert "Qué hacer" not in alert.text
    assert "no hay nada que hacer" in alert.summary.lower()


def test_a_worse_alert_tells_how_it_was() -> None:
    alert = message(event="worse", previous="warning")
    assert "Ahora «con fallas», antes «advertencia»" in alert.text


@pytest.mark.parametrize(
    ("event", "title"), [("reminded", "Sigue abierto: "), ("escalated", "Nadie se ha hecho cargo: ")]
)
def test_a_reminder_says_for_how_long_it_is_open_and_what_to_do(event: str, title: str) -> None:
    alert = message(event=event, at=LATER)
    assert alert.title.startswith(title)
    assert "Abierto desde hace 6 h 0 min, desde 2026-01-28 10:30, hora de Lima" in alert.text
    assert "arránquelo de nuevo" in alert.text


def test_an_acknowledgement_names_who_has_taken_it_on() -> None:
    alert = message(event="acknowledged", by="ana", note="cambio de cable")
    assert alert.title == "Asumido: el nodo no responde (10.0.0.7:11211)"
    assert "Por ana" in alert.text
    assert "Nota: cambio de cable" in alert.text
    assert "Qué hacer" not in alert.text


def test_a_mute_says_until_when() -> None:
    alert = message(event="muted", by="ana", muted_until=LATER.isoformat())
    assert "Hasta 2026-01-28 16:30, hora de Lima" in alert.text


def test_what_comes_and_goes_says_how_often_and_that_no_more_is_told() -> None:
    alert = message(event="flapping", flaps=5)
    assert "5 veces" in alert.text
    assert alert.title.startswith("Va y viene: ")
    assert message(event="settled").title.startswith("Se ha estabilizado: ")


def test_what_began_during_maintenance_says_so() -> None:
    assert "Empezó durante el mantenimiento «cambio de disco»" in message(began_in="cambio de disco").text


def test_a_message_about_one_incident_belongs_to_its_thread() -> None:
    assert message().thread == message(over()).thread == "incident-3"


def test_a_channel_that_is_off_says_why_and_how_to_turn_it_on() -> None:
    alert = channel_off()
    assert alert.title == "El canal de alertas slack está apagado"
    assert "404: no_service" in alert.summary
    assert "send_test_alert" in alert.summary
    assert alert.link.endswith("/admin/api_service/channelstate/")


def test_control_characters_and_marks_of_direction_are_in_no_message() -> None:
    alert = hostile(2)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", alert.text)
    assert "\n" not in alert.title
    assert "Bcc: all@example.com" not in alert.text.splitlines()
    assert "N" * 300 not in alert.text


@pytest.mark.parametrize(
    ("code", "value", "limit", "text"),
    [
        ("node_slow", 80.2, 50.0, "responde en 80.2 ms (límite 50 ms)"),
        ("memory_high", 0.967, 0.95, "usa el 96.7 % de su memoria (límite 95 %)"),
        ("connections_high", 0.912, 0.9, "usa el 91.2 % de sus conexiones (límite 90 %)"),
        ("connections_rejected", 1.4, 0.0, "rechaza conexiones: 1.4 por minuto (límite 0)"),
        ("hit_ratio_low", 0.125, 0.2, "responde solo el 12.5 % de lo que se le pide (límite 20 %)"),
        ("redis_fragmented", 2.5, 2.0, "ocupa 2.5 veces la memoria que usa (límite 2)"),
        ("evictions_high", 61.5, 60.0, "descarta 61.5 respuestas por minuto (límite 60)"),
        ("evictions_high", 1234567.8, 60.0, "descarta 1234567.8 respuestas por minuto (límite 60)"),
        ("queue_long", 2000000, 100, "2000000"),
        ("queue_old", 93780, 600.0, "1 día 2 h (límite 10 min)"),
        ("schedule_late", 5400, 300.0, "1 h 30 min"),
        ("schedule_not_run", 420, 300.0, "7 min"),
        ("tracking_old", 1900800, 1800.0, "22 días 0 h (límite 30 min)"),
    ],
)
def test_a_measured_value_stands_beside_its_limit(code: str, value: float, limit: float, text: str) -> None:
    assert text in message(code=code, value=value, limit=limit).text


def test_what_cannot_be_read_is_called_by_its_name_in_the_language_of_the_alert() -> None:
    blind = message(code="reading_blind", node="tracking", value="no answer within 3 s")
    node = message(code="reading_blind", node="10.0.0.7:6379/0", value="NOPERM")

    assert blind.problems[0].what[0] == "inventarios de claves: no se puede leer: sin respuesta en 3 s"
    assert node.problems[0].what[0] == "10.0.0.7:6379/0: no se puede leer: NOPERM"


@pytest.mark.parametrize(
    ("code", "value", "told"),
    [
        ("node_down", node_checks.STILL_WAITS, "una prueba anterior sigue esperando su respuesta"),
        ("cache_path_broken", base.WRITE_REFUSED, "se rechazó la escritura"),
        ("upstream_refused", "the service refused: Token inválido", "el servicio rechazó la consulta: Token inválido"),
        ("upstream_circuit_open", "upstream_timeout: no answer in time (ReadTimeout)", "sin respuesta a tiempo"),
        ("broker_down", "OperationalError: Error 111 connecting to redis", "Error 111 connecting to redis"),
        ("answer_store_off", "answers, migo", "respuestas, migo"),
    ],
)
def test_why_it_is_so_is_told_in_the_language_of_the_alert_and_in_the_words_of_others(
    settings: Settings, code: str, value: str, told: str
) -> None:
    assert told in message(code=code, value=value).problems[0].what[0]
    settings.ALERT_LANGUAGE = "en"
    assert value in message(code=code, value=value).problems[0].what[0]


def test_a_channel_that_is_off_says_why_in_the_language_of_the_alert() -> None:
    off = channel_off("email", "the mail server refused the address: 550 No existe")
    assert "el servidor de correo rechazó la dirección: 550 No existe" in off.summary


def test_of_a_group_each_who_did_it_is_named() -> None:
    taken = [
        step(node=f"n{number}", event="acknowledged", by=by, note=note)
        for number, by, note in ((1, "ana", "on it"), (2, "luis", ""), (3, "ana", "on it"))
    ]
    text = message(*taken).text
    assert "Por ana, luis" in text
    assert "Nota: on it" in text


def test_a_code_without_an_explanation_is_still_told() -> None:
    alert = message(code="made_up_tomorrow", value=3.0, limit=2.0)
    assert alert.problems[0].what[0] == "made_up_tomorrow en 10.0.0.7:11211: 3 (límite 2)"


def test_a_percent_sign_in_an_error_is_only_text() -> None:
    assert "disk 100%(full)s" in message(value="disk 100%(full)s").text


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
    assert f"Duró {text}," in message(over(seconds=seconds)).text


def test_the_same_delivery_has_the_same_id_and_another_one_another() -> None:
    assert message(channel="slack").id == message(channel="slack").id
    assert message(channel="slack").id != message(channel="sentry").id
    assert re.fullmatch(r"[0-9a-f]{32}", message().id)


def test_every_code_that_the_rules_emit_is_explained() -> None:
    assert len(emitted_codes()) >= 7
    assert set(explanations.TABLE) == emitted_codes()


def test_every_code_has_a_likely_cause() -> None:
    assert [code for code, row in explanations.TABLE.items() if not row.cause] == []


def test_the_runbook_has_an_entry_for_every_code() -> None:
    text = (ROOT / problems.RUNBOOK).read_text(encoding="utf-8")
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
    texts = [text for row in rows for text in (row.what, row.meaning, row.next_step, row.cause) if text]
    texts += [messages.TEST_TITLE, *wording.TITLES.values(), *wording.SEVERITIES.values()]
    with translation.override("en"):
        english = [str(text) for text in texts]
    with translation.override("es"):
        spanish = [str(text) for text in texts]
    same = [text for text, other in zip(english, spanish, strict=True) if text == other]
    assert same == []
