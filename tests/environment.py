"""The environment of the test session, made before Django reads its settings (`-p tests.environment`).

Nothing of the developer's own settings reaches a test. `TEST_DATABASE=postgres` runs the suite on a throw-away
PostgreSQL.
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.processes import find_binary, missing_message, servers_required
from tests.servers import Postgres

ROOT = Path(__file__).resolve().parent.parent
# Read by libraries themselves, whatever our settings read.
LIBRARY_PREFIXES = ("CELERY_", "DJANGO_", "FLOWER_", "SENTRY_")
SECRET_KEY = "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz"


def forget_own_settings() -> None:
    """The names come from the settings and from `.env.example`: a new setting cannot be forgotten here."""
    names = {*_named_in(".env.example", r"^#?\s*([A-Z][A-Z0-9_]+)=")}
    names |= {*_named_in("myproject/settings.py", r"""\benv\.\w+\(\s*["']([A-Z][A-Z0-9_]+)""")}
    for name in list(os.environ):
        if name.removesuffix("_FILE") in names or name.startswith(LIBRARY_PREFIXES):
            del os.environ[name]


def _named_in(file: str, pattern: str) -> list[str]:
    path = ROOT / file
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else []


def make_environment() -> None:
    """A process of pytest-xdist inherits the controller's database and gets a data folder of its own."""
    inherited_database = os.environ.get("DATABASE_URL") if _is_xdist_worker() else None
    forget_own_settings()
    data = Path(tempfile.mkdtemp(prefix="cache-worker-tests-"))
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="myproject.settings",
        SECRET_KEY=SECRET_KEY,
        DATA_DIR=str(data),
        DATABASE_URL=inherited_database or _database_url(data),
        # Read counts are written when a test says so, not by a thread amid another test
        READ_FLUSH_SECONDS="0",
        # Most tests run in a transaction, unseen by the threads of the answer store; these have tests of their own
        ANSWER_STORE_SECONDS="0",
        # The same of what a health run reads around the nodes; and no run waits a second for workers that are not there
        HEALTH_AROUND_SECONDS="0",
        HEALTH_WORKERS_SECONDS="0",
        # A busy machine is slow, and no test is about how slow
        HEALTH_LATENCY_WARNING_MS="5000",
        HEALTH_DATABASE_MS="5000",
        # One process runs hundreds of tests with a dead cache; the limit has tests of its own
        OUTAGE_MAX_PER_MINUTE="1000000",
    )


def _is_xdist_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _database_url(data: Path) -> str:
    match os.environ.get("TEST_DATABASE", "sqlite"):
        case "sqlite":
            return f"sqlite:///{data / 'tests.sqlite3'}"
        case "postgres":
            return _postgres_url(data)
        case other:
            raise pytest.UsageError(f"TEST_DATABASE is sqlite or postgres, not {other!r}")


def _postgres_url(data: Path) -> str:
    if find_binary("postgres") is None:
        return _without_postgres(data)
    return Postgres().start().url


def _without_postgres(data: Path) -> str:
    message = missing_message("postgres")
    if servers_required():
        raise pytest.UsageError(message)
    print(f"\n{message}; this run uses SQLite\n", file=sys.stderr)
    os.environ["TEST_DATABASE"] = "sqlite"
    return _database_url(data)


make_environment()
