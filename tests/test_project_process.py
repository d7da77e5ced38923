"""Processes that are forked instead of loaded behave as those that `python` starts."""

import os
import signal
import subprocess

import pytest

from tests.project_process import ProjectProcess

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def test_it_runs_a_program_with_its_arguments_variables_and_streams() -> None:
    code = "import os, sys; print(sys.argv, os.environ['OWN'], input()); print('beside', file=sys.stderr); sys.exit(3)"
    with ProjectProcess("-c", code, "7", variables={"OWN": "mine"}, **PIPES, stderr=subprocess.PIPE) as process:
        output = process.communicate("said\n", timeout=30)

    assert output == ("['-c', '7'] mine said\n", "beside\n")
    assert process.returncode == 3


def test_it_ends_as_an_interpreter_does() -> None:
    code = "import atexit; atexit.register(print, 'at the exit'); 1 / 0"
    with ProjectProcess("-c", code, variables={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output, _ = process.communicate(timeout=30)

    assert "ZeroDivisionError" in output
    assert output.endswith("at the exit\n")
    assert process.returncode == 1


def test_it_can_be_killed_and_waited_for() -> None:
    with ProjectProcess("-c", "print('here', flush=True); input()", variables={}, **PIPES) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_each_reads_settings_of_its_own() -> None:
    code = "import django; django.setup(); from django.conf import settings; print(settings.CACHE_URL)"
    said = []
    for url in ("locmem://one", "locmem://two"):
        with ProjectProcess("-c", code, variables={"CACHE_URL": url}, stdout=subprocess.PIPE) as process:
            said.append(process.communicate(timeout=60)[0].strip())

    assert said == ["locmem://one", "locmem://two"]


@pytest.mark.parametrize(
    "argv", [("-m", "tests.acceptance.held_task_that_is_not_there"), ("manage.py", "no_such_command")]
)
def test_what_cannot_run_fails(argv: tuple[str, ...]) -> None:
    with ProjectProcess(*argv, variables={}, stderr=subprocess.PIPE) as process:
        errors = process.communicate(timeout=60)[1]

    assert process.returncode == 1
    assert argv[1].rpartition(".")[2] in errors
