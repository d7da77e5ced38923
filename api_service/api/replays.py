"""An uploaded access log, replayed by the command of that name in a process of its own.

Seconds of pure computing: in a thread of the web server it would slow down everybody's look-ups, and nothing could
end it.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import BoundedSemaphore
from typing import Final, cast

import orjson
from django.utils.translation import gettext as _
from ninja.files import UploadedFile

from api_service.api.problems import Problem, Refused, bad_value
from api_service.services import access_log
from api_service.services.access_log import GZIP, BadLog
from api_service.services.redaction import redact
from api_service.services.warm_comparison import Report

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 5_000_000
SECONDS: Final = 30.0

_one_at_a_time = BoundedSemaphore(1)


def replay(log: UploadedFile, arguments: list[str], folder: Path) -> Report:
    """Raises Refused for a log that is too large, cannot be read or takes too long, and while another one is at it."""
    if (log.size or 0) > MOST_BYTES:
        raise Refused(_too_large())
    if not _one_at_a_time.acquire(blocking=False):
        raise Refused(_busy())
    try:
        with NamedTemporaryFile(prefix="access-log-") as file:
            for chunk in log.chunks():
                file.write(chunk)
            file.flush()
            _check(file.name)
            return _run([file.name, *arguments], folder)
    finally:
        _one_at_a_time.release()


def _check(path: str) -> None:
    """What is no log is refused here: a process takes a second to start. A packed one may grow to any size."""
    with Path(path).open("rb") as file:
        if file.read(len(GZIP)) == GZIP:
            raise Refused(bad_value(_("log: send it unpacked.")))
    try:
        access_log.read(path)
    except BadLog as error:
        raise Refused(bad_value(f"log: {str(error).replace(path, 'it')}")) from error


def _run(arguments: list[str], folder: Path) -> Report:
    command = [sys.executable, "-m", "django", "replay_warming", "--json", *arguments]
    # Look-ups go first
    if nice := shutil.which("nice"):
        command = [nice, *command]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Refused(_too_long()) from error
    if done.returncode == 0:
        return cast(Report, orjson.loads(done.stdout))
    said = redact(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
    logger.info("a replay ended with %d: %s", done.returncode, said)
    raise Refused(bad_value(said.removeprefix("CommandError: ")))


def _too_large() -> Problem:
    text = _("The log is larger than %d MB.") % (MOST_BYTES // 1_000_000)
    return Problem(413, "too_large", text, _("Send fewer days, or use manage.py replay_warming on the server."))


def _too_long() -> Problem:
    text = _("The replay took longer than %d seconds and was ended.") % SECONDS
    return Problem(422, "too_long", text, _("Send fewer days, or use manage.py replay_warming on the server."))


def _busy() -> Problem:
    text = _("Another replay is under way.")
    return Problem(503, "busy", text, _("Try again in a moment."), headers={"Retry-After": str(int(SECONDS))})
