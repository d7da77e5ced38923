"""Accounts and their roles in the admin, and the login that lets them in."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from pytest_django import Settings

from api_service.services import login_limits, role_groups
from api_service.services.limit_storage import SharedLimits
from api_service.services.roles import Role
from tests.conftest import UseCacheUrl

pytestmark = pytest.mark.django_db

USERS, GROUPS = "/admin/auth/user/", "/admin/auth/group/"
PASSWORD = "correct horse battery staple"
EN = {"accept-language": "en"}


@pytest.fixture
def administrator() -> Client:
    user = User.objects.create_user("mirona")
    role_groups.give(user, Role.ADMINISTRATOR)
    client = Client(headers=EN)
    client.force_login(user)
    return client


def role(name: str) -> Group:
    return Group.objects.get(name=name)


# -- roles


def test_an_account_made_with_a_role_may_log_in_to_the_admin(administrator: Client) -> None:
    data = {"username": "ana", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    administrator.post(f"{USERS}add/", {**data, "groups": [role("operator").pk]})
    ana = User.objects.get(username="ana")
    assert (ana.is_staff, ana.is_superuser) == (True, False)
    assert ana.has_perm("api_service.add_warmrun")
    client = Client(headers=EN)
    page = client.post("/admin/login/", {"username": "ana", "password": PASSWORD}, follow=True)
    assert page.redirect_chain[-1][0] == "/admin/"
    assert page.status_code == 200


@pytest.mark.parametrize(("language", "names"), [("es", ("Observador", "Operador")), ("en", ("Viewer", "Operator"))])
def test_roles_have_names_in_both_languages(administrator: Client, language: str, names: tuple[str, str]) -> None:
    ana = User.objects.create_user("ana")
    role_groups.give(ana, Role.OPERATOR)
    headers = {"accept-language": language}
    for name in names:
        assert name in administrator.get(GROUPS, headers=headers).text
        assert name in administrator.get(f"{USERS}{ana.pk}/change/", headers=headers).text
    people = administrator.get(USERS, headers=headers).text
    assert names[1] in people
    # What the list can be narrowed to
    assert all(re.search(rf">\s*{name}\s*</a>", people) for name in names)


@pytest.mark.parametrize(("language", "words"), [("es", ("Incidentes", "ver")), ("en", ("Incidents", "see"))])
def test_the_page_of_a_role_says_in_words_what_it_may(
    administrator: Client, language: str, words: tuple[str, str]
) -> None:
    page = administrator.get(f"{GROUPS}{role('operator').pk}/change/", headers={"accept-language": language}).text
    rows = dict(re.findall(r"<tr><td>([^<]+)</td><td>([^<]+)</td></tr>", page))
    assert rows[words[0]].startswith(f"{words[1]}, ")
    assert "Can view" not in page


@pytest.mark.parametrize(("language", "said"), [("es", "Incidentes: ver"), ("en", "Incidents: see")])
def test_permissions_are_offered_in_words(admin_client: Client, admin_user: User, language: str, said: str) -> None:
    for url in (f"{GROUPS}add/", f"{USERS}{admin_user.pk}/change/"):
        page = admin_client.get(url, headers={"accept-language": language}).text
        assert re.search(rf"<option[^>]*>{said}</option>", page)
        assert "Can view" not in page


def test_what_the_code_keeps_is_not_changed_here(administrator: Client, admin_client: Client) -> None:
    group = role("viewer")
    for client in (administrator, admin_client):
        assert client.post(f"{GROUPS}{group.pk}/change/", {"name": "viewer", "permissions": []}).status_code == 403
        assert client.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 403
    assert role("viewer").permissions.exists()


def test_other_groups_are(administrator: Client) -> None:
    group = Group.objects.create(name="accounting")
    administrator.post(f"{GROUPS}{group.pk}/change/", {"name": "bookkeeping", "permissions": []})
    assert Group.objects.filter(name="bookkeeping").exists()


@pytest.mark.parametrize(("language", "name"), [("es", "Observador"), ("en", "Viewer")])
def test_the_page_of_a_role_is_called_as_in_the_list(administrator: Client, language: str, name: str) -> None:
    page = administrator.get(f"{GROUPS}{role('viewer').pk}/change/", headers={"accept-language": language}).text
    head, title = page[page.index("<h1") : page.index("</h1>")], page[page.index("<title>") : page.index("</title>")]
    assert (name in head, name in title) == (True, True)
    assert "viewer" not in head + title


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "es",
            (
                "Incidentes: ver",
                "Canales de alertas: probar",
                "Usuarios: eliminar",
                "Marcas de las tareas periódicas: ver",
            ),
        ),
        ("en", ("Incidents: see", "Alert channels: test", "Users: delete")),
    ],
)
def test_permissions_are_named_in_the_language_of_the_page(
    admin_client: Client, language: str, words: tuple[str, ...]
) -> None:
    ana, group = User.objects.create_user("ana"), Group.objects.create(name="accounting")
    for url in (f"{USERS}{ana.pk}/change/", f"{GROUPS}{group.pk}/change/", f"{GROUPS}add/"):
        page = admin_client.get(url, headers={"accept-language": language}).text
        options = set(re.findall(r"<option[^>]*>([^<]+)</option>", page))
        assert options.issuperset(words), url
        assert "Can " not in page


# -- what they did stays known


@pytest.fixture
def did(administrator: Client) -> User:
    ana = User.objects.create_user("ana")
    LogEntry.objects.create(user=ana, object_repr="RUC 20100038146", action_flag=CHANGE)
    return ana


def test_an_account_in_the_audit_log_is_kept_and_its_page_says_what_to_do_instead(
    administrator: Client, did: User
) -> None:
    url = f"{USERS}{did.pk}/delete/"
    for page in (administrator.get(url), administrator.post(url, {"post": "yes"})):
        assert "Deactivate the account instead" in page.text
        assert f'<a href="{USERS}{did.pk}/change/">ana</a>' in page.text
    assert User.objects.filter(pk=did.pk).exists()


def test_of_several_none_goes_while_one_of_them_is_in_the_audit_log(administrator: Client, did: User) -> None:
    ben = User.objects.create_user("ben")
    chosen = {"action": "delete_selected", "_selected_action": [did.pk, ben.pk], "post": "yes"}
    assert "Deactivate the account instead" in administrator.post(USERS, chosen).text
    assert User.objects.filter(pk__in=[did.pk, ben.pk]).count() == 2


def test_an_account_that_did_nothing_is_deleted(administrator: Client, did: User) -> None:
    ben = User.objects.create_user("ben")
    administrator.post(f"{USERS}{ben.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=ben.pk).exists()


# -- an administrator is no superuser


def posted(person: User, **changed: Any) -> dict[str, Any]:
    data = {"username": person.username, "is_active": "on", "is_staff": "on", "first_name": "", "last_name": ""}
    return {**data, "email": "", "last_login_0": "", "last_login_1": "", "date_joined_0": "2026-01-28"} | {
        "date_joined_1": "12:00:00",
        **changed,
    }


def test_an_administrator_makes_no_superuser_and_gives_nothing_but_groups(administrator: Client) -> None:
    ana = User.objects.create_user("ana")
    page = administrator.get(f"{USERS}{ana.pk}/change/").text
    assert 'name="groups"' in page
    assert 'name="is_superuser"' not in page
    assert 'name="user_permissions"' not in page
    everything = [row.pk for row in Permission.objects.all()]
    changed = posted(ana, first_name="Ana", is_superuser="on", user_permissions=everything)
    administrator.post(f"{USERS}{ana.pk}/change/", changed)
    ana.refresh_from_db()
    assert (ana.first_name, ana.is_superuser, ana.user_permissions.count()) == ("Ana", False, 0)


def test_an_administrator_touches_no_superuser(administrator: Client, admin_user: User) -> None:
    before = admin_user.password
    url = f"{USERS}{admin_user.pk}"
    new = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert administrator.post(f"{url}/change/", posted(admin_user)).status_code == 403
    assert administrator.post(f"{USERS}{admin_user.pk}/password/", new).status_code == 403
    assert administrator.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    administrator.post(USERS, {"action": "delete_selected", "_selected_action": [admin_user.pk], "post": "yes"})
    admin_user.refresh_from_db()
    assert (admin_user.password, admin_user.is_superuser) == (before, True)


def test_a_superuser_makes_another(admin_client: Client) -> None:
    ana = User.objects.create_user("ana")
    admin_client.post(f"{USERS}{ana.pk}/change/", posted(ana, is_superuser="on"))
    ana.refresh_from_db()
    assert ana.is_superuser


# -- the own password


@pytest.mark.parametrize(("repeated", "logged"), [(PASSWORD, ["Changed password."]), ("something else", [])])
def test_who_changes_the_own_password_is_in_the_audit_log(ana: User, repeated: str, logged: list[str]) -> None:
    client = Client(headers=EN)
    client.force_login(ana)
    words = {"old_password": PASSWORD, "new_password1": f"new {PASSWORD}", "new_password2": f"new {repeated}"}
    client.post("/admin/password_change/", words)

    ana.refresh_from_db()
    assert ana.check_password(f"new {PASSWORD}") == bool(logged)
    entries = LogEntry.objects.filter(user=ana, object_id=str(ana.pk), action_flag=CHANGE)
    assert [entry.get_change_message() for entry in entries] == logged


# -- the login


@pytest.fixture
def ana(settings: Settings, use_cache_url: UseCacheUrl, monkeypatch: pytest.MonkeyPatch) -> User:
    """Nobody has tried to log in yet: all tests come from one address."""
    use_cache_url(f"locmem://logins-{uuid4().hex}")
    monkeypatch.setattr(login_limits, "_limits", SharedLimits("login-limits"))
    settings.LOGIN_FAILURES, settings.LOGIN_MINUTES = 3, 15
    user = User.objects.create_user("ana", password=PASSWORD)
    role_groups.give(user, Role.VIEWER)
    return user


def log_in(password: str, language: str = "en", **headers: str) -> Any:
    client = Client(headers={"accept-language": language, **headers})
    return client.post("/admin/login/", {"username": "ana", "password": password})


@pytest.mark.parametrize(("language", "words"), [("es", "Demasiados intentos"), ("en", "Too many attempts")])
def test_who_guesses_is_told_to_wait_and_the_right_password_is_not_looked_at(
    ana: User, language: str, words: str
) -> None:
    assert [log_in("wrong").status_code for _ in range(3)] == [200] * 3
    refused = log_in(PASSWORD, language)
    assert refused.status_code == 429
    assert words in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 2 * 15 * 60
    assert "_auth_user_id" not in refused.client.session


def test_a_right_password_ends_the_count(ana: User) -> None:
    for _ in range(3):
        assert [log_in("wrong").status_code for _ in range(2)] == [200] * 2
        assert log_in(PASSWORD).status_code == 302


def test_behind_the_proxy_the_address_is_the_one_that_it_names(ana: User, settings: Settings) -> None:
    settings.HTTPS_ONLY = True
    guessed = [log_in("wrong", **{"x-forwarded-for": "203.0.113.7"}).status_code for _ in range(4)]
    assert guessed == [200, 200, 200, 429]
    assert log_in(PASSWORD, **{"x-forwarded-for": "198.51.100.9"}).status_code == 302


def test_what_was_typed_is_in_no_log(ana: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for _ in range(4):
        log_in("a secret that was typed")
    assert "a login from 127.0.0.1 failed" in caplog.text
    assert "has to wait" in caplog.text
    assert "a secret that was typed" not in caplog.text


def test_an_empty_form_is_no_attempt(ana: User) -> None:
    for _ in range(5):
        log_in("")
    assert log_in(PASSWORD).status_code == 302
