"""Every action of the admin, by clicks in real Chromium, in Spanish and in English: see `actions/table.py`.

Each is done in one language, every other in the same; in both with `--both-languages` (`make actions`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.admin.models import LogEntry
from playwright.sync_api import Browser

from tests.acceptance.actions import deeds
from tests.acceptance.actions.person import Person, World
from tests.acceptance.actions.records import Records
from tests.acceptance.actions.table import TABLE, Line
from tests.browser import context, log_in
from tests.http_catcher import HttpCatcher
from tests.servers import Redis
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("pages")]

LANGUAGES = ("es", "en")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which line in which language."""
    if "line" in metafunc.fixturenames:
        both = metafunc.config.getoption("both_languages")
        cases = [
            pytest.param(line, language, id=f"{line.name}-{language}")
            for number, line in enumerate(TABLE)
            for language in (LANGUAGES if both else (LANGUAGES[number % 2],))
        ]
        metafunc.parametrize(("line", "language"), cases)


@pytest.fixture(scope="module")
def world(shown: Site, slack: HttpCatcher, copies: Redis, tmp_path_factory: pytest.TempPathFactory) -> World:
    records = Records(shown.process.data / "db.sqlite3")
    return World(shown, records, slack, copies, tmp_path_factory.mktemp("taken-away"))


@pytest.fixture(scope="module")
def people(browser: Browser, world: World) -> Iterator[dict[str, Person]]:
    """An administrator who reads Spanish and one who reads English, each in a browser of their own."""
    contexts = {language: context(browser, world.site.web, language=language) for language in LANGUAGES}
    found = {}
    for language, one in contexts.items():
        page = one.new_page()
        log_in(page, USERNAME, PASSWORD)
        found[language] = Person(page, world, language)
    yield found
    for one in contexts.values():
        one.close()


def test_an_action_has_its_effect_is_on_record_and_sends_what_the_table_says(
    line: Line, language: str, people: dict[str, Person], world: World
) -> None:
    person = people[language]
    person.begins(world.records.newest(LogEntry))
    line.does(person)
    assert person.did() == line.deeds


def test_every_action_that_the_pages_offer_has_a_line() -> None:
    done = {deed for line in TABLE for deed in line.deeds}
    assert sorted(deeds.there_are() - done) == []
    assert sorted(done - deeds.there_are()) == []


def test_lines_are_told_apart_by_their_names() -> None:
    assert len({line.name for line in TABLE}) == len(TABLE)
