"""People: let in with a role, out again, their passwords; and how they want to see the pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.admin.models import CHANGE
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import Group, User
from playwright.sync_api import expect

from tests.acceptance.actions.person import Person
from tests.acceptance.actions.rows import added, write_account
from tests.browser import context
from tests.site import PASSWORD

NEW = "another-made-up-one-for-tests"
NEWEST = "and-yet-another-one-for-tests"
MENU = ".cw-user > summary"


@contextmanager
def colleague(person: Person, username: str) -> Iterator[Person]:
    """A browser of its own, at the login; what it sends is counted as the person's."""
    browser = person.page.context.browser
    assert browser is not None
    with context(browser, person.world.site.web, language=person.language) as stranger:
        page = stranger.new_page()
        yield Person(page, person.world, person.language, username, person.sent, person.newest_entry)


def log_in(person: Person, password: str) -> None:
    person.goes("/admin/login/")
    person.fills("username", person.username)
    person.fills("Password", password)
    person.follows(person.main.locator("button[type=submit]"))


def log_out(person: Person) -> None:
    person.page.locator(MENU).click()
    person.follows(person.page.get_by_role("button", name=person.text("Log out"), exact=True))
    person.reads("You have been successfully logged out from the administration")
    person.goes("/admin/")
    assert "/login/" in person.page.url


def has_password(person: Person, username: str, password: str) -> bool:
    return check_password(password, person.world.records.get(User, username=username)["password"])


def passwords(person: Person) -> None:
    """An account with a role: its owner comes in and sets another password, an administrator a third."""
    username = f"rosa.{person.language}"
    role = person.world.records.get(Group, name="operator")["id"]
    pk = added(person, User, lambda: write_account(person, username))
    person.field("groups").select_option(str(role))
    person.presses("Save")
    row = person.world.records.get(User, id=pk)
    assert (row["username"], row["is_staff"], row["is_superuser"]) == (username, 1, 0)
    own_password(person, username)
    person.opens_row(User, pk)
    person.follows(person.main.locator("a[href$='password/']"))
    person.fills("Password", NEWEST)
    person.fills("Password confirmation", NEWEST)
    person.presses("Change password")
    assert has_password(person, username, NEWEST)
    person.is_on_record(username, action_flag=CHANGE, object_id=str(pk))


def own_password(person: Person, username: str) -> None:
    with colleague(person, username) as owner:
        log_in(owner, PASSWORD)
        assert person.world.records.get(User, username=username)["last_login"] is not None
        owner.page.locator(MENU).click()
        owner.follows(owner.page.get_by_role("link", name=owner.text("Change password")))
        owner.fills("Old password", PASSWORD)
        owner.fills("New password", NEW)
        owner.fills("New password confirmation", NEW)
        owner.presses("Change password")
        owner.reads("Your password was changed.")
        assert has_password(person, username, NEW)
        log_out(owner)


def language(person: Person) -> None:
    """To the other one, which the next page is in too, and back."""
    other, mine = ("español", "English") if person.language == "en" else ("English", "español")
    code = {"español": "es", "English": "en"}
    person.goes("/admin/api_service/incident/")
    for name in (other, mine):
        person.page.locator(MENU).click()
        person.leaves_by(person.page.get_by_role("button", name=name))
        expect(person.page.locator("html")).to_have_attribute("lang", code[name])
        person.goes("/admin/api_service/warmrun/")
        expect(person.page.locator("html")).to_have_attribute("lang", code[name])
    person.looks_around()


def theme(person: Person) -> None:
    """Chosen for all pages that follow, until it is as the system says again."""
    person.goes("/admin/")
    choose_theme(person, "Dark")
    person.goes("/admin/api_service/warmrun/")
    expect(person.page.locator("html.dark")).to_be_visible()
    choose_theme(person, "System")
    expect(person.page.locator("html:not(.dark)")).to_be_visible()


def choose_theme(person: Person, source: str) -> None:
    person.page.locator(MENU).click()
    button = person.page.get_by_role("button", name=person.text(source))
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
