"""The main job, end to end: real servers, real processes, and every byte that leaves them looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.stack import API_TOKEN, FLOWER_PASSWORD, MIGO_TOKEN, SECRET_KEY, Stack, call
from tests.http_catcher import HttpCatcher
from tests.rucs import REAL
from tests.sandbox_fixture import RunningSandbox, sandbox_server  # noqa: F401 - a fixture
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

# One stack for all: on one process of pytest-xdist
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("main-job")]

RUC = REAL[0]


@pytest.fixture(scope="module")
def catcher() -> Iterator[HttpCatcher]:
    with HttpCatcher() as running:
        yield running


@pytest.fixture(scope="module")
def memcached_node() -> Iterator[Memcached]:
    server = Memcached()
    yield server.start()
    server.close()


@pytest.fixture(scope="module")
def sandbox_api(sandbox_server: Any) -> RunningSandbox:  # noqa: F811
    sandbox = RunningSandbox(sandbox_server.url)
    sandbox.reset()
    return sandbox


@pytest.fixture(scope="module")
def database_url(_shared_postgres: Postgres) -> str:
    return _shared_postgres.new_database()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    _shared_redis: Redis,
    database_url: str,
    memcached_node: Memcached,
    catcher: HttpCatcher,
    sandbox_api: RunningSandbox,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    running = Stack(folder, _environment(folder, _shared_redis, database_url, memcached_node, catcher, sandbox_api))
    running.start()
    yield running
    codes = running.stop()
    assert codes == dict.fromkeys(running.processes, 0), running.everything_printed()[-3000:]


def _environment(
    folder: Path, redis: Redis, database_url: str, memcached: Memcached, catcher: HttpCatcher, sandbox: RunningSandbox
) -> dict[str, str]:
    token_file = folder / "migo-token"
    token_file.write_text(MIGO_TOKEN + "\n")
    return {
        "DATA_DIR": str(folder / "data"),
        "SECRET_KEY": SECRET_KEY,
        "API_TOKEN": API_TOKEN,
        "FLOWER_BASIC_AUTH": f"admin:{FLOWER_PASSWORD}",
        "DATABASE_URL": database_url,
        "CACHE_URL": f"memcached://{memcached.address}",
        "CACHE_RETRY_INTERVAL": "0.5",
        "CELERY_BROKER_URL": f"redis://{redis.address}/5",
        "MIGO_TOKEN_FILE": str(token_file),
        "MIGO_BASE_URL": f"{sandbox.url}/api/v1",
        "SLACK_WEBHOOK_URL": catcher.slack_webhook_url,
        "SENTRY_DSN": catcher.sentry_dsn,
        "READ_FLUSH_SECONDS": "1",
        # What the tests of one process are spared: all of it is here, and waited for as long as may be
        "HEALTH_AROUND_SECONDS": "30",
        "HEALTH_WORKERS_SECONDS": "10",
        "SCHEDULES": "fast",
    }


def test_a_look_up_is_paid_once_and_then_answered_by_the_cache(stack: Stack, sandbox_api: RunningSandbox) -> None:
    fresh = REAL[4]
    first, second = stack.look_up(fresh), stack.look_up(fresh)

    assert (first.status, second.status) == (200, 200)
    assert first.json()["ruc"] == second.json()["ruc"] == fresh
    assert [entry["rucs"] for entry in sandbox_api.log].count([fresh]) == 1
    assert int(second.headers["Age"]) >= 0
    assert call(f"{stack.web}/api/v1/ruc/{RUC}").status == 401


def test_flower_starts_every_task_and_shows_a_readable_result(stack: Stack) -> None:
    for _ in range(3):
        stack.look_up(RUC)

    health = stack.run_task("monitor_cache_health")
    tracked = stack.run_task("track_keys")
    warmed = stack.run_task("warm_frequent_rucs", limit=500, budget=200, rucs=[REAL[1], REAL[2]], dry_run=False)
    delivered = stack.run_task("deliver_alerts")
    cleaned = stack.run_task("clean_up")

    assert (health["state"], health["result"]["status"]) == ("SUCCESS", "healthy")
    assert tracked["result"]["services"]["migo"]["keys"] >= 1
    assert (warmed["result"]["state"], warmed["result"]["refreshed"], warmed["result"]["paid"]) == ("done", 2, 2)
    assert delivered["state"] == cleaned["state"] == "SUCCESS"
    assert stack.look_up(REAL[1]).json()["cache"]["source"] == "cache"


def test_a_run_sees_broker_workers_and_stores_as_well(stack: Stack) -> None:
    stack.look_up(REAL[3])
    newest = "from api_service.models import HealthSample as H; print(json.dumps(H.objects.latest('pk').around))"

    def read() -> dict[str, Any]:
        stack.run_task("monitor_cache_health")
        around: dict[str, Any] = json.loads(stack.manage("shell", "--verbosity", "0", "-c", f"import json; {newest}"))
        return around

    # What the web process counted is written in a moment
    wait_until(lambda: read()["providers"]["migo"]["answering"] is not None, 60, message="the calls of the web process")
    around = read()

    assert [name for name, facts in around.items() if "error" in facts] == []
    assert around["workers"]["queues"] == dict.fromkeys(("default", "health", "tracking", "warming"), 1)
    assert (around["broker"]["reachable"], set(around["broker"]["queues"])) == (True, set(around["workers"]["queues"]))
    assert around["providers"]["migo"]["answering"] is True
    assert around["database"]["vendor"] == "postgresql"
    # Not in these few seconds, but it was counted
    assert around["stale"]["lookups"]["services"]["migo"] >= 1


@pytest.mark.parametrize(
    ("task", "arguments", "named"),
    [
        ("warm_frequent_rucs", {"budget": "many"}, "budget"),
        ("warm_frequent_rucs", {"rucs": ["20123456789"]}, "rucs"),
        ("warm_frequent_rucs", {"limit": -1}, "limit"),
        ("warm_frequent_rucs", {"colour": "red"}, "colour"),
        ("track_keys", {"colour": "red"}, "colour"),
    ],
)
def test_bad_arguments_from_flower_end_in_one_line_that_names_them(
    stack: Stack, sandbox_api: RunningSandbox, task: str, arguments: dict[str, Any], named: str
) -> None:
    paid = sandbox_api.billed

    failed = stack.run_task(task, **arguments)

    assert failed["state"] == "FAILURE"
    assert named in failed["result"]
    assert "\n" not in failed["result"].strip()
    assert sandbox_api.billed == paid


def test_a_killed_node_is_one_alert_and_its_return_one_recovery(
    stack: Stack, memcached_node: Memcached, catcher: HttpCatcher
) -> None:
    stack.run_task("monitor_cache_health")
    slack, sentry = len(catcher.slack_messages()), len(_own_events(catcher))
    memcached_node.kill()
    try:
        down = [stack.run_task("monitor_cache_health")["result"] for _ in range(3)]
        wait_until(lambda: _told(catcher, slack + 1, sentry + 1), 30, message="the alert on both channels")
        during = stack.look_up(REAL[3])
    finally:
        memcached_node.restart()
    up = [stack.run_task("monitor_cache_health")["result"] for _ in range(2)]
    wait_until(lambda: _told(catcher, slack + 2, sentry + 2), 30, message="the recovery on both channels")
    stack.run_task("monitor_cache_health")
    stack.run_task("deliver_alerts")

    # Two bad runs make it count, two good ones end it
    assert down[-1]["status"] == "unhealthy"
    assert during.status == 200
    assert up[-1]["status"] == "healthy"
    opening, recovery = catcher.slack_messages()[slack:]
    assert memcached_node.address in str(opening)
    assert memcached_node.address in str(recovery)
    assert [event["level"] for event in _own_events(catcher)[sentry:]] == ["error", "info"]


def test_beat_runs_the_schedules_and_sentry_hears_of_each(
    stack: Stack, catcher: HttpCatcher, database_url: str
) -> None:
    def checked_in() -> set[str]:
        items = catcher.sentry_items("check_in")
        return {item.data["monitor_slug"] for item in items if item.data["status"] == "ok"}

    expected = {"monitor-cache-health", "deliver-alerts", "warm-frequent-rucs", "track-keys"}
    wait_until(lambda: expected <= checked_in(), 150, interval=0.5, message=f"check-ins: {checked_in()}")

    with psycopg.connect(database_url) as database:
        last_runs = database.execute(
            "SELECT name FROM django_celery_beat_periodictask WHERE last_run_at IS NOT NULL"
        ).fetchall()
        succeeded = database.execute(
            "SELECT name FROM api_service_schedulerun WHERE succeeded_at IS NOT NULL AND duration > 0"
        ).fetchall()
    assert expected <= {name for (name,) in last_runs}
    assert expected <= {name for (name,) in succeeded}
    # At four in the morning Celery's own clean-up checks in as well, by the SDK
    items = [item.data for item in catcher.sentry_items("check_in") if item.data["monitor_slug"] in expected]
    assert {item["monitor_slug"] for item in items if item["status"] == "in_progress"} >= expected
    assert all(item["monitor_config"]["checkin_margin"] for item in items)
    stack.manage("check_beat")
    beat = call(f"{stack.web}/health/beat")
    assert (beat.status, beat.json()["status"]) == (200, "on_time")


def test_nobody_can_start_a_task_without_flowers_password(stack: Stack) -> None:
    reply = call(f"{stack.flower}/api/task/async-apply/workers.tasks.track_keys", {"kwargs": {}})

    assert reply.status == 401
    assert call(f"{stack.flower}/workers").status == 401


def test_no_secret_left_the_processes(stack: Stack, catcher: HttpCatcher, database_url: str) -> None:
    stack.look_up(RUC)
    stack.run_task("monitor_cache_health")
    stack.manage("send_test_alert")
    webhook_path = catcher.slack_webhook_url.rpartition("/")[2]
    secrets = [MIGO_TOKEN, API_TOKEN, FLOWER_PASSWORD, SECRET_KEY]
    rows = _all_rows(database_url)
    sent_to_sentry = b"\n".join(request.content for request in catcher.received("/api/")).decode()
    sent_to_slack = b"\n".join(request.content for request in catcher.received("/services/")).decode()

    for place, text in {
        "logs": stack.everything_printed(),
        "rows": rows,
        "Sentry": sent_to_sentry,
        "Slack": sent_to_slack,
        "Flower": stack._flower("tasks").body.decode(),
    }.items():
        assert text, place
        found = [secret for secret in [*secrets, webhook_path] if secret in text]
        assert found == [], place


def _told(catcher: HttpCatcher, slack: int, sentry: int) -> bool:
    return len(catcher.slack_messages()) >= slack and len(_own_events(catcher)) >= sentry


def _own_events(catcher: HttpCatcher) -> list[dict[str, Any]]:
    """Events of our alerts: by their fingerprint."""
    events = [item.data for item in catcher.sentry_items("event")]
    return [event for event in events if "cache-alert" in event.get("fingerprint", [])]


def _all_rows(database_url: str) -> str:
    with psycopg.connect(database_url) as database:
        tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(str(database.execute(f'SELECT * FROM "{table}"').fetchall()) for (table,) in tables)
