"""A process of one candidate that looks up as it is told, line by line.

    python -m tests.benchmarks.peers.asker CANDIDATE SETTING_AS_JSON [base]

Each line of its input is a JSON object with "do", the name of a method of `Asker`, and its arguments; each line of its
output the list of what came of each look-up: seconds and "" or the name of the error.
"""

import asyncio
import inspect
import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, sleep, time
from typing import Any, TypeAlias

from tests.benchmarks.peers.candidates import TABLE, LookUp, opened

Took: TypeAlias = tuple[float, str]

THREADS = 50


class Asker:
    """What is done at once: by threads where the look-up is a function."""

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        self._look_up = look_up
        self._pool = ThreadPoolExecutor(THREADS)

    def warm_up(self, ruc: str) -> list[Took]:
        """Every thread opens its connections."""
        together = threading.Barrier(THREADS)

        def one(_number: int) -> Took:
            together.wait(30)
            return self._timed(ruc, perf_counter())

        self._timed(ruc, perf_counter())
        return list(self._pool.map(one, range(THREADS)))

    def burst(self, ruc: str, at: float) -> list[Took]:
        """All threads at once, at that Unix time."""

        def one(_number: int) -> Took:
            _wait_for(at)
            return self._timed(ruc, perf_counter())

        return list(self._pool.map(one, range(THREADS)))

    def steady(self, ruc: str, at: float, rate: float, seconds: float) -> list[Took]:
        """So many look-ups a second, whether or not the ones before have ended; timed from when each was due."""
        under_way = []
        for number in range(int(rate * seconds)):
            _wait_for(at + number / rate)
            under_way.append(self._pool.submit(self._timed, ruc, perf_counter()))
        return [future.result() for future in under_way]

    def series(self, ruc: str, number: int) -> list[Took]:
        """One after the other, on one thread."""
        return [self._timed(ruc, perf_counter()) for _ in range(number)]

    def _timed(self, ruc: str, started: float) -> Took:
        return _took(started, self._error(ruc))

    def _error(self, ruc: str) -> str:
        try:
            return wrong(self._look_up(ruc), ruc)
        except Exception as error:  # noqa: BLE001 - what the user would be shown is what is measured
            return type(error).__name__


class AsyncAsker:
    """The same with coroutines, on a loop that goes on between the commands: refreshes run behind them."""

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        self._look_up = look_up
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def warm_up(self, ruc: str) -> list[Took]:
        self._all([self._timed(ruc)])
        return self._all([self._timed(ruc) for _ in range(THREADS)])

    def burst(self, ruc: str, at: float) -> list[Took]:
        return self._all([self._timed(ruc, at) for _ in range(THREADS)])

    def steady(self, ruc: str, at: float, rate: float, seconds: float) -> list[Took]:
        return self._all([self._timed(ruc, at + number / rate) for number in range(int(rate * seconds))])

    def series(self, ruc: str, number: int) -> list[Took]:
        async def one_after_the_other() -> list[Took]:
            return [await self._timed(ruc) for _ in range(number)]

        return asyncio.run_coroutine_threadsafe(one_after_the_other(), self._loop).result()

    def _all(self, look_ups: Sequence[Any]) -> list[Took]:
        async def together() -> list[Took]:
            return list(await asyncio.gather(*look_ups))

        return asyncio.run_coroutine_threadsafe(together(), self._loop).result()

    async def _timed(self, ruc: str, at: float = 0.0) -> Took:
        await asyncio.sleep(max(0.0, at - time()))
        started = perf_counter()
        try:
            error = wrong(await self._look_up(ruc), ruc)
        except Exception as caught:  # noqa: BLE001 - what the user would be shown is what is measured
            error = type(caught).__name__
        return _took(started, error)


def wrong(record: Any, ruc: str) -> str:
    """ "" for the record asked for: what comes fast and wrong must not pass for speed."""
    return "" if isinstance(record, dict) and record.get("ruc") == ruc else "WrongAnswer"


def _took(started: float, error: str) -> Took:
    return perf_counter() - started, error


def _wait_for(at: float) -> None:
    sleep(max(0.0, at - time()))


def main(name: str, setting: str, base: str = "") -> None:
    module, where = opened(name, setting)
    make = module.make_base if base else module.make
    look_up: LookUp = make(where, TABLE[name].options)
    asker = AsyncAsker(look_up) if inspect.iscoroutinefunction(look_up) else Asker(look_up)
    # What a library prints must not be read as an answer
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(asker, command.pop("do"))(**command)), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
