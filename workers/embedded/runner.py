"""From nothing to a running process: what must hold, what is made ready, which parts run."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from celery import Celery, current_app
from django.conf import settings
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from api_service.services import group_commit, tracking
from api_service.services.redaction import redact
from workers.embedded import account, banner, database, facts, preflight, sandbox
from workers.embedded.part import Part
from workers.embedded.preflight import Address, CannotStart
from workers.embedded.process import Process, Say
from workers.watch import signals

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

QUIET = {
    **dict.fromkeys(
        ("amqp", "celery", "django_celery_beat", "flower", "kombu", "tornado", "waitress"), logging.WARNING
    ),
    # It warns of every connection to a broker in memory that it has no host name
    "kombu.connection": logging.ERROR,
    # A worker that is stopping, or busy for a second, does not answer it
    "flower.inspector": logging.ERROR,
    # Refused passwords and unknown pages: Flower on its own does not log them either
    "tornado.access": logging.ERROR,
}
BROKER_PATIENCE = 3


def run(*, say: Say, complain: Say, started: float) -> int:
    """Exit code of the process. Raises `CannotStart` before anything is started."""
    app: Celery = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - not this thread's proxy
    _quiet_libraries()
    addresses, listeners, lock = _check()
    with lock:
        if "sandbox" in addresses:
            sandbox.use_sandbox(addresses["sandbox"], app)
        admin = _prepare(app, say)
        parts = _parts(app, listeners)
        process = Process(parts, say, complain)
        code = process.run(lambda: say(banner.compose(facts.gather(addresses, admin, time.monotonic() - started))))
        tracking.flush_at_end()
        group_commit.close_all()
        signals.close()
    _leave(parts, code)
    return code


def _quiet_libraries() -> None:
    if settings.LOG_LEVEL == "DEBUG":
        return
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def _check() -> tuple[dict[str, Address], dict[str, socket.socket], IO[str]]:
    """The lock comes before the ports: a second run is told that it is one, not that a port is taken."""
    preflight.check_flower_password(settings.FLOWER_BASIC_AUTH)
    addresses = _addresses()
    preflight.prepare_folder(settings.DATA_DIR)
    # WhiteNoise warns of a missing folder; it serves the packages' own files in this run
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    lock = preflight.lock_folder(settings.DATA_DIR)
    try:
        return addresses, preflight.bind_all(addresses), lock
    except CannotStart:
        lock.close()
        raise


def _addresses() -> dict[str, Address]:
    host = settings.WEB_HOST
    addresses = {
        "web": Address(host, settings.WEB_PORT, "WEB_PORT"),
        "flower": Address(host, settings.FLOWER_PORT, "FLOWER_PORT"),
    }
    if sandbox.is_wanted():
        # Never wider than this machine: nobody else has a use for it
        addresses["sandbox"] = Address("127.0.0.1", settings.SANDBOX_PORT, "SANDBOX_PORT")
    return addresses


def _prepare(app: Celery, say: Say) -> str:
    """One line per step; the answer is what the banner says of the admin account."""
    say(f"Data folder  {settings.DATA_DIR}")
    _check_broker(app)
    pending = database.pending_migrations()
    password = _migrate_and_create_admin() if pending else account.create_first_admin()
    say(f"Database     {database.describe()}, " + (f"{pending} migrations applied" if pending else "up to date"))
    if password is None:
        say("Admin        the account is there")
        return f"user {account.USERNAME}, new password: {facts.python()} manage.py changepassword {account.USERNAME}"
    say(f"Admin        user {account.USERNAME}, password {password}  (shown this once)")
    return f"user {account.USERNAME}, password above"


def _migrate_and_create_admin() -> str | None:
    """The password is hashed beside the migrations: a second saved of a newcomer's first five."""
    with ThreadPoolExecutor(1) as helper:
        password = helper.submit(account.draw_password)
        database.migrate()
        return account.create_first_admin(password.result)


def _check_broker(app: Celery) -> None:
    if settings.CELERY_BROKER_URL.startswith("memory:"):
        return
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_PATIENCE)
        except OperationalError as error:
            where = redact(settings.CELERY_BROKER_URL)
            raise CannotStart(f"The broker {where} does not answer: start it, or check CELERY_BROKER_URL.") from error


def _parts(app: Celery, listeners: Mapping[str, socket.socket]) -> list[Part]:
    """In the order of their start. They stop in the opposite one: the sandbox outlives the tasks that ask it."""
    from workers.embedded.beat import Beat
    from workers.embedded.flower import Flower
    from workers.embedded.web import Web
    from workers.embedded.worker import Worker

    played = [Web("sandbox", _sandbox_application, listeners["sandbox"])] if "sandbox" in listeners else []
    return [
        *played,
        Worker(app),
        Flower(app, listeners["flower"], settings.FLOWER_BASIC_AUTH),
        Web("web", _site_application, listeners["web"]),
        Beat(app),
    ]


def _site_application() -> WSGIApplication:
    application: WSGIApplication = import_string(settings.WSGI_APPLICATION)
    return application


def _sandbox_application() -> WSGIApplication:
    from api_service.sandbox.app import Sandbox

    return Sandbox()


def _leave(parts: Sequence[Part], code: int) -> None:
    """A thread that does not end would keep the interpreter waiting for it."""
    if any(part.is_alive for part in parts):
        sys.stdout.flush()
        os._exit(code)
