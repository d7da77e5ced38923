"""An upload that no form takes is refused before any of it is on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from api_service.api import replays
from api_service.services import billing_upload
from myproject import uploads
from tests.migo_fixtures import folder_of_static_files

__all__ = ["folder_of_static_files"]

# What is smaller Django keeps in memory
ON_THE_DISK = 2_700_000


def posted(size: int) -> int:
    """By somebody without a login: the login page, as every form, reads the whole request for its token."""
    client = Client(enforce_csrf_checks=True, headers={"cookie": f"csrftoken={'a' * 32}"})
    file = SimpleUploadedFile("a.csv", b"1" * size)
    return client.post("/admin/login/", {"file": file}).status_code


def test_what_is_larger_than_any_form_takes_never_reaches_the_disk(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", ON_THE_DISK)
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "nowhere")
    assert posted(ON_THE_DISK + 1) == 400
    with pytest.raises(FileNotFoundError):
        posted(ON_THE_DISK - 1_000)


def test_a_file_that_is_only_too_large_for_its_form_is_told_so_there() -> None:

    assert max(billing_upload.MOST_BYTES, replays.MOST_BYTES) * 4 <= uploads.MOST_BYTES
