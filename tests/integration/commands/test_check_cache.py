"""check_cache and cache_stats: what they see, what they print, how they end."""

import os
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError, connections

from api_service.models import HealthSample
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.integration.commands.conftest import Run
from tests.migo_fixtures import IMPOSSIBLE, known_rucs
from tests.project_process import run_project
from tests.servers import Memcached, Redis


@pytest.fixture
def three(db: None, memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> list[Memcached]:
    use_cache_url("memcached://" + ",".join(node.address for node in memcached_cluster))
    return memcached_cluster


@pytest.fixture
def own_three(db: None, own_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> list[Memcached]:
    """For tests that kill a node: what a process knows of a dead one outlives the test."""
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    return own_cluster


def test_a_healthy_cache_ends_with_zero_and_stores_nothing(run: Run, three: list[Memcached]) -> None:
    ended = run("check_cache", "--json")
    assert (ended.code, ended.json["status"]) == (0, "healthy")
    assert [node["node"] for node in ended.json["nodes"]] == [node.address for node in three]
    assert HealthSample.objects.count() == 0


def test_a_dead_node_is_named_and_ends_with_one(run: Run, own_three: list[Memcached]) -> None:
    own_three[1].kill()
    as_json, as_text = run("check_cache", "--json"), run("check_cache")
    assert (as_json.code, as_text.code) == (1, 1)
    assert [(f["code"], f["node"]) for f in as_json.json["findings"]] == [("node_down", own_three[1].address)]
    line = next(line for line in as_text.out.splitlines() if line.startswith(own_three[1].address))
    assert "DOWN" in line
    assert "unhealthy" in as_text.err


def test_store_keeps_the_sample_and_the_next_check_sees_a_restart(run: Run, own_three: list[Memcached]) -> None:
    stored = run("check_cache", "--store", "--json")
    assert HealthSample.objects.get().pk == stored.json["sample"]
    own_three[0].restart()
    again = run("check_cache", "--json")
    assert (again.code, again.json["status"]) == (0, "warning")
    assert [finding["code"] for finding in again.json["findings"]] == ["node_restarted"]


def test_the_cache_is_checked_without_a_database_too(run: Run, three: list[Memcached]) -> None:
    with patch.object(connections["default"], "cursor", autospec=True, side_effect=OperationalError("gone")):
        ended = run("check_cache", "--json")
        stored = run("check_cache", "--store")
    assert (ended.code, ended.json["status"]) == (0, "healthy")
    assert "Not compared" in ended.err
    assert (stored.code, "database" in stored.err) == (2, True)


def test_redis_is_checked_the_same_way(run: Run, db: None, redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    ended = run("check_cache", "--json")
    assert (ended.code, ended.json["backend"], len(ended.json["nodes"])) == (0, "redis", 1)


def test_the_exit_code_reaches_the_shell(own_three: list[Memcached], tmp_path: Path) -> None:
    addresses = ",".join(node.address for node in own_three)
    env = {**os.environ, "CACHE_URL": f"memcached://{addresses}", "DATA_DIR": str(tmp_path)}
    env["DATABASE_URL"] = f"sqlite:///{tmp_path / 'db.sqlite3'}"

    def shell(*args: str) -> subprocess.CompletedProcess[str]:
        return run_project("manage.py", *args, env=env)

    fine, wrong = shell("check_cache"), shell("check_cache", "--bogus")
    own_three[2].kill()
    assert (fine.returncode, wrong.returncode, shell("check_cache").returncode) == (0, 2, 1)
    assert "Traceback" not in fine.stderr + wrong.stderr


# -- statistics


def test_statistics_count_keys_services_and_invalid_rucs(run: Run, three: list[Memcached]) -> None:
    cache = APICacheService()
    for ruc in known_rucs(30):
        cache.set_ruc(ruc, {"ruc": ruc})
    cache.add_invalid_ruc(IMPOSSIBLE, "FORMATO_INVALIDO")
    cache.set(cache.get_service_cache_key("nubefact", "doc_1"), {"x": 1})
    ended = run("cache_stats", "--json")
    assert ended.code == 0
    assert {name: row["keys"] for name, row in ended.json["services"].items()} == {"migo": 31, "nubefact": 1}
    assert ended.json["invalid_rucs"]["breakdown_by_reason"] == {"FORMATO_INVALIDO": 1}
    assert "migo" in run("cache_stats").out


def test_statistics_without_a_node_are_partial_and_say_which(run: Run, own_three: list[Memcached]) -> None:
    own_three[0].kill()
    ended = run("cache_stats")
    assert ended.code == 1
    assert own_three[0].address in ended.err


# -- a cache that only the server sees


@pytest.mark.parametrize(
    "command",
    [
        ("check_cache",),
        ("cache_stats",),
        ("warm_rucs",),
        ("track_keys",),
        ("clear_cache", "--service", "migo", "--yes"),
    ],
    ids=lambda command: command[0],
)
def test_a_cache_of_the_servers_own_process_is_not_looked_at(
    run: Run, db: None, use_cache_url: UseCacheUrl, command: tuple[str, ...]
) -> None:
    use_cache_url("locmem://")
    ended = run(*command, "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "in its own memory" in ended.err


@pytest.mark.parametrize(
    "command", ["check_cache", "cache_stats", "warm_rucs", "track_keys", "clear_cache", "demo_traffic"]
)
def test_the_help_names_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str], run: Run) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(command, "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 fine, 1" in text
    assert "--json" in text
