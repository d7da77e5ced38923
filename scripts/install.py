"""Makes `.venv` and installs a lock file into it; does nothing when that is done already.

Runs on a bare Python, before anything is installed: standard library only.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
# The development lock holds everything of the runtime lock.
SATISFIED_BY = {"runtime": ("runtime", "dev"), "dev": ("dev",)}
OLDEST = (3, 11)


def main(kind: str) -> None:
    if any(_is_installed(name) for name in SATISFIED_BY[kind]):
        return
    if not _venv_works():
        _make_venv()
    _install(kind)


def _is_installed(kind: str) -> bool:
    stamp = _stamp(kind)
    return stamp.exists() and stamp.read_text() == _digest(kind) and _venv_works()


def _stamp(kind: str) -> Path:
    return VENV / f"installed-{kind}"


def _digest(kind: str) -> str:
    return hashlib.sha256(LOCKS[kind].read_bytes()).hexdigest()


def _venv_works() -> bool:
    """False also after the system's Python was replaced under an old `.venv`."""
    check = f"import pip, sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([VENV_PYTHON, "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        major, minor = sys.version_info[:2]
        _fail(f"this Python cannot make a virtual environment: apt-get install python{major}.{minor}-venv")
    _say(f"Making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _fail(f"cannot make {VENV}: {error}")


def _install(kind: str) -> None:
    lock = LOCKS[kind]
    packages = sum("==" in line for line in lock.read_text().splitlines())
    _say(f"Installing {packages} packages of {lock.name}: about a minute, once")
    pip = [str(VENV_PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--require-hashes", "-r", str(lock)], env=_pip_environment(), check=False)
    if done.returncode != 0:
        _fail(f"pip could not install {lock.name}, see above")
    # Written last: an interrupted installation is done again.
    _stamp(kind).write_text(_digest(kind))


def _pip_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def _say(text: str) -> None:
    print(text, flush=True)


def _fail(text: str) -> None:
    sys.exit(f"Cannot install: {text}")


if __name__ == "__main__":
    main(sys.argv[1])
