"""`manage.py run_all`: everything in one process, on embedded defaults."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = (
        "Runs web, Celery worker, Beat and Flower in one process, and the APIMIGO sandbox while MIGO_TOKEN is not set. "
        "Everything is configured by environment variables, see .env.example."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        from workers.embedded.preflight import CannotStart
        from workers.embedded.runner import run

        started = time.monotonic()
        try:
            code = run(say=self._say, complain=self._complain, started=started)
        except CannotStart as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped before it was ready.", returncode=130) from error
        if code:
            raise SystemExit(code)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _complain(self, text: str) -> None:
        self.stderr.write(f"run_all: {text}")
