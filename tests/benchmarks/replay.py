"""What warming brings on an access log, by budget: the policy beside two baselines and the best possible.

    python -m tests.benchmarks replay
    python -m tests.benchmarks replay --trace access.csv.gz --learn-days 183

Without a trace a year of a made-up office is replayed: 1,500 keys, working hours, weekends, keys that come and go.
The share captured is of the misses that the best possible choice saves at the same budget.
"""

import random
from math import exp
from time import process_time

from api_service.services import access_log
from api_service.services.access_log import AccessLog
from api_service.services.warm_comparison import Baselines, Report, captured, compare
from api_service.services.warm_policy import DAY
from api_service.services.warm_replay import Plan, start_after
from tests.benchmarks.stage import Line, arguments, show

BUDGETS = (1, 2, 4, 8)
LIFE, PERIOD = 3_600.0, 300.0
BREAK_EVEN = 0.25
MONDAY = 16_076 * DAY  # 2014-01-06


def main() -> None:
    options = arguments(__doc__, trace="", **{"learn-days": ""})
    log = access_log.read(options.trace) if options.trace else office()
    learn_days = float(options.learn_days) if options.learn_days else None
    lines = curve(log, Plan(start_after(log, learn_days, PERIOD), LIFE, PERIOD))
    lines += floor(log, Plan(start_after(log, learn_days, PERIOD), LIFE, PERIOD, BREAK_EVEN))
    show(lines, as_json=options.json)


def curve(log: AccessLog, plan: Plan) -> list[Line]:
    began = process_time()
    report, _ = compare(log, plan, BUDGETS, baselines=False, tell=lambda _: None)
    seconds = process_time() - began
    _, baselines = compare(log, plan, BUDGETS, baselines=True, tell=lambda _: None)
    assert baselines is not None
    none = report["budgets"][0]["misses_none"]
    head = [
        Line("one core, the policy at all budgets", seconds, "s"),
        Line("look-ups", report["accesses"], ""),
        Line("misses without warming", none, ""),
        Line("misses, refresh on access", baselines.refresh_misses, ""),
    ]
    return head + shares(report, baselines)


def shares(report: Report, baselines: Baselines) -> list[Line]:
    lines: list[Line] = []
    for row, lately, ever in zip(report["budgets"], baselines.lately, baselines.ever, strict=True):
        none, best, budget = row["misses_none"], row["misses_clairvoyant"], row["budget"]
        for what, misses in (("policy", row["misses_policy"]), ("top of 24 h", lately), ("top of all time", ever)):
            lines.append(Line(f"budget {budget}, {what}: captured", captured(none, misses, best), "share"))
        lines.append(Line(f"budget {budget}, policy: read in time", 1 - row["wasted"] / row["warms"], "of warms"))
    return lines


def floor(log: AccessLog, plan: Plan) -> list[Line]:
    report, _ = compare(log, plan, BUDGETS[-1:], baselines=False, tell=lambda _: None)
    row = report["budgets"][0]
    name = f"budget {row['budget']}, break-even {plan.break_even:g}"
    share = captured(row["misses_none"], row["misses_policy"], row["misses_clairvoyant"])
    read = 1 - row["wasted"] / row["warms"] if row["warms"] else 0.0
    return [Line(f"{name}: captured", share, "share"), Line(f"{name}: read in time", read, "of warms")]


def office(keys: int = 1_500, days: int = 364, seed: int = 1) -> AccessLog:
    """Each key has its own time of the day, its own rate and its own months."""
    chance = random.Random(seed)
    entries: list[tuple[float, int]] = []
    for key in range(keys):
        rate, first = 12.0 / (1 + key / 10), chance.randrange(days)
        last = min(days, first + chance.randrange(30, 300))
        hour, works_weekends = chance.gauss(13, 3), chance.random() < 0.2
        for day in range(first, last):
            if day % 7 < 5 or works_weekends:
                entries += [(_moment(chance, day, hour), key) for _ in range(_poisson(chance, rate))]
    return access_log.parse(f"{at:.0f},k{key}" for at, key in sorted(entries))


def _moment(chance: random.Random, day: int, hour: float) -> float:
    return MONDAY + day * DAY + 3_600 * min(23.9, max(0.0, chance.gauss(hour, 1.5)))


def _poisson(chance: random.Random, mean: float) -> int:
    number, product = 0, chance.random()
    while product > exp(-mean):
        product *= chance.random()
        number += 1
    return number


if __name__ == "__main__":
    main()
