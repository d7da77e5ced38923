"""The environment of the test session, made before Django reads its settings (`-p tests.environment`).

Nothing of the developer's own settings reaches a test. `TEST_DATABASE=postgres` runs the suite on a throw-away PostgreSQL.
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.servers import Postgres, find_binary, missing_message, servers_required

ROOT = Path(__file__).resolve().parent.parent
SETTINGS_NAME = re.compile(
    r"(ALERT|ALLOWED_HOSTS|ADMIN|API|APP|BASE_URL|BEAT|CACHE|CELERY|CSRF|DATA_DIR|DATABASE|DEBUG|DJANGO|ENVIRONMENT|EMAIL|FLOWER"
    r"|LANGUAGE|LOG_|MIGO|MONITOR|PORT$|REDIS|SANDBOX|SECRET|SENTRY|SLACK|TRACK|WARM|WEB)\w*|\w+_FILE"
)
SECRET_KEY = "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz"


def forget_own_settings() -> None:
    """By pattern and by `.env.example`, which names every variable: a new setting cannot be forgotten here."""
    documented = set(_documented_names())
    for name in list(os.environ):
        if SETTINGS_NAME.fullmatch(name) or name in documented:
            del os.environ[name]


def _documented_names() -> Iterable[str]:
    example = ROOT / ".env.example"
    text = example.read_text(encoding="utf-8") if example.exists() else ""
    return re.findall(r"^#?\s*([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)


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
