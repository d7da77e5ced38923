"""clear_cache: counts, asks, clears exactly what was named, resumes, and says what it did."""

import io
import sys
from threading import Event

import pytest

from api_service.models import ClearRun, StoredAnswer
from api_service.services.cache_service import APICacheService
from api_service.services.locks import run_lock
from api_service.services.migo_service import MigoAPIService
from tests.conftest import UseCacheUrl
from tests.integration.commands.conftest import Heard, Run
from tests.migo_fixtures import known_rucs
from tests.servers import Memcached

pytestmark = pytest.mark.usefixtures("migo")


class Terminal(io.StringIO):
    """Somebody who can be asked, and answers this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def filled(migo: MigoAPIService) -> APICacheService:
    cache = APICacheService()
    for ruc in known_rucs(4):
        cache.set_ruc(ruc, {"ruc": ruc})
    cache.set(cache.get_service_cache_key("nubefact", "doc_1"), {"x": 1})
    return cache


def test_exactly_one_service_is_cleared(run: Run, filled: APICacheService) -> None:
    ended = run("clear_cache", "--service", "migo", "--yes", "--json")
    assert (ended.code, ended.json["found"], ended.json["removed"]) == (0, 4, 4)
    assert filled.get_ruc(known_rucs(1)[0]) is None
    assert filled.get("nubefact:doc_1") == {"x": 1}


def test_a_dry_run_only_counts(run: Run, filled: APICacheService) -> None:
    ended = run("clear_cache", "--service", "migo", "--dry-run", "--json")
    assert (ended.code, ended.json["found"], ended.json["removed"]) == (0, 4, 0)
    assert filled.get_ruc(known_rucs(1)[0]) is not None


def test_where_nobody_can_be_asked_nothing_is_removed_without_yes(
    run: Run, filled: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    ended = run("clear_cache", "--service", "migo")
    assert (ended.code, "--yes" in ended.err) == (2, True)
    assert filled.get_ruc(known_rucs(1)[0]) is not None


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, False), ("sí", 0, False), ("", 2, True), ("no", 2, True)]
)
def test_at_a_terminal_it_asks_and_says_how_many_first(
    run: Run, filled: APICacheService, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    ended = run("clear_cache", "--service", "migo")
    assert (ended.code, "4 keys of migo" in ended.err) == (code, True)
    assert (filled.get_ruc(known_rucs(1)[0]) is not None) is left


def test_a_service_without_keys_is_said_to_have_none(run: Run, filled: APICacheService) -> None:
    ended = run("clear_cache", "--service", "sunat", "--yes")
    assert (ended.code, "No keys of sunat" in ended.out) == (0, True)
    assert filled.get("nubefact:doc_1") == {"x": 1}


@pytest.mark.parametrize("name", ["", "MIGO", "mi go", "*", "migo:ruc"])
def test_a_name_that_cannot_be_a_service_clears_nothing(run: Run, filled: APICacheService, name: str) -> None:
    ended = run("clear_cache", "--service", name, "--yes")
    assert (ended.code, "service name" in ended.err) == (2, True)
    assert filled.get_ruc(known_rucs(1)[0]) is not None


@pytest.mark.parametrize("option", ["--kind", "--pattern"])
def test_a_variable_that_is_not_set_does_not_clear_the_whole_service(
    run: Run, filled: APICacheService, option: str
) -> None:
    ended = run("clear_cache", "--service", "migo", option, "", "--yes")
    assert (ended.code, f"{option} is empty" in ended.err) == (2, True)
    assert filled.get_ruc(known_rucs(1)[0]) is not None


def test_a_dead_node_makes_the_clearing_partial(
    run: Run, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[0].kill()
    ended = run("clear_cache", "--service", "migo", "--yes", "--json")
    assert (ended.code, ended.json["nodes_failed"]) == (1, 1)


def test_kinds_and_patterns_narrow_it_down(run: Run, filled: APICacheService) -> None:
    filled.add_invalid_ruc("20100000001")
    first = known_rucs(1)[0]
    assert run("clear_cache", "--service", "migo", "--kind", "invalid", "--yes", "--json").json["removed"] == 1
    ended = run("clear_cache", "--service", "migo", "--kind", "ruc", "--pattern", f"{first[:10]}?", "--yes", "--json")
    assert (ended.code, ended.json["removed"], ended.json["kinds"]) == (0, 1, {"ruc": 1})
    assert [filled.get_ruc(ruc) is None for ruc in known_rucs(4)] == [True, False, False, False]


@pytest.mark.parametrize("args", [("--kind", "ruc_2010"), ("--pattern", "ñ*"), ("--kind", "r*")])
def test_what_no_key_is_called_is_refused(run: Run, filled: APICacheService, args: tuple[str, str]) -> None:
    ended = run("clear_cache", "--service", "migo", *args, "--yes")
    assert (ended.code, args[0].lstrip("-") in ended.err) == (2, True)
    assert ClearRun.objects.count() == 0


def test_the_question_comes_with_counts_by_kind_and_node(
    run: Run, filled: APICacheService, memcached: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.add_invalid_ruc("20100000001")
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    lines = run("clear_cache", "--service", "migo").err.splitlines()
    assert [line.split() for line in lines if line.startswith(("ruc ", "invalid ", memcached.address))] == [
        ["ruc", "4"],
        ["invalid", "1"],
        [memcached.address, "done", "5", "0"],
    ]


def test_where_there_is_nothing_nobody_is_asked(
    run: Run, filled: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    ended = run("clear_cache", "--service", "sunat")
    assert (ended.code, "Continue?" in ended.err) == (0, False)


def test_a_service_without_keys_is_told_which_services_there_are(run: Run, filled: APICacheService) -> None:
    assert "Services with keys: migo (4), nubefact (1)" in run("clear_cache", "--service", "mingo", "--yes").out
    ended = run("clear_cache", "--service", "mingo", "--yes", "--json")
    assert ended.json["services_with_keys"] == {"migo": 4, "nubefact": 1}


def test_stored_answers_stay_and_the_output_says_so_unless_they_are_to_go(run: Run, migo: MigoAPIService) -> None:
    migo.consultar_ruc_masivo(known_rucs(3))
    ended = run("clear_cache", "--service", "migo", "--yes")
    assert "served again for free" in ended.out
    assert StoredAnswer.objects.count() == 3
    ended = run("clear_cache", "--service", "migo", "--with-answers", "--yes", "--json")
    assert (ended.code, ended.json["answers_found"], ended.json["answers_removed"]) == (0, 3, 3)
    assert StoredAnswer.objects.count() == 0


def test_who_cleared_is_on_record(run: Run, filled: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "mirona")
    number = run("clear_cache", "--service", "migo", "--yes", "--json").json["run"]
    row = ClearRun.objects.get(pk=number)
    assert (row.requested_by, row.via, row.service, row.removed) == ("mirona", "command", "migo", 4)


def test_a_clearing_that_failed_is_resumed_by_its_number(
    run: Run, own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    use_cache_url("memcached://" + ",".join(node.address for node in own_cluster))
    own_cluster[0].kill()
    failed = run("clear_cache", "--service", "migo", "--yes", "--json")
    number = str(failed.json["run"])
    assert f"clear_cache --resume {number}" in failed.err
    assert own_cluster[0].address in failed.err
    assert run("clear_cache", "--resume", number).code == 1
    own_cluster[0].restart()
    ended = run("clear_cache", "--resume", number, "--json")
    assert (ended.code, ended.json["state"], ended.json["nodes_failed"]) == (0, "done", 0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--service"),
        (("--resume", "99999"), "no clearing 99999"),
        (("--resume", "1", "--service", "migo"), "leave --service"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Run, args: tuple[str, ...], said: str) -> None:
    ended = run("clear_cache", *args, "--yes")
    assert (ended.code, said in ended.err) == (2, True)


def test_a_clearing_beside_another_of_the_service_is_refused(run: Run, filled: APICacheService) -> None:
    with run_lock("clear:migo", 60):
        ended = run("clear_cache", "--service", "migo", "--yes")
    assert (ended.code, "another clearing of migo is under way" in ended.err) == (2, True)
    assert filled.get_ruc(known_rucs(1)[0]) is not None


def test_a_long_clearing_tells_how_far_it_is(
    run: Run, filled: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api_service.management import base
    from api_service.services import clear_nodes

    monkeypatch.setattr(base, "PROGRESS_SECONDS", 0.02)
    monkeypatch.setattr(clear_nodes, "TELL_SECONDS", 0.02)
    adapter, remove, said = type(filled.adapter), filled.adapter.remove, Event()

    def slow(_self: object, node: str, keys: list[str]) -> int:
        said.wait(60)
        return remove(node, keys)

    monkeypatch.setattr(adapter, "remove", slow)
    heard = Heard("4 keys found, 0 removed", said.set)
    ended = run("clear_cache", "--service", "migo", "--yes", "--json", err=heard)
    assert "4 keys found, 0 removed, 0 of 1 nodes done" in ended.err
    assert ended.json["removed"] == 4
