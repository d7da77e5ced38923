"""The API on real parts: the sandbox in APIMIGO's place, a real Memcached, tokens from the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api_service.services import api_tokens
from api_service.services.token_rules import Scope
from tests.integration.admin.conftest import Sent, sent
from tests.migo_fixtures import folder_of_static_files, migo, sandbox, sandbox_server

__all__ = ["Sent", "folder_of_static_files", "migo", "sandbox", "sandbox_server", "sent"]

ApiClient = Callable[..., Client]


@pytest.fixture
def token(db: None) -> Callable[..., str]:
    """The text of a new token."""

    def make(*scopes: Scope, per_minute: int = 0, expires_at: datetime | None = None) -> str:
        _row, text = api_tokens.create(
            "tests", scopes or list(Scope), by="tests", now=timezone.now(), per_minute=per_minute, expires_at=expires_at
        )
        return text

    return make


@pytest.fixture
def api(token: Callable[..., str]) -> ApiClient:
    """A client with a new token: `api(Scope.LOOKUP, per_minute=3)`; without scopes it may do everything."""

    def make(*scopes: Scope, **limits: Any) -> Client:
        return Client(headers={"Authorization": f"Bearer {token(*scopes, **limits)}"}, raise_request_exception=False)

    return make


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem that it must be, in the form of RFC 9457."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.content
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:cache-worker:problem:{code}")
    assert body["detail"]
    assert body["next_step"]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    return body
