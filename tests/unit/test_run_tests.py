"""`scripts/run-tests` over small suites of its own: what of a failed run is asked again, and what is said of it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.environment import ROOT

# Fails in the first process that asks it and passes in the next
RACE = """
def test_race_{number}():
    from pathlib import Path
    asked = Path(__file__).with_suffix(".{number}")
    passed = asked.exists()
    asked.touch()
    assert passed
"""
# Tests that stay in one process have other names there; our own conftest.py makes that of what pytest-xdist writes
GROUPED = "import pytest\npytestmark = pytest.mark.xdist_group('servers')\n"
CONFTEST = "from tests.conftest import pytest_collection_modifyitems"
PASSES = "\ndef test_that_passes(): pass\n"
FAILS = "\ndef test_that_fails(): assert False\n"


def run_tests(folder: Path, source: str) -> "subprocess.CompletedProcess[str]":
    (folder / "pytest.ini").write_text("[pytest]")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_suite.py").write_text(source)
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TEST_PROCESSES": "1", "FLAKY_TESTS": str(folder / "flaky")}
    return subprocess.run(
        [ROOT / "scripts/run-tests", "-p", "xdist", "-c", folder / "pytest.ini", folder],
        env={**os.environ, **alone},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def flaky(folder: Path) -> str:
    return (folder / "flaky").read_text() if (folder / "flaky").exists() else ""


@pytest.mark.parametrize("group", ["", GROUPED], ids=["alone", "grouped"])
def test_a_test_that_passes_when_asked_again_is_shown_and_named(tmp_path: Path, group: str) -> None:
    run = run_tests(tmp_path, group + PASSES + RACE.format(number=1))

    assert run.returncode == 0, run.stdout
    assert "assert passed" in run.stdout
    assert "1 passed" in run.stdout.rpartition("once more and alone")[2]
    assert flaky(tmp_path) == "test_suite.py::test_race_1\n"


def test_a_defect_fails_the_run_and_no_race_is_claimed(tmp_path: Path) -> None:
    run = run_tests(tmp_path, PASSES + FAILS + RACE.format(number=1))

    assert run.returncode == 1
    assert (run.stdout.count("once more and alone"), flaky(tmp_path)) == (1, "")


def test_what_passes_at_once_is_asked_once(tmp_path: Path) -> None:
    run = run_tests(tmp_path, PASSES)

    assert (run.returncode, "once more" in run.stdout, flaky(tmp_path)) == (0, False, "")


@pytest.mark.parametrize("broken", ["".join(RACE.format(number=number) for number in range(6)), "import nothing_such"])
def test_many_failures_and_a_suite_that_cannot_be_read_fail_the_run(tmp_path: Path, broken: str) -> None:
    run = run_tests(tmp_path, PASSES + broken)

    assert run.returncode != 0
    assert flaky(tmp_path) == ""
