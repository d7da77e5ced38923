import json
import logging
import os

import pytest

from api_service.services import redaction
from api_service.services.errors import UpstreamServerError
from api_service.services.redaction import MARK, RedactingFormatter, Redactor, redact, register_secrets, scrub

TOKEN = "s3cr3t/with+odd=chars"
WEBHOOK = "https://hooks.example.com/services/T0001/B0002/abcdefghijklmnopqrstuvwx"


@pytest.fixture(autouse=True)
def _only_this_tests_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction._Process, "values", frozenset())
    monkeypatch.setattr(redaction._Process, "redactor", Redactor())


@pytest.mark.parametrize(
    "spelled",
    [TOKEN, "s3cr3t%2Fwith%2Bodd%3Dchars", "s3cr3t/with%2Bodd%3Dchars", json.dumps(TOKEN).replace("/", "\\/")],
)
def test_a_known_secret_disappears_in_every_spelling_of_the_wire(spelled: str) -> None:
    redacted = Redactor([TOKEN]).redact(f"before {spelled} after")
    assert "s3cr3t" not in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


def test_a_secret_with_quotes_disappears_from_json_and_repr() -> None:
    secret = "pa\"ss'wörd"
    for spelled in (json.dumps({"k": secret}), json.dumps({"k": secret}, ensure_ascii=False), repr({"k": secret})):
        assert MARK in Redactor([secret]).redact(spelled)


def test_the_path_of_a_webhook_is_secret_without_its_host() -> None:
    redactor = Redactor([WEBHOOK])
    text = redactor.redact(
        "HTTPSConnectionPool(host='hooks.example.com'): url: /services/T0001/B0002/abcdefghijklmnopqrstuvwx"
    )
    assert "abcdefghijkl" not in text
    assert "hooks.example.com" in text


def test_the_password_of_a_database_address_is_secret_but_its_user_and_name_are_not() -> None:
    text = Redactor(["postgres://postgres:hunter22@db/app"]).redact("user postgres, password hunter22, database app")
    assert text == f"user postgres, password {MARK}, database app"


def test_short_values_are_left_alone_for_they_are_everywhere() -> None:
    assert Redactor(["abc", ""]).redact("abc of abcdef") == "abc of abcdef"


def test_a_secret_within_another_one_does_not_leave_the_rest_of_the_longer() -> None:
    assert Redactor(["abcdef", "abcdefghij"]).redact("abcdefghij") == MARK


def test_credentials_in_any_address_disappear_known_or_not() -> None:
    text = redact("GET https://user:pw@example.com/x?token=abc&b=2 and Authorization: Bearer abcdef0123456")
    assert text == f"GET https://{MARK}@example.com/x?{MARK} and Authorization: Bearer {MARK}"


def test_scrubbing_reaches_every_text_of_a_structure_and_keeps_the_rest() -> None:
    register_secrets([TOKEN])
    event = {"a": [TOKEN, 1, None, 2.5], TOKEN: (b"\xff" + TOKEN.encode(), {"deep": f"x{TOKEN}"}), "s": {TOKEN}}
    assert scrub(event) == {
        "a": [MARK, 1, None, 2.5],
        MARK: (b"\xff" + MARK.encode(), {"deep": f"x{MARK}"}),
        "s": {MARK},
    }
    assert TOKEN in event


def test_a_logged_traceback_is_redacted_with_its_causes_and_arguments() -> None:
    register_secrets([TOKEN])
    with pytest.raises(ValueError, match="wrong") as caught:
        _fail_with(TOKEN)
    info = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "failed with %s", (TOKEN,), info)
    line = RedactingFormatter("%(message)s").format(record)
    assert TOKEN not in line
    assert line.count(MARK) >= 3
    assert "KeyError" in line


def test_an_upstream_error_is_born_redacted() -> None:
    register_secrets([TOKEN])
    error = UpstreamServerError(f"said {TOKEN}")
    assert TOKEN not in repr(error)
    assert TOKEN not in json.dumps(dict(error.facts()))


def test_registering_more_keeps_what_was_registered() -> None:
    register_secrets(["first-secret"])
    register_secrets(["second-secret", ""])
    assert redact("first-secret second-secret") == f"{MARK} {MARK}"


def _fail_with(secret: str) -> None:
    try:
        os.environ[secret]
    except KeyError as cause:
        raise ValueError(f"wrong {secret}") from cause
