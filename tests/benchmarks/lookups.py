"""What a look-up that the cache answers costs over the bare read of its record, as ratios of one run.

    python -m tests.benchmarks.lookups [--json]

One thread, one RUC, a real Memcached; every candidate takes its turn within each round. The reads are counted as in
production, written once at the end. That a hit asks no database and sends no task is shown by a test
(tests/integration/migo/test_hit_path.py).
"""

import argparse

from tests.benchmarks.cache import ONCE, RECORD, RUC, Candidate, one_record, rounds
from tests.benchmarks.stage import Line, show, stage

BASE = "APICacheService.get_ruc"
TARGETS = {"lookup.get": 1.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    with stage():
        lines = measure()
    show(lines, as_json=as_json)


def measure() -> list[Line]:
    from api_service.services import lookup
    from api_service.services.cache_service import APICacheService
    from api_service.services.migo_service import MigoAPIService

    cache, migo = APICacheService(), MigoAPIService()
    if not cache.set_ruc(RUC, RECORD):
        raise RuntimeError("the service did not store the record")
    measured = rounds(
        {
            BASE: one_record(lambda: cache.get_ruc(RUC)),
            "lookup.get": Candidate(lambda: lookup.get("migo", "ruc", RUC), lambda found: _data(found) == RECORD),
            "MigoAPIService.consultar_ruc": Candidate(lambda: migo.consultar_ruc(RUC), _is_the_record),
        },
        ONCE,
        lambda: None,
    )
    if wrong := {name: one.wrong_answers for name, one in measured.items() if one.wrong_answers}:
        raise RuntimeError(f"wrong answers: {wrong}")
    return [_line(name, one.median, measured[BASE].median) for name, one in measured.items()]


def _line(name: str, median: float, base: float) -> Line:
    if name == BASE:
        return Line(name, median, "µs")
    return Line(name, median, "µs", median / base, BASE, TARGETS.get(name))


def _data(found: object) -> object:
    return getattr(found, "data", None)


def _is_the_record(found: object) -> bool:
    return isinstance(found, dict) and found.items() >= RECORD.items()


if __name__ == "__main__":
    main()
