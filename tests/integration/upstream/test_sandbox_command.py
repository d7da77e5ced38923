import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.sandbox_fixture import RunningSandbox
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


def start(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "manage.py", "sandbox", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/_sandbox/state", timeout=10).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_with_its_switches_until_told_to_stop(free_port: int, end: signal.Signals) -> None:
    options = ("--latency", "0.01", "--consultas", "9", "--rate-limit", "50")
    url = f"http://127.0.0.1:{free_port}"
    with start("--port", str(free_port), *options) as process:
        try:
            wait_until(lambda: answers(url) or process.poll() is not None, timeout=60, message="the sandbox")
            switches = RunningSandbox(url).state["switches"]
            process.send_signal(end)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (switches["latency"], switches["consultas"], switches["rate_limit_per_minute"]) == (0.01, 9, 50)
    assert f"{url}/api/v1" in out
    # On a busy machine waitress says that a request had to wait
    complaints = [line for line in err.splitlines() if "Task queue depth" not in line]
    assert (process.returncode, complaints) == (0, [])


@pytest.mark.parametrize(
    ("option", "value", "named"), [("--error-rate", "2", "error_rate"), ("--latency", "-1", "latency")]
)
def test_a_value_that_cannot_be_is_one_clear_line(free_port: int, option: str, value: str, named: str) -> None:
    with start("--port", str(free_port), option, value) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert named in err
    assert len(err.splitlines()) == 1


def test_a_taken_port_is_one_clear_line(sandbox: RunningSandbox) -> None:
    with start("--port", sandbox.url.rpartition(":")[2]) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Address already in use" in err
    assert len(err.splitlines()) == 1
