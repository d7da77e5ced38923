"""Makes, lists and revokes tokens of the HTTP API."""

from __future__ import annotations

import getpass
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from api_service.management.base import ServiceCommand, not_done, table
from api_service.models import ApiToken
from api_service.services import api_tokens, token_rules
from api_service.services.token_rules import Scope

HELP: Final = """Make, list and revoke tokens of the HTTP API (/api/v1/).

  manage.py api_token create "invoicing, production" --scope lookup
  manage.py api_token create dashboard --scope operations:read --days 30 --per-minute 60
  manage.py api_token list
  manage.py api_token revoke k4dicikc

A token is printed once, when it is made; of it only a hash is kept. Scopes:

  lookup           RUCs, DNIs, exchange rates; what the cache does not have is paid for
  operations:read  the cache, its keys, its history, clearings, warm runs, incidents, schedules
  cache:clear      clear services
  warming:run      start warm runs, which are paid for, and replays
  incidents:write  acknowledge and mute incidents
"""


class Command(ServiceCommand):
    help = HELP
    partly = "is not used"
    # Tokens are in the database
    needs_shared_cache = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
        create = actions.add_parser("create", help="make a token and print it, this once")
        create.add_argument("name", help="who will use it for what")
        create.add_argument(
            "--scope", action="append", required=True, choices=list(map(str, Scope)), help="may be given more than once"
        )
        create.add_argument("--days", type=int, help="it expires after so many; never without it")
        create.add_argument(
            "--per-minute",
            type=int,
            default=api_tokens.DEFAULT_PER_MINUTE,
            help="requests a minute of all its users together (%(default)s); 0 is no limit",
        )
        actions.add_parser("list", help="every token: what it may, until when, when it was last used")
        revoke = actions.add_parser("revoke", help="it opens nothing any more")
        revoke.add_argument("prefix", help="the eight letters after cw_")

    def act(self, options: Mapping[str, Any]) -> None:
        actions = {"create": self._create, "list": self._list, "revoke": self._revoke}
        actions[options["action"]](options)

    def _create(self, options: Mapping[str, Any]) -> None:
        now, days = timezone.now(), options["days"]
        if days is not None and not 0 < days <= 3650:
            raise not_done("--days: 1 to 3650")
        try:
            row, text = api_tokens.create(
                options["name"],
                options["scope"],
                by=_who(),
                now=now,
                expires_at=now + timedelta(days=days) if days else None,
                per_minute=options["per_minute"],
            )
        except ValueError as error:
            raise not_done(str(error)) from error
        self.show({**_as_json(row), "token": text}, as_json=options["json"], text=lambda: text)

    def _list(self, options: Mapping[str, Any]) -> None:
        rows = [_as_json(row) for row in ApiToken.objects.order_by("pk")]
        self.show({"tokens": rows}, as_json=options["json"], text=lambda: _table(rows))

    def _revoke(self, options: Mapping[str, Any]) -> None:
        try:
            done = api_tokens.revoke(options["prefix"], by=_who(), now=timezone.now())
        except api_tokens.NoSuchToken as error:
            raise not_done(str(error)) from error
        said = "revoked: within seconds it opens nothing any more" if done else "it was revoked before"
        self.show({"prefix": options["prefix"], "revoked_now": done}, as_json=options["json"], text=lambda: said)


def _who() -> str:
    return f"manage.py ({getpass.getuser()})"


def _as_json(row: ApiToken) -> dict[str, Any]:
    state = token_rules.state(row.expires_at, revoked=row.revoked_at is not None, now=timezone.now())
    names = ("prefix", "name", "scopes", "per_minute", "created_by", "created_at", "expires_at", "last_used_at")
    return {"state": str(state), **{name: getattr(row, name) for name in names}}


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("BEGINS WITH", "NAME", "STATE", "MAY", "A MINUTE", "EXPIRES", "LAST USED")
    return table(
        head,
        [
            (
                row["prefix"],
                row["name"],
                row["state"],
                " ".join(row["scopes"]),
                str(row["per_minute"] or "no limit"),
                _day(row["expires_at"]),
                _day(row["last_used_at"]),
            )
            for row in rows
        ],
    )


def _day(moment: Any) -> str:
    return "never" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
