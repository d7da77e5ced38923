"""copy_cache and rebalance_cache: what they do, tell and refuse."""

from collections.abc import Iterator

import pytest

from api_service.models import CopyRun
from api_service.services import copying
from api_service.services.cache_service import APICacheService
from api_service.services.leases import lease
from tests.conftest import UseCacheUrl
from tests.integration.commands.conftest import Run
from tests.servers import Memcached, Redis

pytestmark = pytest.mark.django_db

NAMES = [f"migo:ruc_{number}" for number in range(120)]


def url_of(*nodes: Memcached) -> str:
    return f"memcached://{','.join(node.address for node in nodes)}"


@pytest.fixture
def filled(memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(url_of(*memcached_cluster))
    service = APICacheService()
    assert service.set_many({name: {"x": "y" * 500} for name in NAMES}, 600) == []
    return service


@pytest.fixture
def fourth() -> Iterator[Memcached]:
    server = Memcached()
    yield server.start()
    server.close()


def test_a_copy_tells_its_numbers_and_its_proof(run: Run, filled: APICacheService, redis_server: Redis) -> None:
    ended = run("copy_cache", "--to", redis_server.url, "--json")

    assert ended.code == 0
    assert {name: ended.json[name] for name in ("found", "copied", "already_there", "missing", "checked")} == {
        "found": 120,
        "copied": 120,
        "already_there": 0,
        "missing": 0,
        "checked": 120,
    }
    assert ended.json["verdicts"] == {"same": 120}
    stored = CopyRun.objects.get(pk=ended.json["run"])
    assert (stored.state, stored.copied, stored.purpose) == ("done", 120, "copy")


def test_people_read_the_same_in_a_table(run: Run, filled: APICacheService, redis_server: Redis) -> None:
    ended = run("copy_cache", "--to", redis_server.url)

    assert ended.code == 0
    assert all(node in ended.out for node in filled.adapter.nodes())
    assert "values compared: same 120" in ended.out


def test_a_dry_run_only_counts(run: Run, filled: APICacheService, redis_server: Redis) -> None:
    ended = run("copy_cache", "--to", redis_server.url, "--dry-run", "--json")

    assert (ended.code, ended.json["found"], ended.json["dry_run"]) == (0, 120, True)
    assert ended.json["bytes"] > 120 * 500
    assert sum(load["keys"] for load in ended.json["target_nodes"].values()) == 120
    assert redis_server.ask("DBSIZE") == ":0\r\n"
    assert CopyRun.objects.count() == 0
    assert "120 keys would be copied" in run("copy_cache", "--to", redis_server.url, "--dry-run").out


def test_the_url_may_come_from_the_environment_and_is_shown_nowhere(
    run: Run, filled: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW_CACHE", redis_server.url.replace("://", "://:hidden-word@"))
    ended = run("copy_cache", "--to-env", "NEW_CACHE", "--json")

    # A server without a password takes any
    assert (ended.code, ended.json["copied"]) == (0, 120)
    assert "hidden-word" not in ended.err + ended.out
    assert "hidden-word" not in str(CopyRun.objects.values())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "required"),
        (("--to", "locmem://"), "one process"),
        (("--to", "memcached://"), "names no memcached node"),
        (("--to", "http://:hidden-word@x"), "not usable"),
        (("--to", "redis://:hidden-word@host:port/0"), "cannot be read"),
        (("--to", "memcached://127.0.0.1:1"), "does not answer"),
        (("--to-env", "NOT_THERE"), "NOT_THERE is empty"),
        (("--to", "memcached://127.0.0.1:1", "--sample", "-1"), "--sample"),
        (("--to", "memcached://127.0.0.1:1", "--to-env", "X"), "not allowed"),
    ],
)
@pytest.mark.parametrize("command", ["copy_cache", "rebalance_cache"])
def test_what_cannot_be_done_ends_with_two_and_changes_nothing(
    run: Run, filled: APICacheService, command: str, args: tuple[str, ...], said: str
) -> None:
    ended = run(command, *args, *(["--fill"] if command == "rebalance_cache" else []))

    assert ended.code in {1, 2}  # argparse's own errors are Django's CommandError when called from code
    assert (ended.code == 1) == (said in {"required", "not allowed"})
    assert ended.out == ""
    if command == "copy_cache" or "redis" not in str(args):
        assert said in ended.err
    assert "hidden-word" not in ended.err
    assert CopyRun.objects.count() == 0


def test_the_cache_in_use_is_no_target(run: Run, filled: APICacheService, memcached_cluster: list[Memcached]) -> None:
    ended = run("copy_cache", "--to", url_of(memcached_cluster[1]))
    assert (ended.code, "rebalance_cache" in ended.err) == (2, True)


def test_a_copy_under_way_is_not_disturbed(
    run: Run, filled: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PATIENCE", 0.0)
    with lease(copying.LOCK, 30, 0):
        ended = run("copy_cache", "--to", redis_server.url)
    assert (ended.code, ended.out, "under way" in ended.err) == (2, "", True)


def test_a_copy_that_is_not_whole_ends_with_one_and_says_why(
    run: Run, own_cluster: list[Memcached], redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(*own_cluster))
    APICacheService().set_many(dict.fromkeys(NAMES, 1), 600)
    own_cluster[1].kill()
    ended = run("copy_cache", "--to", redis_server.url, "--json")

    assert (ended.code, ended.json["state"]) == (1, "failed")
    assert own_cluster[1].address in ended.err
    assert "same command" in ended.err


def test_values_that_are_too_large_there_end_with_one(
    run: Run, redis_server: Redis, memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(redis_server.url)
    APICacheService().set_many({"migo:ruc_1": "x" * 1_100_000, "migo:ruc_2": 1}, 600)
    ended = run("copy_cache", "--to", memcached.url, "--json")

    assert (ended.code, ended.json["skipped"], ended.json["copied"]) == (1, {"too_large": 1}, 1)
    assert "1 keys too_large" in ended.err


def test_an_interrupted_copy_says_how_it_goes_on(
    run: Run, filled: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(copying, "prove", interrupt)
        ended = run("copy_cache", "--to", redis_server.url)
    again = run("copy_cache", "--to", redis_server.url, "--json")

    assert (ended.code, "goes on" in ended.err) == (1, True)
    assert (again.code, again.json["missing"]) == (0, 0)


# -- other nodes


def test_a_plan_shows_what_moves_and_moves_nothing(
    run: Run, filled: APICacheService, memcached_cluster: list[Memcached], fourth: Memcached
) -> None:
    ended = run("rebalance_cache", "--to", url_of(*memcached_cluster, fourth), "--json")
    moving, nodes = ended.json["moving"], ended.json["nodes"]

    assert ended.code == 0
    assert ended.json["total"]["keys"] == 120 == sum(node["then"]["keys"] for node in nodes.values())
    assert 0.1 < moving["share_of_keys"] < 0.45
    assert moving["share_of_keys"] == pytest.approx(moving["share_of_bytes"], abs=0.05)
    assert nodes[fourth.address]["then"]["keys"] == moving["keys"]
    assert nodes[fourth.address]["now"] == {"keys": 0, "bytes": 0}
    assert (ended.json["fill"], CopyRun.objects.count(), fourth.stats()["curr_items"]) == (None, 0, "0")
    assert "keys move" in run("rebalance_cache", "--to", url_of(*memcached_cluster, fourth)).out


def test_filling_brings_the_keys_and_says_what_is_next(
    run: Run, filled: APICacheService, memcached_cluster: list[Memcached], fourth: Memcached, use_cache_url: UseCacheUrl
) -> None:
    url = url_of(*memcached_cluster, fourth)
    ended = run("rebalance_cache", "--to", url, "--fill")
    use_cache_url(url)

    assert ended.code == 0
    assert f"CACHE_URL={url}" in ended.out
    assert len(APICacheService().get_many(NAMES)) == 120
    assert CopyRun.objects.get().purpose == "move"


def test_a_node_that_leaves_hands_its_keys_on(
    run: Run, filled: APICacheService, memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    url = url_of(*memcached_cluster[:2])
    ended = run("rebalance_cache", "--to", url, "--fill", "--json")
    use_cache_url(url)

    leaving = ended.json["nodes"][memcached_cluster[2].address]
    assert leaving["now"]["keys"] == ended.json["moving"]["keys"] == ended.json["fill"]["copied"] > 0
    assert leaving["then"]["keys"] == 0
    assert len(APICacheService().get_many(NAMES)) == 120


def test_only_memcached_nodes_can_be_changed(run: Run, filled: APICacheService, redis_server: Redis) -> None:
    ended = run("rebalance_cache", "--to", redis_server.url)
    assert (ended.code, "copy_cache" in ended.err) == (2, True)
