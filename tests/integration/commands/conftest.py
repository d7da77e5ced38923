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


class Heard(StringIO):
    """What a command says on stderr: `then` is called once `wanted` was said, which until then may be held up."""

    def __init__(self, wanted: str, then: Callable[[], object]) -> None:
        super().__init__()
        self._wanted, self._then = wanted, then

    def write(self, text: str) -> int:
        is_first = self._wanted in text and self._wanted not in self.getvalue()
        written = super().write(text)
        if is_first:
            self._then()
        return written


@pytest.fixture
def run() -> Run:
    """A command's end: `manage.py` turns a CommandError into its exit code and a line on stderr."""

    def call(*args: str, err: StringIO | None = None) -> Ended:
        out, err = StringIO(), err or StringIO()
        try:
            call_command(*args, stdout=out, stderr=err)
        except CommandError as error:
            return Ended(error.returncode, out.getvalue(), f"{err.getvalue()}{error}")
        return Ended(0, out.getvalue(), err.getvalue())

    return call
