"""The fixtures of the whole look-up, and a client with the token."""

import pytest
from django.test import Client
from pytest_django import Settings

from tests.migo_fixtures import migo, sandbox, sandbox_server

__all__ = ["migo", "sandbox", "sandbox_server"]

API_TOKEN = "api-token-of-the-tests"


@pytest.fixture
def api(settings: Settings) -> Client:
    settings.API_TOKEN = API_TOKEN
    return Client(headers={"Authorization": f"Bearer {API_TOKEN}"})


@pytest.fixture(autouse=True)
def folder_of_static_files(settings: Settings) -> None:
    """WhiteNoise warns about a missing one; `collectstatic` makes it in production."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
