"""Gathers what the banner says from the settings and the running process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from api_service.services.redaction import redact
from workers.alerts.channels import configured
from workers.embedded import database
from workers.embedded.banner import Facts
from workers.embedded.preflight import Address
from workers.schedules import EVERY_MINUTE

LOCAL_CACHE = "memory of this process: gone when it stops, not seen by other commands"
LOCAL_BROKER = "memory of this process"
# Where demo_traffic goes unless it is told
DEMO_URL = "http://127.0.0.1:8000"


def gather(addresses: Mapping[str, Address], admin: str, seconds: float) -> Facts:
    played = addresses.get("sandbox")
    return Facts(
        seconds=seconds,
        pid=os.getpid(),
        megabytes=_megabytes(),
        web=addresses["web"].url,
        flower=addresses["flower"].url,
        flower_login=_own("FLOWER_BASIC_AUTH") or f"admin:{_made_up('flower_password')}",
        api_token=_own("API_TOKEN") or _made_up("api_token"),
        admin=admin,
        sandbox=played.url if played else None,
        migo=settings.MIGO_BASE_URL,
        database=database.describe(),
        cache=LOCAL_CACHE if settings.CACHE_URL.startswith("locmem:") else redact(settings.CACHE_URL),
        broker=LOCAL_BROKER if settings.CELERY_BROKER_URL.startswith("memory:") else redact(settings.CELERY_BROKER_URL),
        alerts=tuple(configured()),
        every_minute=settings.SCHEDULES == EVERY_MINUTE,
        demo=_demo(addresses["web"].url),
    )


def python() -> str:
    """The interpreter of this run as one types it here."""
    return str(_relative(Path(sys.executable)))


def _demo(url: str) -> str:
    """In another terminal, which has neither this one's ports nor its folder."""
    parts = [python(), "manage.py", "demo_traffic"]
    if url != DEMO_URL:
        parts += ["--url", url]
    if os.environ.get("DATA_DIR") and not _own("API_TOKEN"):
        parts += ["--token-file", str(_relative(settings.DATA_DIR / "api_token"))]
    return " ".join(parts)


def _own(variable: str) -> str:
    """The shell expression that reads a secret its owner has set; empty when it was not."""
    if os.environ.get(variable):
        return f"${variable}"
    file = os.environ.get(f"{variable}_FILE")
    return f"$(cat {file})" if file else ""


def _made_up(file: str) -> str:
    return f"$(cat {_relative(settings.DATA_DIR / file)})"


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _megabytes() -> int:
    """Resident memory now; the peak where the system does not tell (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024**2
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024**2
