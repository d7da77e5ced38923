"""Makes an account with a role, or gives one that is there another role."""

from __future__ import annotations

import getpass
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping
from typing import Any, Final

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandParser
from django.db import transaction
from django.utils import translation

from api_service.management.base import ServiceCommand, not_done, read_text
from api_service.services import role_groups
from api_service.services.roles import RANKS, Role

HELP: Final = """Make an account of the admin with a role, or give one that is there another role.

  manage.py user mirona --role operator
  manage.py user mirona --role viewer --password-file -   < password.txt

A new account's password is asked for, or read from a file. Roles:

  viewer         sees what goes on; no tokens, no accounts
  operator       and checks, warms, clears, refills, copies, acknowledges, mutes, plans maintenance, checks lists
  administrator  and makes tokens and accounts, switches schedules and channels, releases locks
"""


class Command(ServiceCommand):
    help = HELP
    partly = "is not used"
    # Accounts are in the database
    needs_shared_cache = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="what is typed at the login")
        parser.add_argument("--role", required=True, choices=list(map(str, RANKS)))
        parser.add_argument("--password-file", metavar="FILE", help="the new account's password; - is stdin")

    def act(self, options: Mapping[str, Any]) -> None:
        # As the login form takes it
        name, role = User.normalize_username(options["name"]), Role(options["role"])
        if not Group.objects.filter(name=role).exists():
            raise not_done("the roles are not in the database yet: run manage.py migrate")
        user = User.objects.filter(username=name).first()
        made = user is None
        if user:
            _check_there(user, options["password_file"])
        with transaction.atomic():
            user = user or _new(name, options["password_file"])
            role_groups.give(user, role)
        said = (
            f"{name} has been made with the role {role}"
            if made
            else f"{name} was there already and has the role {role} now"
        )
        self.show({"name": name, "role": str(role), "made": made}, as_json=options["json"], text=lambda: said)


def _check_there(user: User, password_file: str | None) -> None:
    """What the command would say of it would not be so."""
    name = user.get_username()
    if user.is_superuser:
        raise not_done(f"{name} is a superuser, who may do everything whatever the role: take that away in the admin")
    if not user.is_active:
        raise not_done(f"{name} cannot log in: make the account active in the admin")
    if password_file:
        raise not_done(f"{name} is there already: change the password with manage.py changepassword")


def _new(name: str, file: str | None) -> User:
    user = User(username=name)
    # As all that commands say
    with translation.override("en"):
        try:
            user.clean_fields(exclude={"password"})
            password = read_text(file).rstrip("\r\n") if file else _asked()
            validate_password(password, user)
        except ValidationError as error:
            raise not_done(" ".join(error.messages)) from error
    user.set_password(password)
    user.save()
    return user


def _asked() -> str:
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Password (again): ")
    except EOFError as error:
        raise not_done("there is nobody to ask for a password: give --password-file") from error
    if password != again:
        raise not_done("the two passwords differ")
    return password
