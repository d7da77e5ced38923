"""Loaded into the process under test by `tests.acceptance.embedded_settings`."""

import os
from pathlib import Path
from typing import NoReturn

from celery import shared_task
from django_celery_beat.schedulers import DatabaseScheduler

from tests.waiting import wait_until


@shared_task(name="tests.hold")
def hold(folder: str) -> None:
    """Runs from `folder/begun` to `folder/done`, which the test allows with `folder/go`."""
    place = Path(folder)
    (place / "begun").touch()
    wait_until((place / "go").exists, timeout=60)
    (place / "done").touch()


class BreakableScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Beat's loop hangs while `hang` is there, and dies of an error that is not the database's with `break`."""

    def tick(self) -> float:
        folder = Path(os.environ["TEST_BREAK_BEAT"])
        if (folder / "hang").exists():
            (folder / "hanging").touch()
            wait_until(lambda: not (folder / "hang").exists(), timeout=60)
        if (folder / "break").exists():
            self.break_down()
        return float(super().tick())

    def break_down(self) -> NoReturn:
        raise RuntimeError("beat was broken by the test")
