"""Removes one service's keys, or some of them, from every node."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser

from api_service.management.base import ServiceCommand, not_done, partly, table, user_name
from api_service.models import ClearRun
from api_service.services import clearing, inventory, keys
from api_service.services.cache_service import APICacheService
from api_service.services.clear_plan import Selection
from api_service.services.clearing import ClearingUnderWay, ClearRequest, ClearSummary, NoSuchClearing
from api_service.services.leases import LeaseLost

YES = {"y", "yes", "s", "si", "sí"}
STAY = (
    "Stored answers in the database stay: inside their life time they are served again for free (--with-answers "
    "forgets them too)."
)
FORGOTTEN = "Stored answers are forgotten too: the next look-ups of these identifiers are paid."


class Command(ServiceCommand):
    help = (
        "Remove exactly one service's keys, or one kind of them, or those whose identifier matches a pattern, from "
        f"every node: counts first, then asks. {STAY} Every clearing is on record, and one that failed can be "
        "resumed. A selection without any key is told and ends with 0: what was wished for is so."
    )
    partly = "some keys or nodes could not be cleared"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--service", metavar="NAME", help="such as migo; needed unless with --resume")
        parser.add_argument("--kind", help=f"only these: {', '.join(keys.KINDS)}, or another service's own")
        parser.add_argument("--pattern", help="only identifiers like this: * is any text, ? one character")
        parser.add_argument("--with-answers", action="store_true", help="forget the stored answers too")
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")
        parser.add_argument("--resume", type=int, metavar="RUN", help="go on with a clearing that failed")

    def act(self, options: Mapping[str, Any]) -> None:
        try:
            summary = self._resume(options) if options["resume"] is not None else self._clear(options)
        except (ValueError, ClearingUnderWay, LeaseLost, NoSuchClearing) as error:
            raise not_done(str(error)) from error
        services = {} if summary["found"] or summary["nodes_failed"] else _services()
        result = {**summary, **({} if summary["found"] else {"services_with_keys": services})}
        self.show(result, as_json=options["json"], text=lambda: _text(summary, services))
        if summary["state"] != ClearRun.State.DONE:
            again = "this again" if summary["dry_run"] else f"clear_cache --resume {summary['run']}"
            raise partly(f"{summary['error']}\nrun check_cache, then {again}")

    def _clear(self, options: Mapping[str, Any]) -> ClearSummary:
        if options["service"] is None:
            raise not_done("name the service: --service migo")
        for name in ("kind", "pattern"):
            # In a script a variable that is not set: it must not clear the whole service
            if options[name] == "":
                raise not_done(f"--{name} is empty: leave it out to clear every {name}")
        asked, counted_only = _request(options, dry_run=False), _request(options, dry_run=True)
        if options["dry_run"]:
            return self._run(counted_only)
        if not options["yes"]:
            if not sys.stdin.isatty():
                raise not_done("nobody can be asked here: add --yes to clear, or --dry-run to count")
            counted = self._run(counted_only)
            if not (counted["found"] or counted["answers_found"] or counted["nodes_failed"]):
                return counted
            if not self._agreed(asked.wanted, counted):
                raise not_done("nothing was removed")
        return self._run(asked)

    def _resume(self, options: Mapping[str, Any]) -> ClearSummary:
        if options["service"] is not None or options["kind"] or options["pattern"]:
            raise not_done("--resume goes on with what that clearing was of: leave --service, --kind and --pattern out")
        run = clearing.find(options["resume"])
        with self._told() as tell:
            return clearing.carry_out(run, tell=tell)

    def _run(self, asked: ClearRequest) -> ClearSummary:
        with self._told() as tell:
            return clearing.clear(asked, tell=tell)

    @contextmanager
    def _told(self) -> Iterator[clearing.Tell]:
        """A line with numbers every two seconds."""
        last: list[ClearSummary] = []
        with self.progress(lambda: _progress(last[-1]) if last else "listing the keys"):
            yield last.append

    def _agreed(self, wanted: Selection, counted: ClearSummary) -> bool:
        self.stderr.write(f"{counted['found']} keys of {wanted} will be removed from {APICacheService().backend}.")
        self.stderr.write(_details(counted))
        self.stderr.write("Continue? [y/N] ", ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in YES


def _request(options: Mapping[str, Any], *, dry_run: bool) -> ClearRequest:
    return clearing.request(
        options["service"],
        options["kind"] or "",
        options["pattern"] or "",
        via=ClearRun.Via.COMMAND,
        requested_by=user_name(),
        with_answers=options["with_answers"],
        dry_run=dry_run,
    )


def _services() -> dict[str, int]:
    """Keys by service: what there is when there is nothing of what was named."""
    cache, found = APICacheService(), Counter[str]()
    names, _failed = inventory.names(cache.adapter, cache.wire_prefix)
    for name in names:
        if parts := keys.parse(name.removeprefix(cache.wire_prefix)):
            found[parts.service] += 1
    return dict(found.most_common())


def _progress(summary: ClearSummary) -> str:
    done = sum(node["state"] == ClearRun.State.DONE for node in summary["nodes"].values())
    counts = f"{summary['found']} keys found"
    if not summary["dry_run"]:
        counts += f", {summary['removed']} removed"
    if summary["with_answers"]:
        counts += f", {summary['answers_found']} stored answers"
    return f"{counts}, {done} of {len(summary['nodes'])} nodes done"


def _text(summary: ClearSummary, services: Mapping[str, int]) -> str:
    name = " ".join(filter(None, (summary["service"], summary["kind"], summary["pattern"])))
    if not summary["found"] and not summary["nodes_failed"]:
        there = ", ".join(f"{service} ({count})" for service, count in services.items()) or "none"
        lines = [f"No keys of {name} in the cache: nothing to remove. Services with keys: {there}."]
    else:
        verb = "would be removed" if summary["dry_run"] else f"found, {summary['removed']} removed"
        lines = [f"{name}: {summary['found']} keys {verb} (run {summary['run']}, {summary['seconds']:.1f} s)"]
        lines.append(_details(summary))
    lines.append(_answers(summary))
    return "\n".join(lines)


def _answers(summary: ClearSummary) -> str:
    if not summary["with_answers"]:
        return STAY
    verb = "would be forgotten" if summary["dry_run"] else f"found, {summary['answers_removed']} forgotten"
    return f"{summary['answers_found']} stored answers {verb}"


def _details(summary: ClearSummary) -> str:
    kinds = [(kind, str(count)) for kind, count in summary["kinds"].items()]
    nodes = [
        (name, node["state"], str(node["found"]), str(node["removed"]), node["error"])
        for name, node in sorted(summary["nodes"].items())
    ]
    by_node = table(("node", "state", "found", "removed", ""), nodes)
    forgotten = [FORGOTTEN] if summary["with_answers"] else []
    return "\n".join([*([table(("kind", "keys"), kinds)] if kinds else []), by_node, *forgotten])
