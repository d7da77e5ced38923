"""Many threads, many processes: no lost answer, no false miss, bounded connections."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest

from api_service.services.cache_service import APICacheService
from api_service.services.outcomes import Outcome
from tests.conftest import UseCacheUrl
from tests.project_process import ProjectProcess
from tests.rucs import record, valid_rucs
from tests.servers import Memcached, Redis

THREADS = 32
READS = 200
PROCESSES = 16
PER_PROCESS = 1000

ADDER = """
import sys, django
django.setup()
from api_service.services.cache_service import APICacheService
from tests.rucs import valid_rucs
service, number = APICacheService(), int(sys.argv[1])
rucs = valid_rucs({per_process}, start=number * {per_process})
print("ready", flush=True)
sys.stdin.readline()  # all processes begin together
sys.exit(not all(service.add_invalid_ruc(ruc) for ruc in rucs))
"""


def test_thirty_two_threads_lose_no_answer_and_meet_no_false_miss(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(f"memcached://{own_memcached.address}")
    service = APICacheService()
    rucs = valid_rucs(500)
    start = Barrier(THREADS)

    def work(thread: int) -> list[Outcome]:
        own = rucs[thread::THREADS]
        start.wait()
        stored = [service.set_ruc(ruc, record(ruc)) for ruc in own]
        reads = [service.read_ruc(own[i % len(own)]) for i in range(READS)]
        assert all(stored)
        assert [read.value for read in reads] == [record(own[i % len(own)]) for i in range(READS)]
        return [read.outcome for read in reads]

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = [outcome for result in pool.map(work, range(THREADS)) for outcome in result]
        connections = int(own_memcached.stats()["curr_connections"])

    assert outcomes == [Outcome.HIT] * (THREADS * READS)
    # One a thread, and a few for the probes
    assert connections <= THREADS + 5


@pytest.mark.django_db
def test_sixteen_processes_adding_invalid_rucs_at_once_lose_none(
    own_cluster: list[Memcached], use_cache_url: UseCacheUrl
) -> None:
    url = f"memcached://{','.join(node.address for node in own_cluster)}"

    _add_from_many_processes(url)

    use_cache_url(url)
    assert len(APICacheService().get_all_invalid_rucs()) == PROCESSES * PER_PROCESS
    assert APICacheService().get_cache_stats()["invalid_rucs"]["total_count"] == PROCESSES * PER_PROCESS


def test_redis_loses_none_either(own_redis: Redis, use_cache_url: UseCacheUrl) -> None:
    url = f"redis://{own_redis.address}/0"

    _add_from_many_processes(url)

    use_cache_url(url)
    assert len(APICacheService().get_all_invalid_rucs()) == PROCESSES * PER_PROCESS


def _add_from_many_processes(url: str) -> None:
    code = ADDER.format(per_process=PER_PROCESS)
    environment = {**os.environ, "CACHE_URL": url, "LOG_LEVEL": "ERROR"}
    with ExitStack() as stack:
        adders = [stack.enter_context(_adder(code, str(number), environment)) for number in range(PROCESSES)]
        for adder in adders:
            stack.callback(adder.kill)
        for adder in adders:
            assert adder.stdout is not None
            assert adder.stdout.readline() == "ready\n"
        for adder in adders:
            assert adder.stdin is not None
            adder.stdin.write("\n")
            adder.stdin.flush()
        codes = [adder.wait(timeout=100) for adder in adders]
    assert codes == [0] * PROCESSES


def _adder(code: str, number: str, environment: dict[str, str]) -> ProjectProcess:
    return ProjectProcess("-c", code, number, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
