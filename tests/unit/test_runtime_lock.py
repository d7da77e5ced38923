"""What production imports is in the runtime lock, and not there by the grace of the test tools."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The transports and servers of docs/deployment.md, loaded as their processes do
LOADED = """
import importlib.metadata, json, sys
import django
django.setup()
import celery.bin.celery, celery.beat, flower.app, flower.command, gunicorn.app.wsgiapp, gunicorn.workers.gthread
import kombu.transport.redis, celery.backends.redis, psycopg, redis, waitress, whitenoise.middleware
import django_celery_beat.schedulers, myproject.wsgi, workers.tasks, workers.alerts.channels.slack
import workers.alerts.channels.sentry, api_service.sandbox.app, sentry_sdk.integrations.celery
owners = importlib.metadata.packages_distributions()
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted({owner for top in tops for owner in owners.get(top, [])})))
"""
TOOLS_OF_THE_VENV = {"pip", "setuptools"}
# Libraries take these where they find them, and do without
OPTIONAL = {"anyio", "greenlet", "pygments", "pyyaml"}


def test_everything_that_production_imports_is_locked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True, timeout=110
    )
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    imported = {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(done.stdout)}

    assert {"celery", "flower", "gunicorn", "packaging", "redis"} <= imported
    assert imported - locked - TOOLS_OF_THE_VENV - OPTIONAL == set()
