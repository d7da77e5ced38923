"""manage.py api_token: made, listed, revoked."""

import pytest
from django.utils import timezone

from api_service.models import ApiToken
from api_service.services import api_tokens
from tests.integration.commands.conftest import Run

pytestmark = pytest.mark.django_db


def test_a_token_is_printed_once_and_works(run: Run) -> None:
    made = run("api_token", "create", "invoicing", "--scope", "lookup", "--scope", "cache:clear", "--days", "3")
    text = made.out.strip()
    grant = api_tokens.recognise(text, timezone.now())
    assert grant is not None
    assert grant.scopes == {"lookup", "cache:clear"}
    listed = run("api_token", "list")
    assert grant.id in listed.out
    assert "invoicing" in listed.out
    assert text not in listed.out


def test_a_revoked_token_opens_nothing(run: Run) -> None:
    made = run("api_token", "--json", "create", "invoicing", "--scope", "lookup").json
    assert run("api_token", "--json", "revoke", made["prefix"]).json == {"prefix": made["prefix"], "revoked_now": True}
    assert api_tokens.recognise(made["token"], timezone.now()) is None
    assert run("api_token", "--json", "list").json["tokens"][0]["state"] == "revoked"
    assert "before" in run("api_token", "revoke", made["prefix"]).out


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "x", "--scope", "lookup", "--days", "0"),
        ("create", " ", "--scope", "lookup"),
        ("create", "x", "--scope", "lookup", "--per-minute", "-1"),
        ("create", "x", "--scope", "everything"),
        ("create", "x"),
        ("revoke", "nothing1"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run("api_token", *arguments)
    assert (ended.code, bool(ended.err)) in {(2, True), (1, True)}
    assert ApiToken.objects.count() == 0
