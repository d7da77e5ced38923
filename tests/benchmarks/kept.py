"""A data set that the next run of a benchmark finds again: in a folder, with a note of what is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.servers import Postgres

NOTE = "filled.json"


class KeptPostgres(Postgres):
    """Its data stays in `folder` when it is closed, and is used again when it is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def _make_directory(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(self._folder, self.user)
        return self._folder

    def _initialise(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            super()._initialise()

    def new_database(self) -> str:
        """The cluster's own: a new one each time would be empty."""
        return self.url

    def close(self) -> None:
        self.stop()


def filled(folder: Path, facts: Mapping[str, str], fill: Callable[[], None]) -> bool:
    """Whether `fill` had to run: the folder's note says something else than `facts`."""
    note = folder / NOTE
    if note.exists() and json.loads(note.read_text()) == facts:
        return False
    note.unlink(missing_ok=True)
    fill()
    note.write_text(json.dumps(facts))
    return True
