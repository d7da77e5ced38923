"""The database of the running site, read and now and then written beside it: it is another process, with SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import Model

# Seconds that a statement waits for the lock of a writer
PATIENCE = 20


class Records:
    """Plain SQL: playwright's loop is in the thread of the tests, where Django refuses every query."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._file, timeout=PATIENCE)) as connection, connection:
            cursor = connection.execute(sql, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def newest(self, model: type[Model]) -> int:
        """The highest primary key, 0 where there is no row."""
        return int(self.rows(f"SELECT COALESCE(MAX(id), 0) AS pk FROM {table(model)}")[0]["pk"])

    def find(self, model: type[Model], **values: object) -> dict[str, Any] | None:
        """The newest row with these values, by columns."""
        wanted = " AND ".join(f'"{name}" = ?' for name in values) or "1"
        found = self.rows(f"SELECT * FROM {table(model)} WHERE {wanted} ORDER BY id DESC LIMIT 1", *values.values())
        return found[0] if found else None

    def get(self, model: type[Model], **values: object) -> dict[str, Any]:
        row = self.find(model, **values)
        assert row is not None, f"no row of {table(model)} with {values}"
        return row

    def log(self, beyond: int, username: str) -> list[dict[str, Any]]:
        """What is in the admin's log of that person beyond that entry."""
        people = f"SELECT id FROM {table(User)} WHERE username = ?"
        return self.rows(f"SELECT * FROM {table(LogEntry)} WHERE id > ? AND user_id = ({people})", beyond, username)


def table(model: type[Model]) -> str:
    return model._meta.db_table
