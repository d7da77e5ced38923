"""Senders that are killed, and senders that run at the same time: processes of their own on a database of their own."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from tests.http_catcher import HttpCatcher
from tests.project_process import ProjectProcess
from tests.servers import Postgres

# Seconds; a loaded machine takes ten to start a process of ours
DEADLINE = 100

Start = Callable[..., "Sender"]


class Sender:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until_ready(self) -> "Sender":
        assert self._out.readline() == "ready\n"
        return self

    def begin(self) -> "Sender":
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def result(self) -> list[dict[str, int]]:
        out, _ = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]

    def wait_for_death(self) -> int:
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout


def starter(stack: ExitStack, folder: Path, settings: dict[str, str]) -> Start:
    environment = {**os.environ, "DATA_DIR": str(folder), **settings}

    def start(mode: str, *numbers: float) -> Sender:
        argv = ["-m", "tests.integration.alerts.sender", mode, *map(str, numbers)]
        process = ProjectProcess(*argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.enter_context(process)
        stack.callback(process.kill)
        return Sender(process)

    return start


@pytest.fixture(params=["slack", "sentry", "slack and sentry"])
def configured(request: pytest.FixtureRequest, http_catcher: HttpCatcher) -> dict[str, str]:
    settings = {
        "slack": {"SLACK_WEBHOOK_URL": http_catcher.slack_webhook_url},
        "sentry": {"SENTRY_DSN": http_catcher.sentry_dsn},
    }
    return {name: value for channel in str(request.param).split(" and ") for name, value in settings[channel].items()}


@pytest.fixture(scope="module")
def database_of_one_incident(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An SQLite file with one incident that a channel is to be told of, made once."""
    made: dict[str, Path] = {}

    def database(setting: str) -> Path:
        if setting not in made:
            folder = tmp_path_factory.mktemp("incident")
            address = "http://0123456789abcdef0123456789abcdef@127.0.0.1:9/42"
            with ExitStack() as stack:
                settings = {"DATABASE_URL": f"sqlite:///{folder / 'alerts.sqlite3'}", setting: address}
                starter(stack, folder, settings)("prepare", 1).result()
            made[setting] = folder / "alerts.sqlite3"
        return made[setting]

    return database


@pytest.fixture
def start(
    configured: dict[str, str], tmp_path: Path, database_of_one_incident: Callable[[str], Path]
) -> Iterator[Start]:
    database = shutil.copy(database_of_one_incident(next(iter(configured))), tmp_path)
    with ExitStack() as stack:
        yield starter(stack, tmp_path, {"DATABASE_URL": f"sqlite:///{database}", **configured})


def run(start: Start, mode: str, *minutes: float) -> list[dict[str, int]]:
    return start(mode, *minutes).until_ready().begin().result()


def sent(results: list[dict[str, int]]) -> list[int]:
    return [result["sent"] for result in results]


one_channel = pytest.mark.parametrize("configured", ["slack", "sentry"], indirect=True)
both_channels = pytest.mark.parametrize("configured", ["slack and sentry"], indirect=True)


@pytest.mark.parametrize("configured", ["slack"], indirect=True)
@pytest.mark.parametrize("step", ["die-before-telling", "die-amid-telling", "die-after-telling", "die-before-claim"])
def test_a_worker_killed_before_anything_is_claimed_costs_no_time_at_all(
    start: Start, http_catcher: HttpCatcher, step: str
) -> None:
    assert start(step, 1).until_ready().begin().wait_for_death() == -signal.SIGKILL
    assert http_catcher.received() == []
    assert sent(run(start, "deliver", 1, 10)) == [1, 0]
    assert len(http_catcher.received()) == 1


@one_channel
def test_a_sender_killed_before_the_send_is_followed_by_another(start: Start, http_catcher: HttpCatcher) -> None:
    assert start("die-before-send", 1).until_ready().begin().wait_for_death() == -signal.SIGKILL
    assert http_catcher.received() == []
    # After a minute the dead sender's lease still holds
    assert sent(run(start, "deliver", 2, 4, 10)) == [0, 1, 0]
    assert len(http_catcher.received()) == 1


@one_channel
def test_a_sender_killed_between_send_and_mark_is_repeated_after_its_lease(
    start: Start, http_catcher: HttpCatcher
) -> None:
    assert start("die-after-send", 1).until_ready().begin().wait_for_death() == -signal.SIGKILL
    assert len(http_catcher.received()) == 1
    assert sent(run(start, "deliver", 2, 4, 10)) == [0, 1, 0]
    # At least once; Sentry drops the second one, as it has the same id
    assert len(http_catcher.received()) == 2
    assert len({item.data["event_id"] for item in http_catcher.sentry_items("event")}) <= 1


@one_channel
def test_a_sender_killed_in_the_middle_of_the_send_is_repeated(start: Start, http_catcher: HttpCatcher) -> None:
    never = threading.Event()
    http_catcher.answer(hold=never, times=1)
    sender = start("deliver", 1).until_ready().begin()
    http_catcher.wait_for(1, timeout=DEADLINE)
    sender.kill()
    never.set()
    assert sent(run(start, "deliver", 4, 10)) == [1, 0]
    assert len(http_catcher.received()) == 2


@pytest.fixture(params=["sqlite", "postgres"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'alerts.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def start_on_any(configured: dict[str, str], any_database: str, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield starter(stack, tmp_path, {"DATABASE_URL": any_database, **configured})


def sent_ids(catcher: HttpCatcher) -> tuple[list[str], list[str]]:
    """Which node each Slack message is of, and which event each envelope is."""
    slack = [str(body["blocks"][0]["text"]["text"]) for body in catcher.slack_messages()]
    return slack, [item.data["event_id"] for item in catcher.sentry_items("event")]


@both_channels
def test_two_processes_that_deliver_at_the_same_time_send_each_message_once(
    start_on_any: Start, http_catcher: HttpCatcher
) -> None:
    start_on_any("prepare", 12).result()
    senders = [start_on_any("deliver", 60).until_ready() for _ in range(2)]
    for sender in senders:
        sender.begin()
    results = [result for sender in senders for result in sender.result()]
    slack, sentry = sent_ids(http_catcher)
    assert (len(slack), len(set(slack))) == (12, 12)
    assert (len(sentry), len(set(sentry))) == (12, 12)
    assert sum(result["sent"] for result in results) == 24


@both_channels
def test_threads_that_race_for_the_same_row_send_it_once(start_on_any: Start, http_catcher: HttpCatcher) -> None:
    start_on_any("prepare", 1).result()
    results = run(start_on_any, "threads", 60)
    slack, sentry = sent_ids(http_catcher)
    assert (len(slack), len(sentry)) == (1, 1)
    assert (len(results), sum(result["sent"] for result in results)) == (32, 2)
