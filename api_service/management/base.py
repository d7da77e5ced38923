"""What the commands of this service share: `--json`, exit codes, progress on stderr, and their own cache refused.

Exit codes: 0 fine, 1 unhealthy or partly failed, 2 could not be done or bad arguments.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseTrouble
from django.db import connections

from api_service.services.cache_service import APICacheService

PARTLY: Final = 1
NOT_DONE: Final = 2
EXIT_CODES: Final = "Exit codes: 0 fine, 1 {partly}, 2 could not be done or bad arguments."
PROGRESS_SECONDS: Final = 2.0

# Short, for a line on stderr; what it reads may be a query
Say = Callable[[], str]


class ServiceCommand(BaseCommand):
    """A command over the shared cache. `partly` says in the help what exit code 1 means."""

    partly = "unhealthy or partly failed"
    needs_shared_cache = True

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", EXIT_CODES.format(partly=self.partly))
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *_args: Any, **options: Any) -> None:
        if self.needs_shared_cache:
            _refuse_own_cache()
        try:
            self.act(options)
        except DatabaseTrouble as error:
            message = f"the database does not answer, or is not migrated: {error}"
            raise CommandError(message, returncode=NOT_DONE) from error

    def act(self, options: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def show(self, result: Mapping[str, Any], *, as_json: bool, text: Callable[[], str]) -> None:
        self.stdout.write(json.dumps(result, ensure_ascii=False, default=str) if as_json else text())

    @contextmanager
    def progress(self, say: Say) -> Iterator[None]:
        """A line on stderr every two seconds while the work lasts."""
        done = Event()
        started = monotonic()

        def tell() -> None:
            try:
                while not done.wait(PROGRESS_SECONDS):
                    self.stderr.write(f"{monotonic() - started:.0f} s: {say()}", self.style.NOTICE)
            except DatabaseTrouble as error:
                self.stderr.write(f"no more progress, the database does not answer: {error}")
            finally:
                connections.close_all()

        thread = Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(PROGRESS_SECONDS)


def partly(message: str) -> CommandError:
    return CommandError(message, returncode=PARTLY)


def not_done(message: str) -> CommandError:
    return CommandError(message, returncode=NOT_DONE)


def user_name() -> str:
    """Who is logged in; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def read_text(path: str) -> str:
    """What a file holds, or stdin for "-"."""
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - a pipe or /dev/fd is a path too
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise not_done(f"{path} cannot be read: {error}") from error


def read_lines(path: str) -> list[str]:
    """The lines of a file without blank ones and comments (#)."""
    lines = (line.partition("#")[0].strip() for line in read_text(path).splitlines())
    return [line for line in lines if line]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)


def _refuse_own_cache() -> None:
    if APICacheService().backend == "local_memory":
        raise not_done(
            "CACHE_URL is locmem://: the running server keeps its cache in its own memory, and this command would "
            "look at an empty one of its own. Use the admin or /health/cache of the server, or set CACHE_URL to "
            "memcached://host:port or redis://host:port/db for both."
        )
