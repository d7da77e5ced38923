"""What our Memcached backend costs over a raw socket, as ratios of one run.

    python -m tests.benchmarks.cache [--json]

All candidates take turns within each round, so that noise of the machine meets all of them. Trust the ratios.
"""

import argparse
import json
import os
import socket
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import django
import orjson
from django.conf import settings
from django.core import signals
from django.core.cache import caches

from tests.servers import Memcached

Run = Callable[[], object]

RUC = "20100038146"
RECORD = {
    "success": True,
    "ruc": RUC,
    "nombre_o_razon_social": "CONTINENTAL SOCIEDAD ANONIMA CERRADA",
    "estado_del_contribuyente": "ACTIVO",
    "condicion_de_domicilio": "HABIDO",
    "ubigeo": "150131",
    "direccion": "AV. JAVIER PRADO ESTE NRO. 3580 URB. SAN BORJA LIMA - LIMA - SAN BORJA",
    "direccion_completa": "AV. JAVIER PRADO ESTE NRO. 3580 URB. SAN BORJA, LIMA - LIMA - SAN BORJA",
    "departamento": "LIMA",
    "provincia": "LIMA",
    "distrito": "SAN BORJA",
    "tipo_de_via": "AV.",
    "nombre_de_via": "JAVIER PRADO ESTE",
    "codigo_de_zona": "URB.",
    "tipo_de_zona": "SAN BORJA",
    "numero": "3580",
    "interior": None,
    "lote": None,
    "manzana": None,
    "kilometro": None,
    "actualizado_en": "2026-01-28T15:30:45-05:00",
}
KEYS = [f"migo:ruc_{20100000000 + number}" for number in range(100)]
ROUNDS, ONCE, MANY = 60, 60, 6


@dataclass(frozen=True)
class Line:
    what: str
    microseconds: float
    ratio: float | None
    target: float | None
    wrong_answers: int

    @property
    def verdict(self) -> str:
        if self.wrong_answers:
            return f"VOID: {self.wrong_answers} wrong answers"
        if self.ratio is None or self.target is None:
            return ""
        return "within" if self.ratio <= self.target else "above"


@dataclass(frozen=True)
class Candidate:
    run: Run
    is_right: Callable[[object], bool]


@dataclass(frozen=True)
class Measured:
    median: float
    wrong_answers: int


# -- the raw side: the least that any client must do


class RawClient:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, keys: list[str]) -> bytes:
        self.sock.sendall(f"get {' '.join(keys)}\r\n".encode())
        reply = self.sock.recv(65_536)
        while not reply.endswith(b"END\r\n"):
            reply += self.sock.recv(65_536)
        return reply

    def get(self, key: str) -> Any:
        reply = self.ask([key])
        return orjson.loads(reply[reply.index(b"\r\n") + 2 : -7])

    def get_many(self, keys: list[str]) -> dict[bytes, Any]:
        reply, at, found = self.ask(keys), 0, {}
        while reply[at : at + 5] != b"END\r\n":
            head = reply.index(b"\r\n", at)
            _value, key, _flags, size = reply[at:head].split(b" ")
            at = head + 4 + int(size)
            found[key] = orjson.loads(reply[head + 2 : at - 2])
        return found


# -- measuring


def rounds(candidates: dict[str, Candidate], repeat: int, before: Run) -> dict[str, Measured]:
    """Median microseconds of each, in turns; `before` runs unmeasured ahead of every call.

    Every answer is checked, outside the measured time: a call that fails fast because its node is down takes a
    fraction of a real one, and would pass for speed.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    wrong = dict.fromkeys(candidates, 0)
    for _ in range(ROUNDS):
        for name, candidate in candidates.items():
            for _ in range(repeat):
                seconds, answer = _timed(candidate.run, before)
                times[name].append(seconds)
                wrong[name] += not candidate.is_right(answer)
    return {name: Measured(statistics.median(times[name]) * 1e6, wrong[name]) for name in candidates}


def _timed(run: Run, before: Run) -> tuple[float, object]:
    before()
    start = perf_counter()
    answer = run()
    return perf_counter() - start, answer


def lines(prefix: str, measured: dict[str, Measured], base: str, targets: dict[str, float]) -> Iterator[Line]:
    """A ratio needs right answers on both of its sides."""
    for name, one in measured.items():
        wrong = one.wrong_answers + (measured[base].wrong_answers if name != base else 0)
        ratio = None if name == base or wrong else round(one.median / measured[base].median, 2)
        yield Line(f"{prefix}: {name}", round(one.median, 1), ratio, targets.get(name), wrong)


def one_record(run: Run) -> Candidate:
    return Candidate(run, lambda answer: answer == RECORD)


def all_records(run: Run) -> Candidate:
    return Candidate(run, lambda answer: isinstance(answer, dict) and list(answer.values()) == [RECORD] * len(KEYS))


def measure(port: int) -> list[Line]:
    ours, stock, raw = caches["default"], caches["stock"], RawClient(port)
    for cache in (ours, stock):
        cache.set_many(dict.fromkeys(KEYS, RECORD))
    first = KEYS[0]
    raw_key, raw_keys = ours.make_key(first), [ours.make_key(key) for key in KEYS]
    gets = {
        "raw socket + orjson": one_record(lambda: raw.get(raw_key)),
        "our backend": one_record(lambda: ours.get(first)),
        "stock PyMemcacheCache": one_record(lambda: stock.get(first)),
    }
    bulk = {
        "raw socket + parse + orjson": all_records(lambda: raw.get_many(raw_keys)),
        "our backend": all_records(lambda: ours.get_many(KEYS)),
        "stock PyMemcacheCache": all_records(lambda: stock.get_many(KEYS)),
    }
    result = [
        *lines("get", rounds(gets, ONCE, _nothing), "raw socket + orjson", {"our backend": 1.8}),
        *lines(
            "get, first of a request",
            rounds(gets, ONCE, lambda: signals.request_finished.send(None)),
            "raw socket + orjson",
            {"our backend": 1.8},
        ),
        *lines("get_many of 100", rounds(bulk, MANY, _nothing), "raw socket + parse + orjson", {"our backend": 3.0}),
        *service_lines(),
    ]
    raw.sock.close()
    return result


def service_lines() -> Iterator[Line]:
    """The service's own cost over the backend: same key, same record."""
    django.setup()
    from api_service.services.cache_service import APICacheService

    service = APICacheService()
    if not service.set_ruc(RUC, RECORD):
        raise RuntimeError("the service did not store the record")
    key = service.get_service_cache_key("migo", f"ruc_{RUC}")
    # what the service wrapped around the record: the backend must hand out exactly this, each time
    backend = caches["default"]
    stored = backend.get(key)
    if stored is None:
        raise RuntimeError("the backend does not hold what the service stored")
    runs = {
        "our backend": Candidate(lambda: backend.get(key), lambda answer: answer == stored),
        "get_ruc": one_record(lambda: service.get_ruc(RUC)),
    }
    yield from lines("APICacheService", rounds(runs, ONCE, _nothing), "our backend", {"get_ruc": 1.3})


def _nothing() -> None: ...


# -- the stage


@contextmanager
def memcached_and_settings() -> Iterator[int]:
    """The project's own settings, with this run's server and nothing of the developer's data."""
    with TemporaryDirectory() as data:
        server = Memcached().start()
        os.environ.update(CACHE_URL=server.url, DATA_DIR=data, SECRET_KEY="benchmark", DATABASE_URL="sqlite://:memory:")
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
        stock = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": server.address}
        settings.CACHES = {**settings.CACHES, "stock": {**stock, "KEY_PREFIX": "stock"}}
        try:
            yield server.port
        finally:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    with memcached_and_settings() as port:
        result = measure(port)
    if as_json:
        print(json.dumps([asdict(line) | {"verdict": line.verdict} for line in result], indent=2))
        return
    print(f"{'':58}{'µs':>9}{'ratio':>8}{'target':>8}")
    for line in result:
        ratio, target = (f"{value:.2f}" if value else "" for value in (line.ratio, line.target))
        print(f"{line.what:58}{line.microseconds:9.1f}{ratio:>8}{target:>8}  {line.verdict}")


if __name__ == "__main__":
    main()
