"""The document is the contract: what it says is what is served, and the committed one is the generated one."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from api_service.api.application import api as application
from tests.integration.api.conftest import Sent

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
EXAMPLES = 8
CONFIG = {
    "generation": {"mode": "all", "max-examples": EXAMPLES},
    "checks": {
        # JSON Schema knows no check digit, no date that a range must not end before, no access log
        "positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 409, 422, 502]},
    },
}


schema = schemathesis.openapi.from_dict(
    json.loads(DOCUMENT.read_text(encoding="utf-8")), config=SchemathesisConfig.from_dict(CONFIG)
)
_application = cache(get_wsgi_application)


def served(environ: Any, start_response: Any) -> Any:
    """Made with the first request: at the collection of the tests there is no folder of static files yet."""
    return _application()(environ, start_response)


schema.app = served


@pytest.fixture
def bearer(migo: None, sent: Sent, token: Callable[..., str]) -> dict[str, str]:
    """A token that may do all; behind it the sandbox, a real Memcached, a broker in memory."""
    return {"Authorization": f"Bearer {token()}"}


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_the_document_says(case: Any, bearer: dict[str, str]) -> None:
    case.call_and_validate(headers=bearer)


def test_the_committed_document_is_the_generated_one() -> None:
    """`make openapi` writes it anew."""
    generated = json.loads(json.dumps(application.get_openapi_schema()))
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == generated


def test_every_look_up_has_a_tag_and_every_limit_says_when_to_come_again() -> None:
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    operations = [operation for methods in paths.values() for operation in methods.items()]
    read = [said["responses"] for method, said in operations if method == "get" and said["tags"] == ["Look-ups"]]
    assert len(read) == 6
    assert all("304" in answers and "ETag" in answers["200"]["headers"] for answers in read)
    assert all("Retry-After" in said["responses"]["429"]["headers"] for _method, said in operations)
