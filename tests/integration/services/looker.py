"""A process of the project that does what it is told, line by line: tests freeze and kill what it depends on.

Each line of its input is a JSON list, the name of a function below and its arguments; each line of its output the
seconds that it took and its result.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from tests.project_process import ProjectProcess


class Looker:
    """The other end of it."""

    def __init__(self, **variables: str) -> None:
        self.process = ProjectProcess(
            "-m", __name__, env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, act: str, *arguments: object) -> tuple[float, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([act, *arguments]) + "\n")
        self.process.stdin.flush()
        seconds, result = json.loads(self.process.stdout.readline())
        return float(seconds), result

    def end(self) -> None:
        """As a process that has done its work ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(10)


def look_up(ruc: str) -> str:
    """Where the answer came from, or why there is none."""
    from api_service.services.migo_service import MigoAPIService

    found = MigoAPIService().consultar_ruc(ruc)
    return str(found["cache"]["source"] if found["success"] else found["code"])


def probe_and_hang(ruc: str) -> str:
    """A call whose own patience is longer than the deadline of its probe."""
    from dataclasses import replace

    from api_service.services.migo_client import MigoClient
    from api_service.services.providers import provider

    client = provider("migo")
    assert isinstance(client, MigoClient)
    client._patience = replace(client._patience, read=60.0, deadline=60.0)
    return look_up(ruc)


def look_up_at_once(rucs: list[str]) -> list[str]:
    with ThreadPoolExecutor(len(rucs)) as pool:
        return list(pool.map(look_up, rucs))


def look_up_many(rucs: list[str]) -> int:
    from api_service.services.migo_service import MigoAPIService

    return int(MigoAPIService().consultar_ruc_masivo(rucs)["found"])


def force(ruc: str) -> str:
    from api_service.services.migo_service import MigoAPIService

    found = MigoAPIService().consultar_ruc(ruc, force_refresh=True)
    return str(found["cache"]["source"] if found["success"] else found["code"])


def stored_births(rucs: list[str]) -> list[float]:
    """Birth times (Unix seconds) of those that the answer store has."""
    from api_service.models import StoredAnswer

    born = StoredAnswer.objects.filter(identifier__in=rucs).values_list("born_at", flat=True)
    return [moment.timestamp() for moment in born]


def clear_with_answers() -> str:
    from api_service.services import clearing

    return clearing.clear(clearing.request("migo", via="command", with_answers=True))["state"]


def set_patience(seconds: float) -> None:
    from django.conf import settings

    settings.ANSWER_STORE_SECONDS = seconds


def share_the_circuit_patiently() -> None:
    """A database that a busy machine starves is none in trouble, which would leave each process to what it sees."""
    from api_service.services import circuit

    vars(circuit)["STATE_SECONDS"] = 60.0


def set_cap(queries: int) -> None:
    from django.conf import settings

    settings.MIGO_MAX_PER_HOUR = queries


def waiting() -> list[int]:
    """Answers and entries of the ledger that are not written yet."""
    from api_service.services import answers, budget

    return [len(answers._writer), len(budget._entries)]


def waits() -> list[str]:
    """What is not waited for at present."""
    from api_service.services import bounded

    breakers = (bounded.answer_reads, bounded.ledger_writes, bounded.answer_writes)
    return [breaker.what for breaker in breakers if breaker.is_open]


def main() -> None:
    import django

    django.setup()
    for line in sys.stdin:
        act, *arguments = json.loads(line)
        started = monotonic()
        result = globals()[act](*arguments)
        print(json.dumps([monotonic() - started, result]), flush=True)


if __name__ == "__main__":
    main()
