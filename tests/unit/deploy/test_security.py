"""`manage.py check --deploy` as an operator runs it, and what each answer tells browsers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings as of_the_tests
from django.contrib.auth.hashers import identify_hasher, make_password
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from pytest_django import Settings

from myproject import pages
from myproject.security import security_config
from tests.migo_fixtures import folder_of_static_files
from tests.project_process import run_project

__all__ = ["folder_of_static_files"]

# What docs/deployment.md asks for
PRODUCTION = {
    "SECRET_KEY": "0123456789abcdef" * 4,
    "API_TOKEN": "look-ups-0123456789",
    "HTTPS_ONLY": "true",
    "ALLOWED_HOSTS": "cache.example.pe",
    "PUBLIC_URL": "https://cache.example.pe",
    "MIGO_TOKEN": "migo-0123456789",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x",
}


def check(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with these variables only."""
    command = ("manage.py", "check", "--fail-level", "WARNING", *arguments)
    return run_project(*command, env={"DATA_DIR": str(tmp_path / "data"), **variables})


def test_a_deployment_as_the_documentation_describes_it_passes_every_check(tmp_path: Path) -> None:
    done = check(tmp_path, "--deploy", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"HTTPS_ONLY": "false"}, {"security.W012"}),
        (
            {"HSTS_SECONDS": "0", "DEBUG": "true", "SECRET_KEY": "short"},
            {"security.W004", "security.W018", "security.W009"},
        ),
    ],
)
def test_what_is_left_open_is_told(tmp_path: Path, changed: dict[str, str], said: set[str]) -> None:
    done = check(tmp_path, "--deploy", **{**PRODUCTION, **changed})
    assert done.returncode != 0
    assert said <= set(re.findall(r"security\.W\d+", done.stderr))


def test_a_key_that_was_made_up_here_is_long_enough(tmp_path: Path) -> None:
    without = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    assert check(tmp_path, "--deploy", **without).returncode == 0


def test_a_run_over_plain_http_has_nothing_to_complain_about(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_over_plain_http_cookies_are_sent_and_nothing_is_redirected() -> None:
    config = security_config(https_only=False, hsts_seconds=60, session_hours=1)
    assert [name for name in config if name.endswith("_SECURE") or name.startswith(("SECURE_SSL", "SECURE_HSTS"))] == []
    assert config["SESSION_COOKIE_AGE"] == 3600


def test_over_https_plain_requests_are_redirected_but_for_probes() -> None:
    config = security_config(https_only=True, hsts_seconds=60, session_hours=1)
    with override_settings(**config, ALLOWED_HOSTS=["cache.example.pe"]):
        client = Client(headers={"host": "cache.example.pe"})
        page = client.get("/admin/")
        assert (page.status_code, page.headers["Location"]) == (301, "https://cache.example.pe/admin/")
        assert client.get("/health/live").status_code == 200
        behind_proxy = client.get("/admin/", headers={"x-forwarded-proto": "https"})
    assert (behind_proxy.status_code, behind_proxy.headers["Location"]) == (302, "/admin/login/?next=/admin/")
    assert behind_proxy.headers["Strict-Transport-Security"] == "max-age=60; includeSubDomains; preload"


@pytest.mark.django_db
def test_the_cookies_of_a_login_are_for_this_site_and_no_script() -> None:
    config = security_config(https_only=True, hsts_seconds=60, session_hours=2)
    with override_settings(**config):
        client = Client(headers={"x-forwarded-proto": "https"})
        client.get("/admin/login/", secure=True)
        client.post("/i18n/setlang/", {"language": "en"}, secure=True)
    for name, for_no_script in (("csrftoken", False), (of_the_tests.LANGUAGE_COOKIE_NAME, True)):
        cookie = client.cookies[name]
        assert (cookie["secure"], cookie["samesite"]) == (True, "Lax")
        assert bool(cookie["httponly"]) is for_no_script


def test_a_password_is_hashed_by_scrypt(settings: Settings) -> None:
    assert identify_hasher(make_password("correct horse")).algorithm == "scrypt"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/admin/login/", "ADMIN"),
        ("/admin/", "ADMIN"),
        # Not one of the admin site's own
        ("/admin/dashboard/now/", "ADMIN"),
        ("/api/v1/docs", "REFERENCE"),
        ("/api/v1/openapi.json", "CLOSED"),
        ("/api/v1/rucs/20100038146", "CLOSED"),
        ("/health/live", "CLOSED"),
        ("/nothing", "CLOSED"),
        ("/", "CLOSED"),
    ],
)
def test_each_answer_has_the_policy_of_its_kind(path: str, policy: str) -> None:
    answer = Client().get(path)
    assert answer.headers["Content-Security-Policy"] == getattr(pages, policy)
    assert answer.headers["Permissions-Policy"] == pages.PERMISSIONS
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_no_page_may_run_what_stands_in_it_nor_be_framed() -> None:
    for policy in (pages.CLOSED, pages.ADMIN, pages.REFERENCE):
        directives = {name: sources for name, _, sources in (part.partition(" ") for part in policy.split("; "))}
        assert directives["frame-ancestors"] == "'none'"
        assert "'unsafe-inline'" not in directives.get("script-src", directives["default-src"])
        assert "http" not in policy
    assert "unsafe" not in pages.CLOSED
    assert "unsafe-eval" not in pages.REFERENCE


@pytest.mark.parametrize(("debug", "status", "has_policy"), [(True, 500, False), (False, 500, True), (True, 200, True)])
def test_only_the_pages_that_debug_shows_have_none(
    settings: Settings, debug: bool, status: int, has_policy: bool
) -> None:
    settings.DEBUG = debug
    request = HttpRequest()
    answer = pages.middleware(lambda _request: HttpResponse(status=status))(request)
    assert ("Content-Security-Policy" in answer.headers) is has_policy
