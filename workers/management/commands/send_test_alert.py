"""Sends a marked test message through each configured channel, now, past the outbox."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from workers.alerts import trial
from workers.alerts.channels import TABLE, addressees, setting_of
from workers.alerts.trial import Outcome

FAILED, NOT_CONFIGURED = 1, 2


class Command(BaseCommand):
    help = (
        "Sends a test message through each configured alert channel; one that was off and takes it is on again. "
        "Exit code 1: one failed; 2: none is configured."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--channel", choices=sorted(TABLE), help="only this one, with all its addressees")
        parser.add_argument("--json", action="store_true", help="the result as JSON")

    def handle(self, *_args: Any, **options: Any) -> None:
        names = [options["channel"]] if options["channel"] else list(TABLE)
        ready = [addressee for name in names for addressee in addressees(name)]
        outcomes = trial.send(ready, timezone.now())
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
            self.stdout.write(f"{outcome['channel']}: {_said(outcome)}")


def _said(outcome: Outcome) -> str:
    if not outcome["sent"]:
        return outcome["error"]
    return "sent; it was off and is on again" if outcome["turned_on"] else "sent"
