"""Commands called as a script calls them, on a real cache, with the sandbox behind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.migo_fixtures import folder_of_static_files, migo, sandbox, sandbox_server

__all__ = ["folder_of_static_files", "migo", "sandbox", "sandbox_server"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run() -> Run:
    """A command's end: `manage.py` turns a CommandError into its exit code and a line on stderr."""

    def call(*args: str) -> Ended:
        out, err = StringIO(), StringIO()
        try:
            call_command(*args, stdout=out, stderr=err)
        except CommandError as error:
            return Ended(error.returncode, out.getvalue(), f"{err.getvalue()}{error}")
        return Ended(0, out.getvalue(), err.getvalue())

    return call
