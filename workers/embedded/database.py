"""The database made ready: reachable, migrated, and described without its password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from api_service.services.redaction import redact
from workers.embedded.preflight import CannotStart


def pending_migrations() -> int:
    with _one_line_errors():
        executor = MigrationExecutor(connection)
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def migrate() -> None:
    with _one_line_errors():
        call_command("migrate", verbosity=0, interactive=False)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        reason = redact(str(error)).strip().partition("\n")[0]
        raise CannotStart(f"The database cannot be used ({reason}): check DATABASE_URL and that it runs.") from error


def describe() -> str:
    """Read from the connection, not from the settings: the journal mode is what SQLite really took."""
    database = connection.settings_dict
    if connection.vendor != "sqlite":
        return f"{connection.display_name}, {database['NAME']} at {database['HOST']}:{database['PORT'] or 'its port'}"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        mode = str(cursor.fetchone()[0]).upper()
    return f"SQLite {database['NAME']} ({mode})"
