"""Replays an access log through the warming policy: which budget would have been worth its money?"""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from django.conf import settings
from django.core.management.base import CommandParser

from api_service.management.base import EXIT_CODES, ServiceCommand, not_done, table
from api_service.services import access_log
from api_service.services.access_log import AccessLog, BadLog
from api_service.services.warm_comparison import Baselines, CannotReplay, Report, captured, compare
from api_service.services.warm_replay import Plan, start_after

HELP: Final = """Replay an access log through the warming policy, and say what each budget would have brought.

FILE has one look-up a line, "timestamp,key" in the order of time, plain or gzip; lines that begin with # and one header
line are passed over. Timestamps are Unix seconds or ISO 8601; hours of the day are taken as they are written. The first
part of the log only teaches; in the rest a run comes at the beginning of each period and may load so many keys as its
budget says. The policy goes on learning, and knows nothing of what is still to come.

  manage.py replay_warming access.csv.gz --ttl 3600 --period 300 --learn-days 90 --budgets 5,10,20,50

captured   share of what the best possible choice would save at the same budget
warms      calls paid for; wasted: nobody read the answer before it ended
"""


class Command(ServiceCommand):
    help = HELP
    partly = "is not used"
    # Neither cache nor database is touched
    needs_shared_cache = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        epilog = EXIT_CODES.format(partly=self.partly)
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, epilog=epilog, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="the access log")
        parser.add_argument(
            "--ttl", type=float, default=float(settings.CACHE_TTL_RUC), help="seconds that an answer lives"
        )
        parser.add_argument("--period", type=float, default=300.0, help="seconds between two runs")
        parser.add_argument(
            "--learn-days",
            type=float,
            help="days that only teach, from the first midnight; else half of the log's time",
        )
        parser.add_argument("--budgets", default="1,2,4,8", help="calls a run may pay for, separated by commas")
        parser.add_argument(
            "--break-even",
            type=float,
            default=0.0,
            help="reads expected before the new answer ends that a call is worth; 0 always spends the whole budget",
        )

    def act(self, options: Mapping[str, Any]) -> None:
        budgets = _budgets(options["budgets"])
        behind = ["reading the log"]
        try:
            with self.progress(lambda: behind[0]):
                log = access_log.read(options["file"])
                plan = _plan(options, log)
                report, baselines = compare(
                    log,
                    plan,
                    budgets,
                    baselines=not options["json"],
                    tell=lambda share: behind.__setitem__(0, f"{share:.0%} of the log"),
                )
        except (BadLog, CannotReplay) as error:
            raise not_done(str(error)) from error
        self.show(
            cast(Mapping[str, Any], report),
            as_json=options["json"],
            text=lambda: _text(report, cast(Baselines, baselines)),
        )


def _budgets(text: str) -> list[int]:
    try:
        budgets = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise not_done(f"--budgets: {text!r} are not whole numbers separated by commas") from error
    if min(budgets) < 1:
        raise not_done("--budgets: each is at least 1")
    return budgets


def _plan(options: Mapping[str, Any], log: AccessLog) -> Plan:
    life, period, learn_days = options["ttl"], options["period"], options["learn_days"]
    if not 0 < period <= life:
        raise not_done(f"--period: {period:g} s must be more than 0 and at most the life time, {life:g} s")
    if learn_days is not None and learn_days < 0:
        raise not_done("--learn-days: not less than 0")
    if options["break_even"] < 0:
        raise not_done("--break-even: not less than 0")
    return Plan(start_after(log, learn_days, period), life, period, options["break_even"])


def _text(report: Report, baselines: Baselines) -> str:
    none = report["budgets"][0]["misses_none"]
    lines = [
        f"{report['accesses']:,} look-ups, {none:,} misses without warming",
        f"refresh on access: {baselines.refresh_misses:,} misses, {baselines.refresh_calls:,} calls",
        "",
        table(HEAD, _rows(report, baselines)),
    ]
    return "\n".join(lines)


HEAD: Final = (
    "BUDGET",
    "MISSES",
    "BEST POSSIBLE",
    "CAPTURED",
    "TOP OF 24 H",
    "TOP OF ALL TIME",
    "WARMS",
    "WASTED",
    "READ IN TIME",
)


def _rows(report: Report, baselines: Baselines) -> Sequence[Sequence[str]]:
    rows: list[tuple[str, ...]] = []
    for row, lately, ever in zip(report["budgets"], baselines.lately, baselines.ever, strict=True):
        none, best = row["misses_none"], row["misses_clairvoyant"]
        shares = (f"{captured(none, misses, best):.2f}" for misses in (row["misses_policy"], lately, ever))
        read = f"{1 - row['wasted'] / row['warms']:.0%}" if row["warms"] else "-"
        counts = (str(row["budget"]), f"{row['misses_policy']:,}", f"{best:,}")
        rows.append((*counts, *shares, f"{row['warms']:,}", f"{row['wasted']:,}", read))
    return rows
