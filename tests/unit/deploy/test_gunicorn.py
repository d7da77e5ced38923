"""gunicorn.conf.py: the folder that the web's processes count in, at each kind of start."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.files import ROOT

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    for name in (FOLDER, "GUNICORN_PID", "CACHE_WORKER_METRICS_FOLDER"):
        # Set and removed: what the hooks set is taken back at the end, too
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return runpy.run_path(str(ROOT / "deploy/gunicorn.conf.py"))


def test_it_makes_a_folder_of_its_own_and_takes_it_away_at_the_end(hooks: dict[str, Any], tmp_path: Path) -> None:
    hooks["on_starting"](None)
    [made] = tmp_path.iterdir()
    (made / "counter_1.db").touch()
    hooks["on_exit"](None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_given_is_emptied_of_an_earlier_run_and_stays(
    hooks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for name in ("counter_1.db", "histogram_1.db", "notes.txt"):
        (tmp_path / name).touch()
    hooks["on_starting"](None)
    hooks["on_exit"](None)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_upgrade_goes_on_counting_where_the_old_master_does(
    hooks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("GUNICORN_PID", "1")
    (tmp_path / "counter_1.db").touch()
    hooks["on_starting"](None)
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


LOADED_AND_LEFT_ALONE = """
import gc, runpy, sys
hooks = runpy.run_path("deploy/gunicorn.conf.py")
import myproject.wsgi
assert "api_service.api.application" not in sys.modules
hooks["post_worker_init"](None)
assert "api_service.api.application" in sys.modules
print(gc.get_freeze_count() > 100_000 > len(gc.get_objects()))
"""


def test_a_process_has_loaded_every_address_and_searches_nothing_of_it_for_garbage(tmp_path: Path) -> None:
    """In a process of its own: what is frozen stays so."""
    variables = {
        **os.environ,
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": "test",
        "DJANGO_SETTINGS_MODULE": "myproject.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADED_AND_LEFT_ALONE],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
