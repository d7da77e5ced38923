"""What rows and errors say in English reads in Spanish: each sentence of ours is marked, translated, found again."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from django.utils import translation

from api_service import sentences
from api_service.services.translated import pieces, translated

ROOT = Path(__file__).resolve().parents[3]
APPS = ("api_service", "workers")
PARAMETER = re.compile(r"%\((\w+)\)s")
# What is raised or made with a text that a row keeps, an alert tells or a page shows
KEPT = re.compile(
    r"Upstream\w+|InventoryError|RoundTripFailed|RefillFailed|CannotCopy|LeaseLost|NoAnswerInTime|SpendLater"
    r"|ChannelError|NobodyHears|NodeUnavailable|MemcacheUnknownError|NodeFacts|NodeReads|AliasFacts|Stop|blind"
)
KEPT_AS = frozenset({"error", "reason"})
# Names of fields of an answer in JSON, and the sandbox, which is no product
NO_TEXTS = frozenset({"sandbox", "migrations", "management"})


@cache
def trees(app: str) -> list[tuple[Path, ast.Module]]:
    paths = sorted(path for path in (ROOT / app).rglob("*.py") if NO_TEXTS.isdisjoint(path.parts))
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def marked(app: str) -> list[str]:
    """The sentences of the code, each a literal."""
    found = []
    for path, tree in trees(app):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == sentences.sentence.__name__:
                (text,) = node.args
                assert isinstance(text, ast.Constant), f"{path}:{node.lineno}: no catalogue can have this"
                found.append(str(text.value))
    return found


def in_catalog(app: str) -> dict[str, str]:
    with (ROOT / app / "locale/es/LC_MESSAGES/django.po").open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file, locale="es") if m.context == sentences.CONTEXT}


ALL = [(text, spanish) for app in APPS for text, spanish in in_catalog(app).items()]


@pytest.mark.parametrize("app", APPS)
def test_every_marked_sentence_is_in_the_spanish_catalogue_and_no_other(app: str) -> None:
    assert len(marked(app)) > 10
    assert sorted(set(marked(app))) == sorted(in_catalog(app))
    assert [text for text in marked(app) if "%" in PARAMETER.sub("", text)] == []


@pytest.mark.parametrize(("text", "spanish"), ALL, ids=[text[:60] for text, _spanish in ALL])
def test_a_stored_sentence_is_found_again_with_what_was_filled_in(text: str, spanish: str) -> None:
    values = {name: f"{name.upper()}-1:2.5" for name in PARAMETER.findall(text)}
    stored = text % values if values else text
    with translation.override("es"):
        assert translated(stored) == (spanish % values if values else spanish)
        assert [piece.text for piece in pieces(stored) if piece.is_foreign] == []
    with translation.override("en"):
        assert translated(stored) == stored


@pytest.mark.parametrize(("text", "spanish"), ALL, ids=[text[:60] for text, _spanish in ALL])
def test_a_sentence_is_found_within_another_one_and_in_the_list_of_a_run(text: str, spanish: str) -> None:
    """As an inventory, a clearing and a copy keep them, and as a refill says why a node does not answer."""
    values = {name: name.upper() for name in PARAMETER.findall(text)}
    stored, shown = (text % values, spanish % values) if values else (text, spanish)
    with translation.override("es"):
        listed = translated(f"10.0.0.7:11211: {stored}; 10.0.0.8:11211: OSError: {stored}")
        within = translated(f"10.0.0.7:11211 does not answer ({stored}): its next boot is refilled anew")
    assert listed == f"10.0.0.7:11211: {shown}; 10.0.0.8:11211: OSError: {shown}"
    assert within == f"10.0.0.7:11211 no responde ({shown}): se rellenará de nuevo tras su próximo arranque"


@pytest.mark.parametrize("language", ["es", "en", None])
def test_a_text_of_others_stays_as_it_is_in_every_language(language: str | None) -> None:
    said = "[Errno 111] Connection refused"
    with translation.override(language):
        assert translated(f"ConnectionRefusedError: {said}") == f"ConnectionRefusedError: {said}"
        assert [piece.text for piece in pieces(said) if piece.is_foreign] == [said]


@pytest.mark.parametrize("app", APPS)
def test_no_text_of_ours_is_kept_without_being_marked(app: str) -> None:
    found = [f"{path}:{text.lineno}" for path, tree in trees(app) for text in unmarked(tree)]
    assert found == []


def test_an_unmarked_text_would_be_noticed() -> None:
    source = """
def fail(node, error):
    text = f"{node} went away"
    row.update(error="no answer in time", reason=sentence("fine"))
    facts = {"error": f"still waits for {node}", "reason": INTERRUPTED}
    raise InventoryError(node, f"{type(error).__name__}: {error}") if error else RefillFailed(text)
"""
    assert [text.lineno for text in unmarked(ast.parse(source))] == [3, 4, 5]


def unmarked(tree: ast.Module) -> list[ast.expr]:
    found: dict[int, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = [*node.args, *(word.value for word in node.keywords)] if KEPT.fullmatch(called(node)) else []
            given += [word.value for word in node.keywords if word.arg in KEPT_AS]
            found |= {id(text): text for text in given if is_sentence(text)}
        elif isinstance(node, ast.Dict):
            named = zip(node.keys, node.values, strict=True)
            texts = (text for name, text in named if isinstance(name, ast.Constant) and name.value in KEPT_AS)
            found |= {id(text): text for text in texts if is_sentence(text)}
        elif isinstance(node, ast.FunctionDef) and keeps(node):
            # A text that has got a name before it is raised
            named_texts = (one.value for one in ast.walk(node) if isinstance(one, ast.Assign))
            found |= {id(text): text for text in named_texts if is_sentence(text)}
    return sorted(found.values(), key=lambda text: text.lineno)


def keeps(function: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Call) and KEPT.fullmatch(called(one)) for one in ast.walk(function))


def is_sentence(text: ast.expr) -> bool:
    """Words of ours with a space between them; what only joins two values is none."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    words = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(" " in part and re.search(r"[a-z]{2}", part) for part in words)
