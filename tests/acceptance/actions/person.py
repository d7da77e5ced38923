"""A person at the pages of the admin: what is read and pressed, by texts in their language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db.models import Model
from django.utils.translation import gettext, ngettext, override
from playwright.sync_api import Locator, Page, Request, expect

from tests.acceptance.actions import deeds, english
from tests.acceptance.actions.records import Records
from tests.http_catcher import HttpCatcher
from tests.servers import Memcached, Redis
from tests.site import USERNAME, Site

# Milliseconds: a worker on a busy machine
SOON = 60_000
# What is under way is looked at every two or three seconds, here ten times as often
IMPATIENT = """{
    const later = window.setTimeout.bind(window);
    window.setTimeout = (act, ms, ...said) => later(act, ms >= 1000 && ms <= 3000 ? ms / 10 : ms, ...said);
}"""


def source_of(label: object) -> str:
    """The English of a text that is translated where it is shown."""
    with override(None):
        return str(label)


@dataclass(frozen=True)
class World:
    """What a person's acts have an effect on."""

    site: Site
    records: Records
    slack: HttpCatcher
    copies: Redis
    # For files that are taken away
    folder: Path

    def is_in_cache(self, identifier: str) -> bool:
        return self.place_of(identifier) is not None

    def place_of(self, identifier: str) -> tuple[Memcached, str] | None:
        """The node that holds it, and the key that it has there."""
        for node in self.site.nodes:
            for line in node.ask("lru_crawler metadump hash").splitlines():
                if identifier in line:
                    return node, unquote(line.split()[0].removeprefix("key="))
        return None


@dataclass
class Person:
    """`sent`: method, address and body of what their browser asked for since `begins`."""

    page: Page
    world: World
    language: str
    username: str = USERNAME
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    newest_entry: int = 0

    def __post_init__(self) -> None:
        self.page.set_default_timeout(SOON)
        self.page.add_init_script(IMPATIENT)

    def note(self, request: Request | None) -> None:
        """With what led to it: the form behind the page that an answer sent the browser to."""
        while request is not None:
            body = request.post_data_buffer or b""
            self.sent.append((request.method, request.url, body.decode(errors="replace")))
            request = request.redirected_from

    def begins(self, newest_entry: int) -> None:
        self.sent.clear()
        self.newest_entry = newest_entry

    def did(self) -> set[str]:
        return {deed for each in self.sent if (deed := deeds.deed(*each))}

    # -- texts

    def text(self, source: str, **values: object) -> str:
        """`source` is the English text, as the catalogues have it."""
        with override(self.language):
            return self._translated(source, gettext(source), values)

    def counted(self, one: str, many: str, count: int, **values: object) -> str:
        with override(self.language):
            text = ngettext(one, many, count)
            return self._translated(one if count == 1 else many, text, {"count": count, **values})

    def _translated(self, source: str, text: str, values: dict[str, object]) -> str:
        assert self.language == "en" or text != source, f"there is no Spanish for {source!r}"
        return text % {name: str(value) for name, value in values.items()} if values else text

    def name(self, model: type[Model], *, plural: bool = False) -> str:
        with override(self.language):
            return str(model._meta.verbose_name_plural if plural else model._meta.verbose_name)

    # -- going and looking

    def opens(self, model: type[Model]) -> None:
        """The list of a table, to which the sidebar leads; whom the action has brought there already stays."""
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        if not self.sent or urlsplit(self.page.url).path != path:
            self.goes(path)

    def goes(self, path: str) -> None:
        self.page.goto(path, wait_until="domcontentloaded")

    def opens_row(self, model: type[Model], pk: object) -> None:
        self.opens(model)
        self.follows(self.main.locator(f"#result_list a[href*='/{pk}/change/']").first)

    def arrives_at(self, model: type[Model]) -> int:
        """The page of a row, once the browser is there; its primary key."""
        there = re.compile(rf"/{model._meta.app_label}/{model._meta.model_name}/(\d+)/change/")
        self.page.wait_for_url(there, timeout=SOON, wait_until="domcontentloaded")
        found = there.search(self.page.url)
        assert found is not None
        return int(found[1])

    def reads(self, source: str, **values: object) -> None:
        self.reads_as_it_is(self.text(source, **values))

    def reads_as_it_is(self, text: str) -> None:
        expect(self.main).to_contain_text(text, timeout=SOON)
        self.looks_around()

    def looks_around(self) -> None:
        """Whoever reads Spanish is shown no English."""
        expect(self.page.locator("html")).to_have_attribute("lang", self.language)
        # What is under way is loaded again
        expect(self.page.locator("[data-live]")).to_have_count(0, timeout=SOON)
        if self.language == "es":
            found = english.on(self.page)
            assert found == [], f"{self.page.url} says in English: {found}"

    @property
    def main(self) -> Locator:
        """All but the sidebar, which has links of the same names."""
        return self.page.locator("#main, body:not(:has(#main))").first

    # -- pressing and writing

    def presses(self, source: str, **values: object) -> None:
        self.presses_as_it_is(self.text(source, **values))

    def presses_as_it_is(self, name: str | re.Pattern[str]) -> None:
        """The button or link of that name, in the page that it leads to afterwards."""
        exact = isinstance(name, str)
        button = self.main.get_by_role("button", name=name, exact=exact)
        self.follows(button.or_(self.main.get_by_role("link", name=name, exact=exact)).first)

    def follows(self, link: Locator) -> None:
        expect(link).to_be_visible()
        self.looks_around()
        self.leaves_by(link)

    def leaves_by(self, link: Locator) -> None:
        """Told of each request, as by `page.on`, the test would be busy with all files of all pages."""
        with self.page.expect_navigation(wait_until="domcontentloaded", timeout=SOON) as arrived:
            link.click()
        self.note(arrived.value.request)

    def field(self, source: str) -> Locator:
        """The one with that label, whatever stands behind its name there."""
        name = re.escape(self.text(source))
        return self.main.get_by_label(re.compile(rf"^\s*{name}\s*[:*]*\s*$", re.IGNORECASE)).first

    def fills(self, source: str, value: object) -> None:
        self.field(source).fill(str(value))

    def chooses(self, action: str, keys: Iterable[object], **values: object) -> None:
        """One of the list's actions, for these rows."""
        for key in keys:
            self.main.locator(f"input[name=_selected_action][value='{key}']").check()
        self.main.locator("select[name=action]").select_option(label=self.text(action, **values))
        self.presses("Run")

    # -- what is left of it

    def is_on_record(self, what: str | None = None, said: str = "", **columns: Any) -> None:
        """The admin's log says who did it: `what` it was done to, and with which arguments."""
        wanted = {**columns, **({} if what is None else {"object_repr": what})}
        entries = self.world.records.log(self.newest_entry, self.username)
        found = [entry for entry in entries if wanted.items() <= entry.items() and said in entry["change_message"]]
        assert found, f"{wanted} {said!r} is not on record of {self.username}: {entries}"
