"""warm_rucs and track_keys: what they do to a real cache, and when they refuse."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from api_service.models import TrackedKey, TrackRun, WarmRun
from api_service.services import key_table, track_runs
from api_service.services.backends.memcached_dump import DUMP_LOCK
from api_service.services.cache_service import APICacheService
from api_service.services.locks import run_lock
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import provider
from tests.conftest import UseCacheUrl
from tests.integration.commands.conftest import Heard, Run
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, known_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from workers import tasks

pytestmark = pytest.mark.usefixtures("migo")


# -- warming


def test_named_rucs_are_loaded_once_and_left_alone_while_fresh(run: Run, sandbox: RunningSandbox) -> None:
    first, second = run("warm_rucs", RUC, "20-13131295-5", "--json"), run("warm_rucs", RUC, SUNAT, "--json")
    assert (first.code, first.json["refreshed"], first.json["paid"]) == (0, 2, 2)
    assert (second.code, second.json["skipped"]) == (0, {"fresh": 2})
    assert APICacheService().get_ruc(RUC)["ruc"] == RUC
    assert sandbox.billed == 2


def test_a_run_by_hand_has_the_name_of_who_started_it_and_that_of_the_schedule_none(run: Run) -> None:
    run("warm_rucs", RUC, "--budget", "0")
    warm: Any = tasks.warm_frequent_rucs
    warm(rucs=[RUC], budget=0, requested_by="mirona")
    warm()
    by_hand, from_admin, scheduled = WarmRun.objects.order_by("pk").values_list("requested_by", flat=True)
    assert by_hand
    assert (from_admin, scheduled) == ("mirona", "")


def test_a_dry_run_pays_and_loads_nothing(run: Run, sandbox: RunningSandbox) -> None:
    ended = run("warm_rucs", RUC, "--dry-run", "--json")
    assert (ended.code, ended.json["due"], ended.json["refreshed"]) == (0, 1, 0)
    assert sandbox.log == []
    assert APICacheService().get_ruc(RUC) is None


def test_rucs_come_from_a_file_and_from_stdin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rucs.txt"
    path.write_text(f"# customers\n{RUC}\n\n {SUNAT}  # SUNAT\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{known_rucs(1)[0]}\n"))
    assert run("warm_rucs", "--file", str(path), "--json").json["refreshed"] == 2
    assert run("warm_rucs", "--file", "-", "--json").json["refreshed"] == 1


def test_the_budget_bounds_what_is_paid(run: Run, sandbox: RunningSandbox) -> None:
    ended = run("warm_rucs", *known_rucs(5), "--budget", "2", "--json")
    assert ended.json["paid"] == sandbox.billed == 2
    assert ended.json["skipped"] == {"over_budget": 3}


@pytest.mark.parametrize(
    "args",
    [(IMPOSSIBLE,), ("--limit", "-1"), ("--budget", "-1"), ("--file", "no/such/file"), ("--file", "/dev/null")],
    ids=["ruc", "limit", "budget", "no file", "empty file"],
)
def test_what_cannot_be_done_ends_with_two_and_does_nothing(
    run: Run, sandbox: RunningSandbox, args: tuple[str, ...]
) -> None:
    ended = run("warm_rucs", *args)
    assert (ended.code, ended.out) == (2, "")
    assert args[-1].lstrip("-") in ended.err
    assert (WarmRun.objects.count(), sandbox.log) == (0, [])


def test_a_failing_apimigo_ends_with_one_and_says_why(run: Run, sandbox: RunningSandbox) -> None:
    sandbox.switch(script=["401"])
    ended = run("warm_rucs", RUC, "--json")
    assert (ended.code, ended.json["failed"]) == (1, 1)
    assert "upstream_auth_refused" in ended.err


@pytest.mark.parametrize(("command", "lock"), [("warm_rucs", "warm_frequent_rucs"), ("track_keys", "track_keys")])
def test_a_run_of_the_worker_is_not_disturbed(run: Run, command: str, lock: str) -> None:
    with run_lock(lock, 60):
        ended = run(command, "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "lock" in ended.err
    assert WarmRun.objects.count() + TrackRun.objects.count() == 0
    assert run(command, "--json").code == 0


def test_long_work_tells_how_far_it_is(
    run: Run, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    from api_service.management import base

    monkeypatch.setattr(base, "PROGRESS_SECONDS", 0.05)
    settings.MIGO_READ_TIMEOUT = settings.MIGO_DEADLINE = 90.0
    provider.cache_clear()
    sandbox.switch(latency=60.0)
    # Which lets APIMIGO answer
    heard = Heard("0 refreshed", sandbox.reset)
    ended = run("warm_rucs", RUC, "--json", err=heard)
    assert "0 refreshed" in ended.err
    assert ended.json["refreshed"] == 1


# -- the inventory


def test_keys_are_recorded_by_service_and_others_only_counted(
    run: Run, migo: MigoAPIService, memcached: Memcached
) -> None:
    migo.consultar_ruc_masivo([*known_rucs(5), IMPOSSIBLE])
    memcached.ask("set session:abc 0 0 1\r\nx")
    ended = run("track_keys", "--json")
    assert ended.code == 0
    assert ended.json.keys() == {"run", "state", "error", "services", "nodes", "foreign", "keys"}
    assert ended.json["nodes"] == {memcached.address: {"ok": True, "keys": 6, "error": ""}}
    found = ended.json["services"]["migo"]
    assert (found["keys"], found["created"], found["removed"], found["expired"]) == (6, 6, 0, 0)
    assert (found["expired_unread"], sum(found["lives"].values()), found["bytes"] > 0) == (0, 6, True)
    assert sum(ended.json["foreign"].values()) == 1
    assert TrackedKey.objects.filter(state="active").count() == 6


def test_the_text_has_a_line_for_each_node_and_each_service(
    run: Run, migo: MigoAPIService, memcached: Memcached
) -> None:
    migo.consultar_ruc_masivo(known_rucs(5))
    out = run("track_keys").out
    assert f"{memcached.address}  5     ok" in out
    assert out.splitlines()[4].split()[:2] == ["migo", "5"]


@pytest.mark.django_db(transaction=True)
def test_a_long_inventory_tells_how_far_each_node_is(
    run: Run, memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api_service.management import base

    monkeypatch.setattr(base, "PROGRESS_SECONDS", 0.05)
    # Somebody else lists the node until then
    assert memcached.ask(f"add {DUMP_LOCK} 0 60 1\r\nx").startswith("STORED")
    heard = Heard(f"{memcached.address} 0 keys, running", lambda: memcached.ask(f"delete {DUMP_LOCK}"))
    ended = run("track_keys", "--json", err=heard)
    assert f"{memcached.address} 0 keys, running" in ended.err
    assert ended.code == 0


def test_a_node_that_cannot_be_listed_ends_with_one(
    run: Run, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[2].kill()
    ended = run("track_keys", "--json")
    assert (ended.code, ended.json["nodes"][own_cluster[2].address]["ok"]) == (1, False)
    assert own_cluster[2].address in ended.err
    assert ended.json["state"] == tasks.track_keys()["state"] == "failed"


def closed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the node is listed, another run that holds the lock by now closes this one."""
    whole = key_table.record

    def slow(*args: Any) -> key_table.Recorded:
        track_runs.close_left()
        return whole(*args)

    monkeypatch.setattr(key_table, "record", slow)


def test_an_inventory_that_another_run_closed_is_none(
    run: Run, migo: MigoAPIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_by_another(monkeypatch)
    ended = run("track_keys", "--json")
    assert (ended.code, ended.json["state"], ended.json["error"]) == (1, "failed", track_runs.INTERRUPTED)
    assert track_runs.INTERRUPTED in ended.err
    result = tasks.track_keys()
    assert (result["state"], result["error"]) == ("failed", track_runs.INTERRUPTED)
