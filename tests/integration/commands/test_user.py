"""manage.py user: an account with a role, the first ones of an installation."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User

from tests.integration.commands.conftest import Run

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return str(file)


def test_it_makes_an_account_that_may_what_its_role_may(run: Run, password_file: str) -> None:
    made = run("user", "--json", "mirona", "--role", "operator", "--password-file", password_file)
    assert made.json == {"name": "mirona", "role": "operator", "made": True}
    user = authenticate(username="mirona", password=PASSWORD)
    assert isinstance(user, User)
    assert (user.is_staff, user.is_superuser) == (True, False)
    assert user.has_perms(["api_service.view_incident", "api_service.add_warmrun"])
    assert not user.has_perm("api_service.add_apitoken")


def test_it_asks_for_the_password_twice(run: Run) -> None:
    with patch("getpass.getpass", autospec=True, side_effect=[PASSWORD, "another one 4711"]):
        assert "differ" in run("user", "mirona", "--role", "viewer").err
    with patch("getpass.getpass", autospec=True, side_effect=[PASSWORD, PASSWORD]):
        assert run("user", "mirona", "--role", "viewer").code == 0
    assert authenticate(username="mirona", password=PASSWORD) is not None


def test_one_that_is_there_gets_the_role_instead_of_the_one_it_had_and_keeps_the_rest(
    run: Run, password_file: str
) -> None:
    run("user", "mirona", "--role", "administrator", "--password-file", password_file)
    user = User.objects.get(username="mirona")
    user.groups.add(Group.objects.create(name="accounting"))
    assert "viewer" in run("user", "mirona", "--role", "viewer").out
    assert set(user.groups.values_list("name", flat=True)) == {"viewer", "accounting"}
    assert authenticate(username="mirona", password=PASSWORD) is not None


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        ({"is_superuser": True}, (), "superuser"),
        ({"is_active": False}, (), "cannot log in"),
        ({}, ("--password-file", "/dev/null"), "changepassword"),
    ],
)
def test_nothing_is_said_of_one_that_is_there_that_would_not_be_so(
    run: Run, state: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    user = User.objects.create_user("mirona", password=PASSWORD)
    User.objects.filter(pk=user.pk).update(**state)
    ended = run("user", "mirona", "--role", "viewer", *options)
    assert (ended.code != 0, said in ended.err) == (True, True)
    assert not user.groups.exists()


def test_a_name_is_kept_as_the_login_takes_it(run: Run, password_file: str) -> None:
    run("user", "Jose\u0301", "--role", "viewer", "--password-file", password_file)
    assert authenticate(username="Jos\u00e9", password=PASSWORD) is not None


@pytest.mark.parametrize(
    ("name", "role", "password", "said"),
    [
        ("mirona", "operator", "12345", "password"),
        ("mirona", "operator", "", "password"),
        ("mi rona", "operator", PASSWORD, "username"),
        ("mirona", "everything", PASSWORD, "invalid choice"),
    ],
)
def test_what_cannot_be_is_said_and_makes_nothing(
    run: Run, tmp_path: Path, name: str, role: str, password: str, said: str
) -> None:
    file = tmp_path / "password"
    file.write_text(password)
    ended = run("user", name, "--role", role, "--password-file", str(file))
    assert ended.code != 0
    assert said in ended.err
    assert User.objects.count() == 0


def test_without_the_groups_it_says_what_to_do(run: Run, password_file: str) -> None:
    Group.objects.all().delete()
    assert "manage.py migrate" in run("user", "mirona", "--role", "viewer", "--password-file", password_file).err
    assert User.objects.count() == 0
