"""The fixtures of the whole look-up, and a client with the token."""

import pytest
from django.test import Client
from pytest_django import Settings

from tests.migo_fixtures import folder_of_static_files, migo, sandbox, sandbox_server

__all__ = ["folder_of_static_files", "migo", "sandbox", "sandbox_server"]

API_TOKEN = "api-token-of-the-tests"


@pytest.fixture
def api(settings: Settings) -> Client:
    settings.API_TOKEN = API_TOKEN
    return Client(headers={"Authorization": f"Bearer {API_TOKEN}"})
