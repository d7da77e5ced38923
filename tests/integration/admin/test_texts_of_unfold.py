"""Django-unfold has no Spanish, django-celery-beat has some: what their pages show is in our catalog.

And no template of ours has anything inline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils.translation import gettext, ngettext, override

import api_service
from api_service.admin import display
from tests.integration.admin.conftest import Rows

UNFOLD = Path(str(getattr(find_spec("unfold"), "origin", ""))).parent
OURS = Path(api_service.__file__).parent / "templates"
WORDS = re.compile(r"""\{%\s*trans(?:late)?\s+(["'])(?P<text>.+?)\1|_\((["'])(?P<argument>[^"']+)\3\)""")
BLOCKS = re.compile(
    r"\{%\s*blocktrans(?:late)?\b(?P<options>[^%]*)%\}(?P<text>.*?)\{%\s*(?:plural|endblocktrans(?:late)?)\s*%\}",
    re.DOTALL,
)
KEYWORDS = dict.fromkeys(("gettext", "gettext_lazy", "_"))
# Of features of unfold that no table here uses
NOT_SHOWN = {
    "Dataset not found. No action performed.",
    "Image preview",
    "Record picture",
    "Select currency",
    "You can not create nested object without parent",
}
# Of django-celery-beat: one word, and a table that is no page
THE_SAME = {(text, text) for text in ("crontab", "crontabs", "periodic task track", "periodic task tracks")}


def shown_pages(rows: Rows) -> Iterator[str]:
    """Lists, rows, what is added and deleted, and what is around them."""
    yield from ("/admin/", "/admin/password_change/", "/admin/api_service/trackedkey/?service=migo&q=nothing")
    user, group = User.objects.get(), Group.objects.create(name="night shift")
    for model in admin.site._registry:
        row = {User: user, Group: group}.get(model, rows.get(model))
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield from (reverse(f"{name}_changelist"), reverse(f"{name}_add"))
        if row is not None:
            yield from (reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "delete", "history"))


def unfold_templates(rows: Rows, client: Client) -> set[Path]:
    login = Client().get("/admin/login/", headers={"accept-language": "es"})
    answers = [login, *(client.get(url, headers={"accept-language": "es"}) for url in shown_pages(rows))]
    files = {Path(str(template.origin.name)) for answer in answers for template in answer.templates}
    return {file for file in files if file.is_relative_to(UNFOLD)}


def texts_of(template: Path) -> set[str]:
    source = template.read_text(encoding="utf-8")
    words = {match["text"] or match["argument"] for match in WORDS.finditer(source)}
    return words | {_message(match) for match in BLOCKS.finditer(source)}


def _message(block: re.Match[str]) -> str:
    """As Django looks it up."""
    text = block["text"]
    if "trimmed" in block["options"]:
        text = " ".join(line.strip() for line in text.strip().splitlines())
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", r"%(\1)s", text)


def texts_of_modules() -> set[str]:
    modules = [path for path in UNFOLD.rglob("*.py") if "contrib" not in path.parts]
    return {
        str(text)
        for path in modules
        for _line, text, _comments, _context in extract_from_file("python", path, keywords=KEYWORDS)
    }


def test_no_text_of_unfold_is_shown_in_english_to_who_reads_spanish(rows: Rows, admin_client: Client) -> None:
    templates = unfold_templates(rows, admin_client)
    assert len(templates) > 40
    texts = {text for template in templates for text in texts_of(template)} | texts_of_modules()
    assert len(texts) > 60
    with override("es"):
        assert sorted(text for text in texts - NOT_SHOWN if gettext(text) == text) == []


def test_no_text_of_django_celery_beat_is_shown_in_english_to_who_reads_spanish() -> None:
    """Of its tables, forms and messages; the same word in both languages is one too."""
    package = Path(str(getattr(find_spec("django_celery_beat"), "origin", ""))).parent
    texts = {text for name in ("admin", "models") for text in forms_of(package / f"{name}.py")}
    assert len(texts) > 60
    with override("es"):
        assert sorted(one for one, many in texts - THE_SAME if _shown(one, many) == one) == []


def _shown(one: str, many: str) -> str:
    return gettext(one) if one == many else ngettext(one, many, 1)


def forms_of(module: Path) -> set[tuple[str, str]]:
    """One and many; of a text without a number that text twice."""
    found = extract_from_file("python", module, keywords={**KEYWORDS, "ngettext_lazy": (1, 2)})
    return {
        (text[0], text[1]) if isinstance(text, tuple) else (text, text) for _line, text, _comments, _context in found
    }


SCRIPT = r"""<script(?![^>]*\s(?:src=|type="application/json"))[^>]*>"""
INLINE = re.compile(rf"""\sstyle=|<style|{SCRIPT}|\son[a-z]+=|javascript:""")


@pytest.mark.parametrize("file", sorted(OURS.rglob("*.html")), ids=lambda file: str(file.relative_to(OURS)))
def test_a_template_has_neither_styles_nor_scripts_of_its_own(file: Path) -> None:
    """The policy of the pages allows files of ours alone."""
    assert INLINE.findall(file.read_text(encoding="utf-8")) == []


def test_a_bar_is_a_shape_without_a_style() -> None:
    drawn = display.bar(30, 120)
    assert re.fullmatch(r'<svg class="cw-bar" [^>]+ aria-hidden="true"><rect width="25" height="10"/></svg>', drawn)
    assert display.bar(0, 120) == display.bar(1, 0) == ""
