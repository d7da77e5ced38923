"""`manage.py run_all`: what a newcomer gets from one command, and how it ends."""

import json
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.single_process import SingleProcess
from tests.environment import ROOT
from tests.processes import HOST
from tests.rucs import valid_rucs
from tests.servers import Memcached, Postgres, Redis
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("run_all")]

RUCS = ("20100038146", "20131312955", "20603274742")
MONITOR = "workers.tasks.monitor_cache_health"
METRICS_TOKEN = "metrics-token-of-one-process"
# MB, when it has started (137 was measured); after its first minute (143); and after pages with all their templates and
# charts were made in it
MEMORY_LIMIT, MEMORY_AT_WORK, MEMORY_IN_USE = 160, 180, 220
# Of one core. An idle machine is ready within 5 s; beside other tests on shared cores the same work counts double
CPU_LIMIT = 8.0

Make = Callable[..., SingleProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SingleProcess] = []

    def new(**variables: str) -> SingleProcess:
        made.append(SingleProcess(tmp_path, **variables))
        return made[-1]

    yield new
    for process in made:
        process.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleProcess]:
    """Shared by the tests that only look."""
    process = SingleProcess(tmp_path_factory.mktemp("run_all"), METRICS_TOKEN=METRICS_TOKEN)
    seconds = process.start().wait_ready()
    cpu, memory = process.cpu_seconds(), process.megabytes()
    print(f"\nrun_all, first run: ready after {seconds:.1f} s ({cpu:.1f} s of CPU), {memory} MB")
    assert cpu < CPU_LIMIT
    assert memory < MEMORY_LIMIT
    yield process
    process.close()


def rows(process: SingleProcess, table: str) -> int:
    with closing(sqlite3.connect(process.data / "db.sqlite3", timeout=20)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def ten_minutes_pass_in_the_database(process: SingleProcess) -> None:
    """All that Beat has written is older by that: one that lives would write anew within its next minute."""
    with closing(sqlite3.connect(process.data / "db.sqlite3", timeout=20)) as database:
        then = "datetime('now', '-10 minutes')"
        database.execute(f"UPDATE django_celery_beat_periodictask SET last_run_at = {then}, date_changed = {then}")
        database.commit()


# -- while it runs ----------------------------------------------------------------------------------------------------


def test_it_says_what_runs_where_what_is_made_up_and_what_to_try(running: SingleProcess) -> None:
    log = running.log
    for port in (running.web, running.flower, running.sandbox):
        assert f"http://{HOST}:{port}" in log
    assert "SANDBOX" in log
    assert "(WAL)" in log
    assert log.count("\n  curl ") == 2
    assert running.secret("api_token") not in log
    assert running.secret("flower_password") not in log


def test_the_password_it_shows_opens_the_admin(running: SingleProcess) -> None:
    with requests.Session() as browser:
        login = f"http://{HOST}:{running.web}/admin/login/"
        browser.get(login, timeout=20)
        form = {"username": "admin", "password": running.password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = browser.post(f"{login}?next=/admin/", data=form, timeout=20)
    assert answer.status_code == 200
    assert answer.url.endswith("/admin/")
    assert "logout" in answer.text


def test_look_ups_are_answered_by_the_sandbox_then_by_the_cache_and_need_the_token(running: SingleProcess) -> None:
    # One that no other test and no demo asks for
    (ruc,) = valid_rucs(1, start=77_000_000)
    answers = [running.look_up(ruc), running.look_up(ruc)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["ruc"] for answer in answers] == [ruc, ruc]
    assert [answer.json()["cache"]["source"] for answer in answers] == ["upstream", "cache"]
    assert running.get(f"/api/v1/ruc/{RUCS[0]}").status_code == 401
    assert running.megabytes() < MEMORY_IN_USE


def test_a_task_is_started_through_flower_with_its_password_only(running: SingleProcess) -> None:
    url = f"http://{HOST}:{running.flower}/api/task/async-apply/{MONITOR}"
    assert requests.post(url, json={}, timeout=20).status_code == 401
    assert requests.post(url, json={}, auth=("admin", "wrong"), timeout=20).status_code == 401
    before = rows(running, "api_service_healthsample")
    task = running.trigger(MONITOR)
    wait_until(lambda: running.task_state(task) == "SUCCESS", timeout=30, message="the task seen by Flower")
    assert rows(running, "api_service_healthsample") > before


def test_its_metrics_are_those_of_web_and_worker_together(running: SingleProcess) -> None:
    running.look_up(RUCS[0])
    task = running.trigger(MONITOR)
    wait_until(lambda: running.task_state(task) == "SUCCESS", timeout=30, message="the task seen by Flower")

    def figures() -> dict[str, float]:
        page = running.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).text
        return {name: float(value) for name, value in re.findall(r"^cache_worker_(\S+) (\S+)$", page, re.MULTILINE)}

    seen = figures()
    outcomes = ("hit", "miss")
    assert sum(seen[f'lookups_total{{kind="ruc",outcome="{o}",service="migo"}}'] for o in outcomes) >= 1
    assert seen[f'tasks_total{{outcome="success",task="{MONITOR}"}}'] >= 1
    assert seen['queue_wait_seconds_count{queue="health"}'] >= 1
    wait_until(lambda: figures()["health_sample_timestamp_seconds"] > 0, 20, 0.5, "the last run")


def test_within_a_minute_beat_and_worker_have_looked_tracked_and_warmed(make: Make) -> None:
    process = make().start()
    process.wait_ready()
    assert [process.look_up(ruc).status_code for ruc in RUCS] == [200, 200, 200]
    tables = ("api_service_healthsample", "api_service_trackedkey", "api_service_warmrun WHERE state = 'done'")
    wait_until(lambda: all(rows(process, table) for table in tables), timeout=150, interval=0.5, message=f"{tables}")
    print(f"\nrun_all, after its first minute: {process.megabytes()} MB")
    assert process.megabytes() < MEMORY_AT_WORK

    process.signal(signal.SIGTERM)
    assert process.wait_exit() == 0
    # What Beat and the read counter keep in memory is written at the stop
    assert rows(process, "django_celery_beat_periodictask WHERE total_run_count > 0") >= 4
    assert rows(process, "api_service_dailyreads WHERE reads > 0") >= len(RUCS)


def test_the_demo_command_it_shows_works_as_it_is_pasted(running: SingleProcess) -> None:
    shown = next(line.split() for line in running.log.splitlines() if "manage.py demo_traffic" in line)
    done = subprocess.run(
        [*shown, "--seconds", "1", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lookups"] > 0


def test_its_pages_and_files_come_without_collectstatic(running: SingleProcess) -> None:
    page = running.get("/admin/login/")
    styles = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
    assert page.status_code == 200
    assert styles
    assert running.get(styles[0]).status_code == 200


def test_with_real_servers_in_the_environment_the_same_command_uses_them(
    make: Make, memcached: Memcached, redis_server: Redis, postgres: Postgres
) -> None:
    url = urlsplit(postgres.new_database())
    database = url._replace(netloc=f"{url.username}:a-password-nobody-reads@{url.hostname}:{url.port}").geturl()
    process = make(
        DATABASE_URL=database, CACHE_URL=f"memcached://{memcached.address}", CELERY_BROKER_URL=redis_server.url
    ).start()
    process.wait_ready()
    assert process.look_up(RUCS[0]).status_code == 200
    assert int(memcached.stats()["curr_items"]) > 0
    task = process.trigger(MONITOR)
    wait_until(lambda: process.task_state(task) == "SUCCESS", timeout=30, message="the task over Redis")
    assert not (process.data / "db.sqlite3").exists()
    assert "PostgreSQL" in process.log
    assert "a-password-nobody-reads" not in process.log

    process.signal(signal.SIGTERM)
    assert process.wait_exit() == 0
    assert "Traceback" not in process.log


# -- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_task_finish_and_ends_cleanly(
    make: Make, tmp_path: Path, number: signal.Signals
) -> None:
    process = make(DJANGO_SETTINGS_MODULE="tests.acceptance.embedded_settings").start()
    process.wait_ready()
    process.trigger("tests.hold", folder=str(tmp_path))
    wait_until((tmp_path / "begun").exists, timeout=30, message="the task has begun")

    process.signal(number)
    wait_until(lambda: "Stopping" in process.log, timeout=30, message="the stop is announced")
    assert process.is_running
    (tmp_path / "go").touch()

    assert process.wait_exit() == 0
    assert (tmp_path / "done").exists()
    assert "Traceback" not in process.log
    for port in (process.web, process.flower, process.sandbox):
        with closing(socket.socket()) as probe:
            assert probe.connect_ex((HOST, port)) != 0


def test_a_second_signal_stops_at_once(make: Make, tmp_path: Path) -> None:
    process = make(DJANGO_SETTINGS_MODULE="tests.acceptance.embedded_settings").start()
    process.wait_ready()
    process.trigger("tests.hold", folder=str(tmp_path))
    wait_until((tmp_path / "begun").exists, timeout=30, message="the task has begun")
    process.signal(signal.SIGINT)
    # As `make` does: the same once more, at the same time
    process.signal(signal.SIGINT)
    wait_until(lambda: "Stopping" in process.log, timeout=30, message="the stop is announced")
    assert process.is_running

    def insists() -> bool:
        process.signal(signal.SIGINT)
        return not process.is_running

    wait_until(insists, timeout=30, interval=0.2, message="the end after a second Ctrl-C")
    assert process.wait_exit() == 130
    assert not (tmp_path / "done").exists()


def test_the_second_run_keeps_the_account_and_does_not_show_its_password(make: Make) -> None:
    process = make().start()
    process.wait_ready()
    password, token = process.password, process.secret("api_token")
    process.signal(signal.SIGTERM)
    assert process.wait_exit() == 0

    process.start().wait_ready()
    assert password
    assert password not in process.log
    assert process.password is None
    assert "changepassword admin" in process.log
    assert process.secret("api_token") == token
    assert process.log.count("Traceback") == 0


def test_a_beat_that_hangs_is_seen_from_outside_and_one_that_dies_ends_the_process_loudly(
    make: Make, tmp_path: Path
) -> None:
    process = make(
        DJANGO_SETTINGS_MODULE="tests.acceptance.embedded_settings",
        TEST_BEAT_SCHEDULER="tests.acceptance.held_task:BreakableScheduler",
        TEST_BREAK_BEAT=str(tmp_path),
    ).start()
    process.wait_ready()
    assert process.get("/health/beat").status_code == 200
    (tmp_path / "hang").touch()
    wait_until((tmp_path / "hanging").exists, timeout=30, message="Beat's next look")
    ten_minutes_pass_in_the_database(process)
    # It repeats what it said less than a second ago
    wait_until(lambda: process.get("/health/beat").status_code == 503, timeout=30, message="Beat is late")
    assert process.get("/health/beat").json()["code"] == "schedule_late"
    assert process.get("/health/live").status_code == 200

    (tmp_path / "break").touch()
    (tmp_path / "hang").unlink()
    assert process.wait_exit() == 1
    assert "run_all: beat ended unexpectedly" in process.log
    assert "beat was broken by the test" in process.log


# -- what stops it from starting --------------------------------------------------------------------------------------


def refused(process: SingleProcess) -> str:
    """The one line it said instead of starting."""
    assert process.start().wait_exit() != 0
    lines = process.log.strip().splitlines()
    assert len(lines) == 1, process.log
    return lines[0]


@pytest.mark.parametrize("part", ["web", "flower", "sandbox"])
def test_a_taken_port_is_named_with_the_variable_that_changes_it(make: Make, part: str) -> None:
    process = make()
    with closing(socket.socket()) as taken:
        taken.bind((HOST, getattr(process, part)))
        taken.listen()
        line = refused(process)
    assert f"Port {getattr(process, part)} for {part}" in line
    assert f"{part.upper()}_PORT=" in line
    assert not (process.data / "db.sqlite3").exists()


@pytest.mark.parametrize("own_secrets", [False, True])
def test_a_folder_that_cannot_be_written_is_named(make: Make, own_secrets: bool) -> None:
    secrets = {"SECRET_KEY": "k" * 50, "API_TOKEN": "t" * 20, "FLOWER_BASIC_AUTH": "admin:long-enough"}
    line = refused(make(DATA_DIR="/dev/null/data", **(secrets if own_secrets else {})))
    assert "DATA_DIR /dev/null/data" in line
    assert "writable" in line or "cannot be written" in line


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WEB_PORT": "eighty"}, "WEB_PORT"),
        ({"SCHEDULES": "often"}, "SCHEDULES"),
        ({"CACHE_URL": "mongodb://127.0.0.1"}, "CACHE_URL"),
        ({"MIGO_API_VERSION": "v3"}, "MIGO_API_VERSION"),
        ({"MIGO_BASE_URL": "https://example.org/api/v1"}, "MIGO_TOKEN"),
        ({"FLOWER_BASIC_AUTH": "admin"}, "FLOWER_BASIC_AUTH"),
        ({"WEB_HOST": "no.such.host.invalid"}, "WEB_HOST"),
        ({"CELERY_BROKER_URL": "redis://127.0.0.1:1/0", "CACHE_URL": "redis://127.0.0.1:1/1"}, "CELERY_BROKER_URL"),
        ({"DATABASE_URL": "postgres://user:pass-word@127.0.0.1:1/none"}, "DATABASE_URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(make: Make, variables: dict[str, str], named: str) -> None:
    process = make(**variables)
    assert process.start().wait_exit() != 0
    last = process.log.strip().splitlines()[-1]
    assert named in last
    assert "Traceback" not in process.log
    assert "pass-word" not in process.log


def test_a_second_run_on_the_same_folder_is_refused(make: Make) -> None:
    first = make().start()
    first.wait_ready()
    line = refused(SingleProcess(first.folder / "second", DATA_DIR=str(first.data)))
    assert "in use by another run" in line
    assert first.is_running
