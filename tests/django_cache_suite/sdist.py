"""Django's own tests come only with its source distribution: fetched once, kept in `var/`, checked against the lock."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

from tests.processes import NOT_TESTED, give_up

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "var" / "django-sdist"
VERSION = django.get_version()


def django_tests() -> Path:
    """The folder `tests` of the installed Django's sdist; where it cannot be fetched the test is skipped or fails."""
    folder = KEPT / f"django-{VERSION}" / "tests"
    if not folder.is_dir():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as work:
            _unpack(_download(Path(work)), Path(work))
            _keep(Path(work) / f"django-{VERSION}", folder.parent)
    return folder


def _keep(unpacked: Path, place: Path) -> None:
    try:
        unpacked.rename(place)
    except OSError:
        # another test process was first
        if not place.is_dir():
            raise


def _download(work: Path) -> Path:
    # --no-build-isolation would be quicker, but wants a setuptools that a fresh environment may not have
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "django"]
    try:
        done = subprocess.run(
            [*command, f"django=={VERSION}", "-d", str(work)], timeout=90, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        give_up(f"{NOT_TESTED}Django's own cache tests: fetching its sdist took more than 90 s")
    if done.returncode:
        give_up(f"{NOT_TESTED}Django's own cache tests: pip could not fetch the sdist of {VERSION}")
    (archive,) = work.glob("*.tar.gz")
    _check_hash(archive)
    return archive


def _check_hash(archive: Path) -> None:
    """It is code and will be run: only the bytes that the lock names."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.search(rf"^django=={re.escape(VERSION)} .*?(?=^\S)", lock, re.MULTILINE | re.DOTALL)
    assert pinned is not None, f"requirements.lock does not pin django=={VERSION}, which is installed"
    assert f"sha256:{digest}" in pinned[0], "the sdist of Django is not the one that requirements.lock names"


def _unpack(archive: Path, work: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
    archive.unlink()


def run_suite(memcached: str) -> subprocess.CompletedProcess[str]:
    """Django's cache tests in a process of their own, without the settings of the project."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(django_tests()), str(ROOT)]),
        "MEMCACHED_ADDRESS": memcached,
    }
    label = "tests.django_cache_suite.suite"
    command = [sys.executable, "-m", "django", "test", "-v2", label, "--settings=tests.django_cache_suite.settings"]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100, check=False
        )
