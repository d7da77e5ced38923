"""Fills the database of the environment, makes an account, and prints the pages that there are, as JSON.

    DATA_DIR=… python -m tests.history small 127.0.0.1:11211,127.0.0.1:11212,127.0.0.1:11213

A process of its own, as Django has one database for the life of a process: see tests/site.py.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import django

from tests import history

SIZES = {"small": history.SMALL, "shown": history.SHOWN}
USERNAME, PASSWORD = "admin", "made-up-and-only-for-tests"


def main(size: str, nodes: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone

    from tests.pages import every_page

    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    history.fill(SIZES[size], timezone.now(), tuple(nodes.split(",")))
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser(USERNAME, password=PASSWORD))
    print(json.dumps([asdict(page) for page in every_page(client)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
