"""Makes a virtual environment and installs a lock file into it; does nothing when that is done already.

    install.py runtime | dev | peers

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
LOCKS = {
    "runtime": ROOT / "requirements.lock",
    "dev": ROOT / "requirements-dev.lock",
    "peers": ROOT / "requirements-peers.lock",
}
# What other libraries of our kind need stays out of the way of our own tests.
VENVS = {"runtime": ROOT / ".venv", "dev": ROOT / ".venv", "peers": ROOT / ".venv-peers"}
# The development lock holds everything of the runtime lock.
SATISFIED_BY = {"runtime": ("runtime", "dev"), "dev": ("dev",), "peers": ("peers",)}
OLDEST = (3, 11)


def main(kind: str) -> None:
    if any(is_installed(name) for name in SATISFIED_BY[kind]):
        return
    if not _venv_works(VENVS[kind]):
        _make_venv(VENVS[kind])
    _install(kind)


def is_installed(kind: str) -> bool:
    stamp = _stamp(kind)
    return stamp.exists() and stamp.read_text() == _digest(kind) and _venv_works(VENVS[kind])


def _stamp(kind: str) -> Path:
    return VENVS[kind] / f"installed-{kind}"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _digest(kind: str) -> str:
    return hashlib.sha256(LOCKS[kind].read_bytes()).hexdigest()


def _venv_works(folder: Path) -> bool:
    """False also after the system's Python was replaced under an old environment."""
    check = f"import pip, sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([_python(folder), "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make_venv(folder: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        major, minor = sys.version_info[:2]
        _fail(f"this Python cannot make a virtual environment: apt-get install python{major}.{minor}-venv")
    _say(f"Making {folder.name} with Python {sys.version.split()[0]}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _fail(f"cannot make {folder}: {error}")


def _install(kind: str) -> None:
    lock = LOCKS[kind]
    packages = sum("==" in line for line in lock.read_text().splitlines())
    _say(f"Installing {packages} packages of {lock.name}: about a minute, once")
    pip = [str(_python(VENVS[kind])), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
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
