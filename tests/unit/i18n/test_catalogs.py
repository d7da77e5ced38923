"""Every text that an operator sees is there in Spanish, and what machines read is what translators wrote."""

from __future__ import annotations

import gettext
import re
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[3]
APPS = ("api_service", "workers")
IN_TEMPLATES = re.compile(r"""\{%\s*translate\s+(?P<quote>["'])(?P<text>.+?)(?P=quote)""")
KEYWORDS = {
    **dict.fromkeys(("gettext", "gettext_lazy", "gettext_noop", "_")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
}
# A word of which the place decides what it means
IN_CONTEXT = dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2))


def catalog(app: str) -> Catalog:
    with (ROOT / app / "locale/es/LC_MESSAGES/django.po").open("rb") as file:
        return read_po(file, locale="es")


def messages(app: str) -> list[Message]:
    return [message for message in catalog(app) if message.id]


def forms(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, list | tuple) else [message.string or ""]


def sources(message: Message) -> list[str]:
    return list(message.id) if isinstance(message.id, list | tuple) else [message.id]


@pytest.mark.parametrize("app", APPS)
def test_no_text_is_untranslated_or_only_guessed(app: str) -> None:
    found = messages(app)
    assert found
    assert [message.id for message in found if message.fuzzy] == []
    assert [message.id for message in found if not all(forms(message))] == []


@pytest.mark.parametrize("app", APPS)
def test_every_text_of_the_code_is_in_the_catalog(app: str) -> None:
    marked = texts_of_python(app) | texts_of_templates(app)
    known = {source for message in messages(app) for source in sources(message)}
    assert marked
    assert sorted(marked - known) == []


@pytest.mark.parametrize("app", APPS)
def test_every_text_with_a_context_is_in_the_catalog_with_that_context(app: str) -> None:
    marked = {
        (context, str(text))
        for path in (ROOT / app).rglob("*.py")
        for _line, text, _comments, context in extract_from_file("python", path, keywords=IN_CONTEXT)
    }
    known = {(message.context, source) for message in messages(app) for source in sources(message)}
    assert sorted(marked - known) == []


def texts_of_python(app: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / app).rglob("*.py"):
        for _line, text, _comments, _context in extract_from_file("python", path, keywords=KEYWORDS):
            found |= set(text) if isinstance(text, tuple) else {text}
    return found


def texts_of_templates(app: str) -> set[str]:
    return {
        match["text"]
        for path in (ROOT / app).glob("templates/**/*.html")
        for match in IN_TEMPLATES.finditer(path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("app", APPS)
def test_a_translation_has_the_same_placeholders(app: str) -> None:
    for message in messages(app):
        allowed = {name for source in sources(message) for name in placeholders(source)}
        for form in forms(message):
            assert set(placeholders(form)) <= allowed, message.id
        assert set(placeholders(forms(message)[-1])) == set(placeholders(sources(message)[-1])), message.id


def placeholders(text: str) -> list[str]:
    return re.findall(r"%\(\w+\)[a-z]|%[sd]|\{\w+\}", text)


@pytest.mark.parametrize("app", APPS)
def test_the_compiled_catalog_is_the_written_one(app: str) -> None:
    """A fresh machine has no gettext: the compiled file is part of the repository."""
    compiled = BytesIO()
    write_mo(compiled, catalog(app))
    compiled.seek(0)
    with (ROOT / app / "locale/es/LC_MESSAGES/django.mo").open("rb") as file:
        used = entries(gettext.GNUTranslations(file))
    written = entries(gettext.GNUTranslations(compiled))
    assert len(used) > 10
    assert used == written


def entries(translations: gettext.GNUTranslations) -> dict[object, str]:
    """The texts by source; the header, which tools write each in their own way, left out."""
    return {source: text for source, text in vars(translations)["_catalog"].items() if source}


def test_both_catalogs_say_the_same_where_they_share_a_text() -> None:
    """Django merges them: the first app would win and the other's messages change under its feet."""
    first, second = ({str(m.id): m.string for m in messages(app)} for app in APPS)
    shared = first.keys() & second.keys()
    assert {"healthy", "warning", "unhealthy"} <= shared
    assert {text: (first[text], second[text]) for text in shared if first[text] != second[text]} == {}
