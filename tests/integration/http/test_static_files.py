"""Styles and scripts come packed where `collectstatic` has run, and in any case."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

STYLES = "api_service/admin.css"


@pytest.fixture
def collected(settings: Any, tmp_path: Path) -> Path:
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_a_collected_file_is_sent_packed_to_who_takes_it(collected: Path) -> None:
    answer = Client().get(f"/static/{STYLES}", headers={"accept-encoding": "gzip"})
    packed = body(answer)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == (collected / STYLES).read_bytes()
    assert len(packed) < len((collected / STYLES).read_bytes()) / 2
    plain = Client().get(f"/static/{STYLES}", headers={"accept-encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert body(plain) == (collected / STYLES).read_bytes()


def test_a_file_that_was_not_collected_comes_from_its_package(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    answer = Client().get(f"/static/{STYLES}", headers={"accept-encoding": "gzip"})
    found = finders.find(STYLES)
    assert isinstance(found, str)
    assert body(answer) == Path(found).read_bytes()
