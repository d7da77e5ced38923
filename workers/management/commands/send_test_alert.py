"""Sends a marked test message through each configured channel, now, past the outbox."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from workers.alerts.channels import TABLE, ChannelError, channel, configured_channels, setting_of
from workers.alerts.messages import test_message

FAILED, NOT_CONFIGURED = 1, 2


class Outcome(TypedDict):
    channel: str
    sent: bool
    error: str


class Command(BaseCommand):
    help = "Sends a test message through each configured alert channel. Exit code 1: one failed; 2: none is configured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--channel", choices=sorted(TABLE), help="only this one")
        parser.add_argument("--json", action="store_true", help="the result as JSON")

    def handle(self, *_args: Any, **options: Any) -> None:
        names = [options["channel"]] if options["channel"] else list(TABLE)
        ready = [name for name in configured_channels() if name in names]
        outcomes = [_send(name) for name in ready]
        self._show(outcomes, as_json=options["json"])
        if not ready:
            settings = " or ".join(setting_of(name) for name in names)
            raise CommandError(f"No alert channel is configured: set {settings}.", returncode=NOT_CONFIGURED)
        if failed := [outcome["channel"] for outcome in outcomes if not outcome["sent"]]:
            raise CommandError(f"The test message did not arrive at: {', '.join(failed)}", returncode=FAILED)

    def _show(self, outcomes: list[Outcome], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"channels": outcomes}, ensure_ascii=False))
            return
        for outcome in outcomes:
            self.stdout.write(f"{outcome['channel']}: {'sent' if outcome['sent'] else outcome['error']}")


def _send(name: str) -> Outcome:
    try:
        channel(name).send(test_message(name, timezone.now()))
    except ChannelError as error:
        return {"channel": name, "sent": False, "error": str(error)}
    return {"channel": name, "sent": True, "error": ""}
