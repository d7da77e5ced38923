"""The processes of one candidate: askers, a worker where it has one, and the servers that they use."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.peers.asker import Took
from tests.benchmarks.peers.candidates import TABLE, Candidate, Setting
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Redis, Server
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"


class Asker:
    """The other end of `asker.py`."""

    def __init__(self, name: str, setting: Setting, log: Path, *, base: bool = False) -> None:
        command = [str(PYTHON), "-m", "tests.benchmarks.peers.asker", name, json.dumps(asdict(setting))]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, *(["base"] if base else [])],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def __call__(self, do: str, **arguments: Any) -> list[Took]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"an asker ended:\n{self._log.read_text()[-3000:]}")
        return [(seconds, error) for seconds, error in json.loads(answer)]

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(10)


@dataclass
class Troupe:
    """All that one candidate needs, on servers of its own."""

    name: str
    candidate: Candidate
    setting: Setting
    server: Server | None
    askers: Sequence[Asker]
    folder: Path

    def at_once(self, do: str, **arguments: Any) -> list[Took]:
        """The same command in all processes at the same time."""
        return self._all([{"do": do, **arguments}] * len(self.askers))

    def steadily(self, ruc: str, at: float, rate: float, seconds: float) -> list[Took]:
        """So many look-ups a second of all processes together, which take turns."""
        each = {"do": "steady", "ruc": ruc, "rate": rate / len(self.askers), "seconds": seconds}
        return self._all([{**each, "at": at + number / rate} for number in range(len(self.askers))])

    def _all(self, commands: Sequence[dict[str, Any]]) -> list[Took]:
        with ThreadPoolExecutor(len(self.askers)) as pool:
            answers = pool.map(lambda asker, command: asker(**command), self.askers, commands)
            return [took for each in answers for took in each]


@dataclass(frozen=True)
class House:
    """What all candidates share: the upstream and the broker."""

    sandbox: RunningSandbox
    broker: Redis

    @contextmanager
    def troupe(self, name: str, *, askers: int, life: int, grace: int) -> Iterator[Troupe]:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="peers-")))
            memcached, redis = Memcached().start(), Redis().start()
            stack.callback(memcached.close)
            stack.callback(redis.close)
            setting = Setting(
                self.sandbox.url, memcached.url, redis.url, self.broker.url, str(folder), life=life, grace=grace
            )
            candidate = TABLE[name]
            subprocess.run(_backstage("prepare", name, setting), cwd=ROOT, check=True)
            if candidate.worker:
                stack.enter_context(_worker(name, setting, folder / "worker.log"))
            processes = [Asker(name, setting, folder / "askers.log") for _ in range(askers)]
            for process in processes:
                stack.callback(process.close)
            server = {"memcached": memcached, "redis": redis}.get(candidate.server)
            yield Troupe(name, candidate, setting, server, processes, folder)


def _backstage(what: str, name: str, setting: Setting) -> list[str]:
    return [str(PYTHON), "-m", "tests.benchmarks.peers.backstage", what, name, json.dumps(asdict(setting))]


@contextmanager
def _worker(name: str, setting: Setting, log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            _backstage("worker", name, setting), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: " ready." in log.read_text(), timeout=60, message=f"the worker of {name}, see {log}")
        yield
    finally:
        process.kill()
        process.wait(10)
