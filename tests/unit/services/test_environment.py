"""myproject/env.py, and the settings as a whole in a process of their own."""

import os
import subprocess
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from api_service.caches.urls import cache_config
from myproject.env import POSTGRES_LIMITS, Environment, database_config, local_secret, secret_parts
from tests.project_process import run_project


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a process says that reads the settings with these variables only."""
    code = "from django.conf import settings; print(settings.CACHE_URL, settings.MIGO_TOKEN == 'from-a-file')"
    environment = {"DATA_DIR": str(tmp_path / "data"), "DJANGO_SETTINGS_MODULE": "myproject.settings", **variables}
    return run_project("-c", code, env=environment)


# -- CACHE_URL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "backend", "location"),
    [
        ("locmem://", "api_service.caches.local.LocalMemoryCache", "default"),
        ("locmem://another", "api_service.caches.local.LocalMemoryCache", "another"),
        ("memcached://cache", "api_service.caches.memcached.MemcachedCache", ["cache:11211"]),
        ("memcached://a:1, b:2,", "api_service.caches.memcached.MemcachedCache", ["a:1", "b:2"]),
        (
            "memcached://[::1]:5,[fe80::1]",
            "api_service.caches.memcached.MemcachedCache",
            ["[::1]:5", "[fe80::1]:11211"],
        ),
        ("redis://h:6380/2", "api_service.caches.redis.RedisJSONCache", "redis://h:6380/2"),
        ("redis://[::1]:6379/1", "api_service.caches.redis.RedisJSONCache", "redis://[::1]:6379/1"),
        ("rediss://:p%40ss@h", "api_service.caches.redis.RedisJSONCache", "rediss://:p%40ss@h"),
    ],
)
def test_a_cache_url_names_backend_and_servers(url: str, backend: str, location: object) -> None:
    config = cache_config(url)

    assert config["BACKEND"] == backend
    assert config["LOCATION"] == location


def test_the_time_outs_reach_the_driver_under_the_names_it_knows() -> None:
    limits = {"timeout": 0.1, "connect_timeout": 0.2, "retry_interval": 3.0}

    assert cache_config("memcached://a", **limits)["OPTIONS"] == limits
    assert cache_config("redis://a", **limits)["OPTIONS"] == {
        "socket_timeout": 0.1,
        "socket_connect_timeout": 0.2,
        "retry_interval": 3.0,
    }


@pytest.mark.parametrize(
    "url",
    [
        *("", "memcached", "http://h", "unix:///x", "MEMCACHED//a", "memcached://", "memcached://,", "redis://"),
        *("memcached://a:x", "memcached://a:99999", "memcached://a:1/2", "memcached://a:1?x=y", "memcached://[::1"),
        *("memcached://a,a:11211", "memcached://A:1,a:1", "memcached://:11211"),
        *("redis://h:abc/0", "redis://h:1/x", "redis://h:0", "redis://h:99999/0", "redis:///0", "redis://:pass[word@h"),
    ],
)
def test_an_unusable_cache_url_is_one_line_that_names_the_setting(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CACHE_URL.*\.$") as refused:
        cache_config(url)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["memcached://user:s3cret@h:1", "memcached://h:1,user:s3cret@h:x", "redis://:s3cret@h:x/0"]
)
def test_a_password_in_an_unusable_url_is_not_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        cache_config(url)

    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in str(refused.value.__cause__)


# -- DATABASE_URL -----------------------------------------------------------------------------------------------------


def test_sqlite_takes_the_write_lock_at_once_and_waits_for_it() -> None:
    config = database_config("sqlite:////var/lib/app/db.sqlite3")

    assert (config["ENGINE"], config["NAME"]) == ("django.db.backends.sqlite3", "/var/lib/app/db.sqlite3")
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert config["OPTIONS"]["timeout"] == 20
    assert "journal_mode=WAL" in config["OPTIONS"]["init_command"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgres_urls_give_all_their_parts_and_a_connect_time_out(scheme: str) -> None:
    config = database_config(f"{scheme}://u:p%40ss@[::1]:5433/n?sslmode=require")

    parts = ("ENGINE", "USER", "PASSWORD", "HOST", "PORT", "NAME")
    assert [config[part] for part in parts] == ["django.db.backends.postgresql", "u", "p@ss", "::1", 5433, "n"]
    assert config["OPTIONS"] == {**POSTGRES_LIMITS, "sslmode": "require"}
    assert config["OPTIONS"]["connect_timeout"] == 3


@pytest.mark.parametrize(
    "url", ["", "mysql://u:s3cret@h/n", "postgres://u:s3cret@h:port/n", "postgres://u:s3cret[@h/n"]
)
def test_an_unusable_database_url_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL.*\.$") as refused:
        database_config(url)

    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)


# -- Secrets ----------------------------------------------------------------------------------------------------------


def test_passwords_inside_urls_are_known_as_written_and_as_sent() -> None:
    urls = ("redis://:p%40ss@h", "postgres://u:plain@h/n", "sqlite:///x", "memcached://a:1,b:1", "cache+memory://")

    assert secret_parts(*urls) == ["p%40ss", "p@ss", "plain"]


def test_a_local_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    made = local_secret(tmp_path / "data", "api_token")

    assert local_secret(tmp_path / "data", "api_token") == made
    assert len(made) >= 32
    assert (tmp_path / "data" / "api_token").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_one_line_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ImproperlyConfigured, match=r"DATA_DIR .*file.*: choose a writable folder\.$"):
        local_secret(tmp_path / "file", "api_token")


def test_a_secret_comes_from_the_file_that_name_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("A_TOKEN_FILE", str(tmp_path / "token"))

    assert Environment().str("A_TOKEN", "") == "from-a-file"


def test_a_missing_secret_file_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN_FILE", "/nowhere/token")

    with pytest.raises(ImproperlyConfigured, match="A_TOKEN_FILE"):
        Environment().str("A_TOKEN", "")


def test_all_unusable_values_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_NUMBER", "many")
    monkeypatch.setenv("A_SWITCH", "maybe")
    environment = Environment()
    environment.int("A_NUMBER", 1)
    environment.bool("A_SWITCH", default=False)

    with pytest.raises(ImproperlyConfigured, match=r"^environment: A_NUMBER: .+; A_SWITCH: .+ See \.env\.example\.$"):
        environment.check()


# -- The settings as a whole ------------------------------------------------------------------------------------------


def test_the_settings_start_with_nothing_set(tmp_path: Path) -> None:
    done = start(tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["locmem://", "False"]


def test_the_settings_read_the_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file")
    done = start(tmp_path, MIGO_TOKEN_FILE=str(tmp_path / "token"))

    assert done.stdout.split() == ["locmem://", "True"], done.stderr


def test_settings_that_cannot_be_used_end_in_one_line_that_names_each(tmp_path: Path) -> None:
    done = start(tmp_path, WARM_LIMIT="many", MIGO_API_VERSION="v3", WARM_SHARE="2")
    last = done.stderr.strip().splitlines()[-1]

    assert done.returncode != 0
    assert [name in last for name in ("WARM_LIMIT", "MIGO_API_VERSION", "WARM_SHARE")] == [True, True, True]
    assert os.fspath(tmp_path) not in last


def test_the_token_of_look_ups_cannot_be_that_of_operations(tmp_path: Path) -> None:
    done = start(tmp_path, API_TOKEN="the-same-0123456789", OPERATIONS_TOKEN="the-same-0123456789")

    assert done.returncode != 0
    assert "OPERATIONS_TOKEN is the same as API_TOKEN" in done.stderr
    assert "the-same" not in done.stderr
