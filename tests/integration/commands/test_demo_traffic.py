"""demo_traffic against a server that really listens."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from api_service.management.commands import demo_traffic
from api_service.services.upstream import door
from tests.integration.commands.conftest import Run
from tests.sandbox_fixture import RunningSandbox
from tests.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "api-token-of-the-tests"
QUICK = ("--seconds", "1", "--rate", "120", "--start-hour", "10", "--json")


class PlayedClock:
    """Time passes by what is slept: as many look-ups on a busy machine as on an idle one."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    played = PlayedClock()
    monkeypatch.setattr(demo_traffic, "monotonic", played.monotonic)
    monkeypatch.setattr(demo_traffic, "sleep", played.sleep)


@pytest.fixture
def server(migo: object, settings: Settings, live_server: LiveServer) -> Iterator[LiveServer]:
    settings.API_TOKEN = TOKEN
    yield live_server
    # A thread of the server serves a kept connection, and holds one to the database, until the client hangs up
    door().close()
    wait_until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()), 60)


def test_the_server_answers_people_of_all_kinds(run: Run, server: LiveServer, sandbox: RunningSandbox) -> None:
    ended = run("demo_traffic", "--url", server.url, *QUICK)
    outcomes = ended.json["outcomes"]
    assert (ended.code, ended.json["lookups"]) == (0, sum(outcomes.values()))
    assert {"hit", "miss"} <= outcomes.keys()
    # Whoever waited for another's answer got it from APIMIGO too, and nobody paid for that
    assert sandbox.billed - 1 <= ended.json["from_apimigo"] < ended.json["lookups"]
    assert ended.json["lookups"] > 60


def test_failures_of_apimigo_are_counted_and_end_with_one(
    run: Run, server: LiveServer, sandbox: RunningSandbox
) -> None:
    sandbox.switch(error_rate=1.0)
    ended = run("demo_traffic", "--url", server.url, *QUICK)
    assert ended.code == 1
    assert ended.json["outcomes"]["failed"] > 0
    assert "503" in ended.err


def test_the_token_comes_from_a_file(run: Run, server: LiveServer, tmp_path: Path, settings: Settings) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(f"{TOKEN}\n")
    wrong.write_text("something-else")
    assert run("demo_traffic", "--url", server.url, *QUICK, "--token-file", str(right), "--seconds", "0.3").code == 0
    refused = run("demo_traffic", "--url", server.url, *QUICK, "--token-file", str(wrong))
    assert (refused.code, "--token-file" in refused.err) == (2, True)
    assert "something-else" not in refused.err


@pytest.mark.parametrize(
    "args",
    [("--seconds", "0"), ("--rate", "-1"), ("--speed", "nan"), ("--url", "localhost"), ("--token-file", "/dev/null")],
    ids=lambda args: args[0],
)
def test_bad_arguments_end_with_two(run: Run, args: tuple[str, ...]) -> None:
    ended = run("demo_traffic", *args)
    assert (ended.code, ended.out) == (2, "")


def test_a_server_that_is_not_there_is_one_clear_line(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = run("demo_traffic", "--url", url)
    assert (ended.code, "does not answer" in ended.err) == (2, True)


def test_nobodys_money_is_spent_without_being_asked(run: Run, settings: Settings) -> None:
    settings.MIGO_TOKEN, settings.MIGO_BASE_URL = "real-token-1", "https://api.migo.pe/api/v1"
    ended = run("demo_traffic")
    assert (ended.code, "--paid" in ended.err) == (2, True)
    assert "real-token-1" not in ended.err


def test_ctrl_c_ends_it_cleanly_with_its_summary(server: LiveServer, tmp_path: Path) -> None:
    env = {**os.environ, "API_TOKEN": TOKEN, "DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [
        sys.executable,
        "manage.py",
        "demo_traffic",
        "--url",
        server.url,
        "--seconds",
        "60",
        "--start-hour",
        "10",
    ]
    # Tests started in the background of a shell ignore Ctrl-C, and so would a child of theirs
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert "Ctrl-C" in first
    assert (process.returncode, "look-ups" in out) == (0, True)
    assert "Traceback" not in err
